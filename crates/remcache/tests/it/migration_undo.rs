//! Undoing the copy of a migration removes only that copy, never a value that another client has stored since.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use remcache::config::ProtocolSetting;
use remcache::migration::{Migration, TtlSource};
use remcache::{Client, Item, Ttl};
use remcache_testkit::{Close, Memcached, Proxy};

use crate::support::{patient_config, wait_until};

const PROTOCOLS: [ProtocolSetting; 3] = [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text];

/// An old and a new server; the migration uses them through proxies, the test directly.
struct Pair {
    _servers: [Memcached; 2],
    proxies: Arc<[Proxy; 2]>,
    direct: [Client; 2],
    migration: Migration,
}

impl Pair {
    async fn start(protocol: ProtocolSetting) -> Self {
        let servers = [Memcached::start(&[]), Memcached::start(&[])];
        let proxies = Arc::new([Proxy::start(servers[0].addr()).await, Proxy::start(servers[1].addr()).await]);
        let client = |address: String| Client::with_config([address], patient_config().protocol(protocol)).unwrap();
        let [old, new] = [0, 1].map(|index| client(proxies[index].addr()));
        let direct = servers.each_ref().map(|server| client(server.addr()));
        let pair = Self { _servers: servers, proxies, direct, migration: Migration::new(old, new) };
        // The clients have requested all server properties before the faults start.
        pair.direct[0].set("first", "old").await.unwrap();
        assert!(pair.migration.get("first").await.unwrap().is_some());
        pair
    }
}

/// Drops the replies of one server, from just before a copy is stored.
struct ReplyLoss {
    proxies: Arc<[Proxy; 2]>,
    index: usize,
    has_started: Arc<AtomicBool>,
}

impl TtlSource for ReplyLoss {
    fn ttl<'a>(&'a self, _: &'a Client, _: &'a [u8], _: &'a Item) -> Pin<Box<dyn Future<Output = Ttl> + Send + 'a>> {
        Box::pin(async {
            self.proxies[self.index].change(|rules| rules.replies.black_hole = true);
            self.has_started.store(true, Ordering::SeqCst);
            Ttl::Never
        })
    }
}

/// Stores a newer value by another client while the replies of one server are lost.
async fn a_newer_value_stays(protocol: ProtocolSetting, index: usize) {
    let pair = Pair::start(protocol).await;
    let [old, new] = &pair.direct;
    old.set("k", "old").await.unwrap();
    let has_started = Arc::new(AtomicBool::new(false));
    let reply_loss = ReplyLoss { proxies: Arc::clone(&pair.proxies), index, has_started: Arc::clone(&has_started) };
    let reader = pair.migration.clone().ttl_source(reply_loss);
    let reading = tokio::spawn({
        let reader = reader.clone();
        async move { reader.get("k").await }
    });
    wait_until("the copy is stored", async || new.get("k").await.unwrap().is_some()).await;
    assert!(has_started.load(Ordering::SeqCst));
    assert!(new.set("k", "newer").await.unwrap().is_applied());
    assert!(old.delete("k").await.unwrap().is_applied());
    pair.proxies[index].change(|rules| rules.replies.black_hole = false);
    pair.proxies[index].close_connections(Close::Rst);
    let _ = reading.await.unwrap();
    wait_until("the copy is checked", async || reader.report().reverted + reader.report().superseded == 1).await;
    // The requests of the undo are sent before these no-ops.
    let migrated = pair.migration.new_client();
    wait_until("the client reconnects", async || migrated.noop().await.iter().all(|(_, outcome)| outcome.is_ok()))
        .await;
    let seen = new.get("k").await.unwrap();
    assert_eq!(seen.map(|item| item.value).as_deref(), Some(&b"newer"[..]), "{protocol}");
}

#[tokio::test]
async fn a_newer_value_stays_if_the_reply_to_the_copy_is_lost() {
    for protocol in PROTOCOLS {
        a_newer_value_stays(protocol, 1).await;
    }
}

#[tokio::test]
async fn a_newer_value_stays_if_the_old_server_does_not_answer() {
    for protocol in PROTOCOLS {
        a_newer_value_stays(protocol, 0).await;
    }
}
