//! The undo of a migration's copy: it removes its own copy, and never what another client has stored since.

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

/// An old and a new server, each reached through a proxy by the migration, and directly by the test.
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
        let [old, new] = [0, 1].map(|place| client(proxies[place].addr()));
        let direct = servers.each_ref().map(|server| client(server.addr()));
        let pair = Self { _servers: servers, proxies, direct, migration: Migration::new(old, new) };
        // From here on nothing is left to ask about the servers.
        pair.direct[0].set("first", "old").await.unwrap();
        assert!(pair.migration.get("first").await.unwrap().is_some());
        pair
    }
}

/// Loses the replies of one server from the moment on at which a copy is about to be stored.
struct Silence {
    proxies: Arc<[Proxy; 2]>,
    place: usize,
    has_begun: Arc<AtomicBool>,
}

impl TtlSource for Silence {
    fn ttl<'a>(&'a self, _: &'a Client, _: &'a [u8], _: &'a Item) -> Pin<Box<dyn Future<Output = Ttl> + Send + 'a>> {
        Box::pin(async {
            self.proxies[self.place].change(|rules| rules.replies.black_hole = true);
            self.has_begun.store(true, Ordering::SeqCst);
            Ttl::Never
        })
    }
}

/// Another client stores a newer value while the replies of one server are lost.
async fn a_newer_value_stays(protocol: ProtocolSetting, place: usize) {
    let pair = Pair::start(protocol).await;
    let [old, new] = &pair.direct;
    old.set("k", "old").await.unwrap();
    let has_begun = Arc::new(AtomicBool::new(false));
    let silence = Silence { proxies: Arc::clone(&pair.proxies), place, has_begun: Arc::clone(&has_begun) };
    let reader = pair.migration.clone().ttl_source(silence);
    let reading = tokio::spawn({
        let reader = reader.clone();
        async move { reader.get("k").await }
    });
    wait_until("the copy is stored", async || new.get("k").await.unwrap().is_some()).await;
    assert!(has_begun.load(Ordering::SeqCst));
    assert!(new.set("k", "newer").await.unwrap().is_applied());
    assert!(old.delete("k").await.unwrap().is_applied());
    pair.proxies[place].change(|rules| rules.replies.black_hole = false);
    pair.proxies[place].close_connections(Close::Rst);
    let _ = reading.await.unwrap();
    wait_until("the copy is checked", async || reader.report().undone + reader.report().overtaken == 1).await;
    // What the undo sends is on its way before this.
    let migrated = pair.migration.new_client();
    wait_until("the client is back", async || migrated.noop().await.iter().all(|(_, outcome)| outcome.is_ok())).await;
    let seen = new.get("k").await.unwrap();
    assert_eq!(seen.map(|item| item.value).as_deref(), Some(&b"newer"[..]), "{protocol}");
}

#[tokio::test]
async fn a_newer_value_stays_although_the_reply_to_the_copy_is_lost() {
    for protocol in PROTOCOLS {
        a_newer_value_stays(protocol, 1).await;
    }
}

#[tokio::test]
async fn a_newer_value_stays_although_the_old_server_cannot_be_asked() {
    for protocol in PROTOCOLS {
        a_newer_value_stays(protocol, 0).await;
    }
}
