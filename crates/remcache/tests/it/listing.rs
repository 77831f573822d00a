//! Item listings and logs of a real server.

use std::collections::HashSet;
use std::time::Duration;

use remcache::proto::text::LogLine;
use remcache::{Client, ErrorKind};
use remcache_server::{Fault, Server};
use remcache_testkit::Memcached;

use crate::support::patient_config;

fn client(server: &Memcached) -> Client {
    Client::with_config([server.addr()], patient_config()).expect("an address")
}

/// Returns keys with every byte that a key of the binary protocol can contain.
fn keys(count: u32) -> HashSet<Vec<u8>> {
    let bytes = (0..=255_u8).filter(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | 0));
    let awkward = bytes.map(|byte| vec![b'k', byte, b'%', b'=']);
    (0..count).map(|number| format!("key:{number}").into_bytes()).chain(awkward).collect()
}

#[tokio::test]
async fn a_metadump_lists_every_item() {
    let server = Memcached::start(&[]);
    let client = client(&server);
    let keys = keys(20_000);
    let stored = client.set_many(keys.iter().map(|key| (key.clone(), "value"))).ttl(Duration::from_secs(3600)).await;
    assert!(stored.is_complete());
    let mut items = client.servers()[0].metadump();
    let mut found = HashSet::new();
    while let Some(item) = items.next().await {
        let item = item.unwrap();
        assert!(item.size > 50 && item.cas > 0 && !item.fetched, "{item:?}");
        assert!(found.insert(item.key.to_vec()), "{item:?} twice");
    }
    assert_eq!(found, keys);
    assert!(items.next().await.is_none(), "the stream has ended");
}

#[tokio::test]
async fn concurrent_dumps_wait_for_each_other() {
    let server = Memcached::start(&[]);
    let client = client(&server);
    let _ = client.set_many((0..20_000).map(|number| (format!("key:{number}"), "value"))).await;
    let count = || async {
        let mut items = client.servers()[0].metadump();
        let mut count = 0;
        while let Some(item) = items.next().await {
            item.unwrap();
            count += 1;
        }
        count
    };
    assert_eq!(tokio::join!(count(), count(), count()), (20_000, 20_000, 20_000));
}

#[tokio::test]
async fn a_watch_logs_operations_on_other_connections() {
    let server = Memcached::start(&[]);
    let client = client(&server);
    let mut log = client.servers()[0].watch("fetchers mutations");
    // The log starts some time after the request.
    let busy = tokio::spawn({
        let client = client.clone();
        async move {
            loop {
                client.set("a b", "value").await.unwrap();
                client.get("a b").await.unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
    let mut kinds = HashSet::new();
    while kinds.len() < 2 {
        let line = log.next().await.unwrap().unwrap();
        let line = LogLine::parse(&line);
        assert_eq!(line.key().unwrap(), "a b");
        kinds.insert(line.kind().unwrap().to_vec());
    }
    busy.abort();
    assert_eq!(kinds, [b"item_get".to_vec(), b"item_store".to_vec()].into());
}

#[tokio::test]
async fn unsupported_commands_are_explained() {
    let restricted = Memcached::start(&["-X", "-W"]);
    let handle = client(&restricted).servers().remove(0);
    let error = handle.metadump().next().await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.server()), (ErrorKind::Unsupported, Some(&*restricted.addr())), "{error}");
    let error = handle.watch("fetchers").next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    if Memcached::version() < (1, 6, 19) {
        let error = handle.mgdump().next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    let binary = Memcached::start(&["-B", "binary"]);
    let error = client(&binary).servers()[0].metadump().next().await.unwrap().unwrap_err();
    assert!(error.is_disconnected() && error.to_string().contains("binary"), "{error}");
}

#[tokio::test]
async fn a_dead_server_is_not_an_empty_list() {
    let mut server = Memcached::start(&[]);
    let client = client(&server);
    server.kill();
    let error = client.servers()[0].metadump().next().await.unwrap().unwrap_err();
    assert!(error.is_disconnected(), "{error}");
}

#[tokio::test]
async fn an_unresponsive_server_ends_the_listing_with_a_timeout() {
    let server = Server::start().await.unwrap();
    server.inject(Fault::BlackHole);
    let config = patient_config().keepalive(Duration::from_millis(50), Duration::from_millis(200));
    let client = Client::with_config([server.address()], config).unwrap();
    let error = client.servers()[0].metadump().next().await.unwrap().unwrap_err();
    assert!(error.is_timeout(), "{error}");
}

#[test]
fn listings_are_send() {
    fn sendable<T: Send>(value: T) -> T {
        value
    }
    let client = Client::new(["localhost"]).unwrap();
    drop(sendable(client.servers()[0].metadump().next()));
}
