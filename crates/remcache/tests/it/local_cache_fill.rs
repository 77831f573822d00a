//! A write of this process while its local cache fetches the key.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use remcache::cache::LocalCache;
use remcache::config::ProtocolSetting;
use remcache::value::{ByteString, Codec};
use remcache::{Cache, Client};
use remcache_server::{Fault, Server};

use crate::support::{patient_config, wait_until};

const LONG: Duration = Duration::from_secs(3600);
/// Delay of the reply to the slow get: the write and the second read start during this time.
const SLOW: Duration = Duration::from_millis(500);

type Names = Cache<ByteString, str>;

/// Writes a key on another connection while a slow get of it is pending, and reads it again. Returns the values of
/// that read, one per protocol.
async fn read_after_write(before: Option<&str>, write: impl AsyncFn(&Names)) -> Vec<Option<ByteString>> {
    let mut seen = Vec::new();
    for protocol in [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text] {
        let server = Server::start().await.unwrap();
        let config = patient_config().protocol(protocol).connections(2);
        let client = Client::with_config([server.address()], config).unwrap();
        let cache = Names::new(&client, "", Codec::text()).local_cache(LocalCache::new(1 << 20, LONG));
        for _ in 0..2 {
            // Open both connections.
            client.get("other").await.unwrap();
        }
        if let Some(before) = before {
            client.set("k", before).await.unwrap();
            client.get("other").await.unwrap();
        }
        server.inject(Fault::Delay(SLOW).on_reply(1));
        let slow = tokio::spawn({
            let cache = cache.clone();
            async move { cache.get("k").await }
        });
        let handle = &client.servers()[0];
        wait_until("the slow get is sent", async || handle.in_flight() == 1).await;
        tokio::time::sleep(SLOW / 5).await;
        write(&cache).await;
        seen.push(cache.get("k").await.unwrap());
        slow.await.unwrap().unwrap();
        assert_eq!(cache.get("k").await.unwrap(), seen[seen.len() - 1], "{protocol}: after the slow get");
    }
    seen
}

#[tokio::test]
async fn a_read_after_a_write_does_not_join_an_older_miss() {
    for seen in read_after_write(None, async |cache| assert!(cache.set("k", "new").await.unwrap().is_applied())).await {
        assert_eq!(seen.as_deref(), Some("new"));
    }
}

#[tokio::test]
async fn a_read_after_a_write_does_not_join_an_older_value() {
    for seen in
        read_after_write(Some("old"), async |cache| assert!(cache.set("k", "new").await.unwrap().is_applied())).await
    {
        assert_eq!(seen.as_deref(), Some("new"));
    }
    for seen in
        read_after_write(Some("old"), async |cache| assert!(cache.delete("k").await.unwrap().is_applied())).await
    {
        assert_eq!(seen.as_deref(), None);
    }
}
