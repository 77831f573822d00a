//! Outcomes that may be refusals: code that ignores them gets a warning, or this file does not compile.

#![deny(unused_must_use, unfulfilled_lint_expectations)]

use std::time::Duration;

use remcache::recipes::{Gcra, Limiter};
use remcache::value::Codec;
use remcache::{Cache, Client, Error, Ttl};
use remcache_testkit::Memcached;

use crate::support::patient_config;

const LONG: Duration = Duration::from_secs(60);

async fn conditional_writes(client: &Client) -> Result<(), Error> {
    #[expect(unused_must_use, reason = "the key may exist")]
    client.add("k", "v").await?;
    #[expect(unused_must_use, reason = "the key may be absent")]
    client.replace("k", "v").await?;
    #[expect(unused_must_use, reason = "the item may have been changed")]
    client.compare_and_swap("k", "v", 1).await?;
    #[expect(unused_must_use, reason = "the item may have been changed")]
    client.set("k", "v").ttl(LONG).cas(1).await?;
    #[expect(unused_must_use, reason = "the item may have been changed")]
    client.delete("k").cas(1).await?;
    #[expect(unused_must_use, reason = "the key may be absent")]
    client.append("k", "v").await?;
    #[expect(unused_must_use, reason = "the key may be absent")]
    client.prepend("k", "v").await?;
    #[expect(unused_must_use, reason = "the result may be too large")]
    client.append_or_create("k", "v", Ttl::Never).await?;
    Ok(())
}

async fn writes_of_a_cache(client: &Client) -> Result<(), Error> {
    let cache = Cache::new(client, "cache", Codec::text());
    #[expect(unused_must_use, reason = "the key may exist")]
    cache.add("k", "v").await?;
    #[expect(unused_must_use, reason = "the key may be absent")]
    cache.replace("k", "v").await?;
    #[expect(unused_must_use, reason = "the item may have been changed")]
    cache.set_with_cas("k", "v", 1).await?;
    #[expect(unused_must_use, reason = "some keys may have failed")]
    cache.set_many([("k", "v")]).await;
    cache.set("k", "v").await?;
    cache.touch("k", LONG).await?;
    cache.invalidate("k", LONG).await?;
    cache.delete("k").await?;
    Ok(())
}

async fn many_keys_and_servers(client: &Client) {
    #[expect(unused_must_use, reason = "some keys may have failed")]
    client.set_many([("k", "v")]).await;
    #[expect(unused_must_use, reason = "some keys may have failed")]
    client.delete_many(["k"]).await;
    #[expect(unused_must_use, reason = "some servers may have failed")]
    client.flush().await;
    #[expect(unused_must_use, reason = "some servers may have failed")]
    client.noop().await;
    #[expect(unused_must_use, reason = "some servers may have failed")]
    client.version().await;
}

async fn locks_and_limits(client: &Client) -> Result<(), Error> {
    #[expect(unused_must_use, reason = "another client may hold the lock, and this releases it at once")]
    client.lock("lock", LONG).await?;
    if let Some(lock) = client.lock("lock", LONG).wait_up_to(LONG).await?.acquired() {
        lock.unlock().await?;
    }
    let limiter = Limiter::new(client, "limit", Gcra::new(1, LONG))?;
    #[expect(unused_must_use, reason = "the action may not be allowed")]
    limiter.acquire("k").await?;
    Ok(())
}

/// Makes writes without a condition, whose outcomes may be ignored.
async fn unconditional_writes(client: &Client) -> Result<(), Error> {
    client.set("k", "v").flags(7).ttl(LONG).await?;
    client.touch("k", LONG).await?;
    client.invalidate("k", LONG).await?;
    client.increment("n", 1).initial(1).await?;
    client.delete("k").await?;
    client.delete("k").tombstone(LONG).await?;
    Ok(())
}

#[tokio::test]
async fn ignored_outcomes_of_conditional_operations_are_warnings() -> Result<(), Error> {
    let server = Memcached::start(&[]);
    let client = Client::with_config([server.addr()], patient_config())?;
    unconditional_writes(&client).await?;
    client.delete("k").await?;
    conditional_writes(&client).await?;
    writes_of_a_cache(&client).await?;
    many_keys_and_servers(&client).await;
    locks_and_limits(&client).await
}
