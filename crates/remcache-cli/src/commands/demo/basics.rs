//! The demo's first parts: one key, and many.

use std::time::{Duration, Instant};

use remcache::{Change, Client, Error};
use tokio::task::JoinSet;

use super::stage::Stage;
use crate::exit::Failure;
use crate::output::{Cell, Column, Table, Tone, number, picture};
use crate::sample;

const TTL: Duration = Duration::from_secs(600);

/// Stores, fetches, counts.
pub(super) async fn one_key(client: &Client, stage: &mut Stage<'_>) -> Result<(), Failure> {
    stage.heading("Store, fetch, count")?;
    let stored = client.set("greeting", "hello, world").ttl(TTL).await?;
    stage.call("set greeting \"hello, world\", for 10 minutes", "stored", stored.is_made())?;
    let item = client.get("greeting").await?;
    let text = item.as_ref().map(|item| String::from_utf8_lossy(&item.value).into_owned());
    let is_right = text.as_deref() == Some("hello, world");
    stage.call("get greeting", format_args!("{:?}", text.unwrap_or_default()), is_right)?;
    let miss = client.get("nobody").await?;
    stage.call("get nobody", "a miss, which is an answer and no error", miss.is_none())?;
    let added = client.add("greeting", "again").await?;
    stage.call("add greeting", "exists, so it is not stored", added == Change::Exists)?;
    let seen = item.map_or(0, |item| item.cas);
    client.set("greeting", "changed by somebody else").ttl(TTL).await?;
    let changed = client.set("greeting", "mine").cas(seen).await?;
    stage.call(
        "set greeting, if it is as I saw it",
        "not stored: it was changed meanwhile",
        changed == Change::Exists,
    )?;
    let visits = count_together(client).await?;
    let outcome = format!("{visits}, with no step lost");
    stage.call("incr visits, by 100 callers at the same time", outcome, visits == CALLERS)?;
    Ok(())
}

const CALLERS: u64 = 100;

/// Many callers raise one counter by one each; the number after all of them.
async fn count_together(client: &Client) -> Result<u64, Error> {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let client = client.clone();
        callers.spawn(async move { client.increment("visits", 1).initial(1).await });
    }
    let mut highest = 0;
    for counted in callers.join_all().await {
        highest = highest.max(counted?.map_or(0, |counter| counter.value));
    }
    Ok(highest)
}

/// Stores and fetches ten thousand keys with one call each, and shows where they went.
pub(super) async fn many_keys(client: &Client, stage: &mut Stage<'_>) -> Result<(), Failure> {
    stage.heading("Many keys in one call")?;
    let keys: Vec<String> = (0..KEYS).map(|number| format!("item:{number}")).collect();
    let begun = Instant::now();
    let stored = client.set_many(keys.iter().map(|key| (key, key.clone()))).ttl(TTL).await;
    let time = number::duration(begun.elapsed());
    let made = stored.made().count();
    let outcome = format!("{} stored in {time}", number::exact(made as u64));
    stage.call("set_many 10,000 keys", outcome, made == KEYS)?;
    let begun = Instant::now();
    let fetched = client.get_many(&keys).await;
    let time = number::duration(begun.elapsed());
    let found = fetched.found().filter(|(key, item)| item.value == key.as_bytes()).count();
    let outcome = format!("{} found in {time}, all servers side by side", number::exact(found as u64));
    stage.call("get_many 10,000 keys", outcome, found == KEYS)?;
    stage.table(&shares(client, &keys).await?)?;
    Ok(())
}

const KEYS: usize = 10_000;

/// What each server says of itself, and which share of the keys it holds.
async fn shares(client: &Client, keys: &[String]) -> Result<Table, Failure> {
    let mut table = Table::new([
        Column::left("server"),
        Column::right("share"),
        Column::left(""),
        Column::right("items"),
        Column::right("memory"),
        Column::right("gets"),
        Column::right("hit%"),
    ]);
    let mut homes = Vec::with_capacity(keys.len());
    for key in keys {
        homes.extend(client.locate(key)?.map(|server| server.name().to_owned()));
    }
    for sample in sample::take(client, "").await {
        let figures = sample.figures?;
        let figure = |name| figures.number(name).unwrap_or_default();
        let held = homes.iter().filter(|home| *home == sample.server.name()).count();
        let (hits, misses) = (figure("get_hits"), figure("get_misses"));
        table.row([
            Cell::new(sample.server.name()).tone(Tone::Name),
            Cell::new(format_args!("{:.1}%", 100.0 * held as f64 / keys.len() as f64)),
            Cell::new(picture::bar(held as f64 / keys.len() as f64, 30)).tone(Tone::Good),
            Cell::new(number::exact(figure("curr_items"))),
            Cell::new(number::bytes(figure("bytes"))),
            Cell::new(number::exact(figure("cmd_get"))),
            number::percent(hits, hits + misses).map_or_else(Cell::unknown, Cell::new),
        ]);
    }
    Ok(table)
}
