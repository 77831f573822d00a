//! A real server that is out of memory, and values that are too large for it: only the request concerned
//! fails, and the connection stays open.

use remcache::{Client, ErrorKind, Request, Status};
use remcache_testkit::vectors::fill_memory;
use remcache_testkit::{Memcached, Proxy};
use tokio::task::JoinSet;

use crate::faults::support::known_items::PATIENCE;
use crate::support::{ProtocolMode, protocol_mode_tests};

protocol_mode_tests! {
    #[tokio::test]
    a_value_too_large_for_the_server_fails_only_its_own_request
    a_server_out_of_memory_fails_only_requests_that_need_memory
}

/// A server, a proxy in front of it that counts connections, and a client of the proxy.
struct Fixture {
    server: Memcached,
    proxy: Proxy,
    client: Client,
}

impl Fixture {
    async fn new(mode: ProtocolMode, args: &[&str]) -> Self {
        let server = Memcached::start(args);
        let proxy = Proxy::start(server.addr()).await;
        let config = mode.config(remcache::Config::new()).timeout(PATIENCE);
        let client = Client::with_config([proxy.addr()], config).unwrap();
        assert!(client.set("neighbour", "fine").await.unwrap().is_applied());
        Self { server, proxy, client }
    }

    /// Returns the result of a request with a hundred gets in flight before it and after it.
    async fn call_among_others(&self, request: Request<'_>) -> (Status, String) {
        let mut others = JoinSet::new();
        let spawn_gets = |others: &mut JoinSet<_>| {
            for _ in 0..100 {
                let client = self.client.clone();
                others.spawn(async move { client.get("neighbour").await });
            }
        };
        spawn_gets(&mut others);
        tokio::task::yield_now().await;
        let call = self.client.call(request);
        spawn_gets(&mut others);
        let reply = call.await;
        for other in others.join_all().await {
            assert_eq!(other.unwrap().unwrap().value, "fine");
        }
        (reply.status, reply.text().into_owned())
    }

    /// Returns the status of a quiet request that is the only one in flight.
    async fn call_quiet(&self, request: Request<'_>) -> Status {
        let reply = self.client.call(request.quiet()).await;
        assert_eq!(self.client.get("neighbour").await.unwrap().unwrap().value, "fine");
        reply.status
    }

    fn assert_connection_kept(&self) {
        assert_eq!(self.proxy.accepted(), 1, "the connection was kept");
    }
}

const LARGE: usize = 600_000;

async fn a_value_too_large_for_the_server_fails_only_its_own_request(mode: ProtocolMode) {
    let fixture = Fixture::new(mode, &["-I", "512k"]).await;
    let client = &fixture.client;
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
        let (status, text) = fixture.call_among_others(request).await;
        assert_eq!(status, Status::ValueTooLarge, "{quiet:?}: {text}");
        // The server dropped the item with the refusal, and an append needs an existing item.
        client.set("k", "old").await.unwrap();
        assert_eq!(fixture.call_quiet(quiet.clone()).await, Status::ValueTooLarge, "{quiet:?}");
    }
    client.set("k", "old").await.unwrap();
    let error = client.set("k", large.clone()).await.unwrap_err();
    assert_eq!((error.kind(), error.server()), (ErrorKind::ValueTooLarge, Some(&*fixture.proxy.addr())));
    assert!(!error.may_have_executed() && !error.is_unavailable(), "{error}");
    let kept = client.get("k").await.unwrap().map(|item| item.value);
    assert_eq!(kept.as_deref(), Some(&b"old"[..]), "refused before it is sent, so the old value stays");

    let items = [("a", vec![1; 10]), ("b", large.clone()), ("c", vec![1; 10]), ("d", large)];
    let stored = client.set_many(items).await;
    assert_eq!(stored.applied().collect::<Vec<_>>(), [&"a", &"c"]);
    assert!(stored.failed().all(|(_, error)| error.kind() == ErrorKind::ValueTooLarge));
    assert_eq!(stored.failed().count(), 2);
    // On the text protocol the item limit is read on a connection of its own.
    let connections = if mode == ProtocolMode::Text { 2 } else { 1 };
    assert_eq!(fixture.proxy.accepted(), connections);
}

async fn a_server_out_of_memory_fails_only_requests_that_need_memory(mode: ProtocolMode) {
    let fixture = Fixture::new(mode, &["-M", "-m", "8"]).await;
    let client = &fixture.client;
    fill_memory(fixture.server.addr());
    for request in [Request::set("new", "1"), Request::add("new", "1")] {
        let (status, text) = fixture.call_among_others(request.clone()).await;
        assert_eq!(status, Status::OutOfMemory, "{request:?}: {text}");
        assert_eq!(fixture.call_quiet(request).await, Status::OutOfMemory);
    }
    let error = client.set("new", "1").await.unwrap_err();
    assert_eq!((error.kind(), error.server()), (ErrorKind::OutOfMemory, Some(&*fixture.proxy.addr())));
    assert!(error.to_string().contains("memory") && !error.may_have_executed(), "{error}");

    let added = client.add_many([("a", "1"), ("b", "2"), ("c", "3")]).await;
    assert_eq!(added.failed().filter(|(_, error)| error.kind() == ErrorKind::OutOfMemory).count(), 3);
    // The text protocol cannot create a counter.
    if mode != ProtocolMode::Text {
        let (status, _) = fixture.call_among_others(Request::increment("counter", 1).initial(1)).await;
        assert_eq!(status, Status::OutOfMemory);
    }
    assert!(client.delete("neighbour").await.unwrap().is_applied());
    assert!(client.set("new", "1").await.unwrap().is_applied(), "memory is available again");
    fixture.assert_connection_kept();
}
