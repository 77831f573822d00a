//! Migration of a warm cache under load: from three servers to five, and to another distribution.
//!
//! `cargo run -p remcache --example migration` prints:
//!
//! ```text
//! 1000 items are on 3 servers
//! without migration the new client finds … of them on 5 servers
//! round 1: hits 100 %, from the old servers … %
//! round 2: hits 100 %, from the old servers … %
//! round 3: hits 100 %, from the old servers 0 %
//! 100 items are changed, and a counter continues: 1001
//! the old servers have … of the changed items, those whose server is the same
//! after the migration the new client finds 1000 of 1000
//! ```

use std::error::Error;
use std::time::Duration;

use remcache::distribution::Distribution;
use remcache::migration::Migration;
use remcache::{Client, Config};
use remcache_server::Server;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut servers = Vec::new();
    for _ in 0..5 {
        servers.push(Server::start().await?);
    }
    let addresses: Vec<String> = servers.iter().map(Server::address).collect();
    // pylibmc's default over three servers; and the default ring over five.
    let old = Client::with_config(&addresses[..3], Config::new().distribution(Distribution::LIBMEMCACHED))?;
    let new = Client::with_config(&addresses, Config::new().distribution(Distribution::KETAMA))?;

    let keys: Vec<String> = (0..1000).map(|number| format!("page:{number}")).collect();
    old.set_many(keys.iter().map(|key| (key, key))).await.into_result()?;
    old.set("visits", "1000").await?;
    println!("{} items are on 3 servers", keys.len());
    println!("without migration the new client finds {} of them on 5 servers", found(&new, &keys).await);

    // A copied item that expires is copied again by the next read, so it should live long enough.
    let cache = Migration::new(old.clone(), new.clone()).backfill_ttl(Duration::from_secs(3600));
    for round in 1..=3 {
        // The first round reads half of the keys, one by one and from many tasks.
        let some = if round == 1 { &keys[..500] } else { &keys[..] };
        let before = cache.report();
        let hits = read(&cache, some).await;
        let share = 100.0 * cache.report().since(&before).old_hit_ratio();
        println!("round {round}: hits {} %, from the old servers {share:.0} %", 100 * hits / some.len());
    }

    let changed = cache.set_many(keys[..100].iter().map(|key| (key, key))).await;
    let visits = cache.increment("visits", 1).initial(0).await?.ok_or("the counter is absent")?;
    println!("{} items are changed, and a counter continues: {}", changed.applied().count(), visits.value);
    println!(
        "the old servers have {} of the changed items, those whose server is the same",
        found(&old, &keys[..100]).await
    );
    let correct = new.get_many(&keys).await.found().filter(|(key, item)| item.value == key.as_bytes()).count();
    println!("after the migration the new client finds {correct} of {}", keys.len());
    Ok(())
}

async fn found(client: &Client, keys: &[String]) -> usize {
    client.get_many(keys).await.found().count()
}

/// Reads keys from many tasks, and returns how many were found with the correct value.
async fn read(cache: &Migration, keys: &[String]) -> usize {
    let readers: Vec<_> = keys
        .iter()
        .map(|key| {
            let (cache, key) = (cache.clone(), key.clone());
            tokio::spawn(async move { matches!(cache.get(&key[..]).await, Ok(Some(item)) if item.value == key) })
        })
        .collect();
    let mut hits = 0;
    for reader in readers {
        hits += usize::from(reader.await.unwrap_or(false));
    }
    hits
}
