//! Row 19: a real server without memory, and values that are too large for it: whoever asked hears of
//! it, nobody else does, and the connection stays.

use remcache::{Client, ErrorKind, Request, Status};
use remcache_testkit::vectors::fill_memory;
use remcache_testkit::{Memcached, Proxy};
use tokio::task::JoinSet;

use crate::faults::support::fetch::HANG;
use crate::support::Speech;
use crate::support::on_each_protocol;

on_each_protocol! {
    #[tokio::test]
    row_19_what_is_too_large_for_the_server_fails_alone
    row_19_a_server_without_memory_fails_what_needs_some
}

/// A server, a proxy in front of it that counts connections, and a client of the proxy.
struct Stage {
    server: Memcached,
    proxy: Proxy,
    client: Client,
}

impl Stage {
    async fn new(speech: Speech, args: &[&str]) -> Self {
        let server = Memcached::start(args);
        let proxy = Proxy::start(server.addr()).await;
        let config = speech.config(remcache::Config::new()).timeout(HANG);
        let client = Client::with_config([proxy.addr()], config).unwrap();
        assert!(client.set("neighbour", "fine").await.unwrap().is_applied());
        Self { server, proxy, client }
    }

    /// What a request comes to while a hundred neighbours are asked for before it and after it.
    async fn amid_neighbours(&self, request: Request<'_>) -> (Status, String) {
        let mut neighbours = JoinSet::new();
        let ask = |neighbours: &mut JoinSet<_>| {
            for _ in 0..100 {
                let client = self.client.clone();
                neighbours.spawn(async move { client.get("neighbour").await });
            }
        };
        ask(&mut neighbours);
        tokio::task::yield_now().await;
        let call = self.client.call(request);
        ask(&mut neighbours);
        let reply = call.await;
        for neighbour in neighbours.join_all().await {
            assert_eq!(neighbour.unwrap().unwrap().value, "fine");
        }
        (reply.status, reply.text().into_owned())
    }

    /// What a quiet request comes to that is alone on its connection.
    async fn quietly(&self, request: Request<'_>) -> Status {
        let reply = self.client.call(request.quiet()).await;
        assert_eq!(self.client.get("neighbour").await.unwrap().unwrap().value, "fine");
        reply.status
    }

    fn assert_kept(&self) {
        assert_eq!(self.proxy.accepted(), 1, "the connection was kept");
    }
}

const LARGE: usize = 600_000;

async fn row_19_what_is_too_large_for_the_server_fails_alone(speech: Speech) {
    let stage = Stage::new(speech, &["-I", "512k"]).await;
    let client = &stage.client;
    let large = vec![0; LARGE];
    for request in [
        Request::set("k", &large),
        Request::add("new", &large),
        Request::replace("k", &large),
        Request::append("k", &large),
        Request::prepend("k", &large),
    ] {
        client.set("k", "old").await.unwrap();
        let quiet = request.clone();
        let (status, text) = stage.amid_neighbours(request).await;
        assert_eq!(status, Status::ValueTooLarge, "{quiet:?}: {text}");
        // It was dropped with the refusal, and an append needs something to be appended to.
        client.set("k", "old").await.unwrap();
        assert_eq!(stage.quietly(quiet.clone()).await, Status::ValueTooLarge, "{quiet:?}");
    }
    let error = client.set("k", large.clone()).await.unwrap_err();
    assert_eq!((error.kind(), error.server()), (ErrorKind::ValueTooLarge, Some(&*stage.proxy.addr())));
    assert!(!error.may_have_executed() && !error.is_unavailable(), "{error}");
    assert_eq!(client.get("k").await.unwrap(), None, "the server drops the old value first");

    let items = [("a", vec![1; 10]), ("b", large.clone()), ("c", vec![1; 10]), ("d", large)];
    let stored = client.set_many(items).await;
    assert_eq!(stored.made().collect::<Vec<_>>(), [&"a", &"c"]);
    assert!(stored.failed().all(|(_, error)| error.kind() == ErrorKind::ValueTooLarge));
    assert_eq!(stored.failed().count(), 2);
    stage.assert_kept();
}

async fn row_19_a_server_without_memory_fails_what_needs_some(speech: Speech) {
    let stage = Stage::new(speech, &["-M", "-m", "8"]).await;
    let client = &stage.client;
    fill_memory(stage.server.addr());
    for request in [Request::set("new", "1"), Request::add("new", "1")] {
        let (status, text) = stage.amid_neighbours(request.clone()).await;
        assert_eq!(status, Status::OutOfMemory, "{request:?}: {text}");
        assert_eq!(stage.quietly(request).await, Status::OutOfMemory);
    }
    let error = client.set("new", "1").await.unwrap_err();
    assert_eq!((error.kind(), error.server()), (ErrorKind::OutOfMemory, Some(&*stage.proxy.addr())));
    assert!(error.to_string().contains("memory") && !error.may_have_executed(), "{error}");

    let added = client.add_many([("a", "1"), ("b", "2"), ("c", "3")]).await;
    assert_eq!(added.failed().filter(|(_, error)| error.kind() == ErrorKind::OutOfMemory).count(), 3);
    // In text a counter starts nowhere by itself.
    if speech != Speech::Text {
        let (status, _) = stage.amid_neighbours(Request::increment("counter", 1).initial(1)).await;
        assert_eq!(status, Status::OutOfMemory);
    }
    assert!(client.delete("neighbour").await.unwrap().is_applied());
    assert!(client.set("new", "1").await.unwrap().is_applied(), "there is memory again");
    stage.assert_kept();
}
