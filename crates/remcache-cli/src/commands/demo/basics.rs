//! First sections of the demo: one key, then many keys in one call.

use std::time::{Duration, Instant};

use remcache::{Client, Error, WriteOutcome};
use tokio::task::JoinSet;

use super::output::DemoOutput;
use crate::exit::Failure;
use crate::output::{Cell, Column, Table, TextStyle, chart, number};
use crate::stats;

const TTL: Duration = Duration::from_secs(600);

/// Stores, fetches and counts.
pub(super) async fn one_key(client: &Client, out: &mut DemoOutput<'_>) -> Result<(), Failure> {
    out.heading("Store, fetch, count")?;
    let stored = client.set("greeting", "hello, world").ttl(TTL).await?;
    out.step("set greeting \"hello, world\", TTL 10 minutes", "stored", stored.is_applied())?;
    let item = client.get("greeting").await?;
    let text = item.as_ref().map(|item| String::from_utf8_lossy(&item.value).into_owned());
    let is_expected = text.as_deref() == Some("hello, world");
    out.step("get greeting", format_args!("{:?}", text.unwrap_or_default()), is_expected)?;
    let miss = client.get("missing").await?;
    out.step("get missing", "a miss, which is not an error", miss.is_none())?;
    let added = client.add("greeting", "again").await?;
    out.step("add greeting", "not stored: it exists", added == WriteOutcome::Exists)?;
    let seen = item.map_or(0, |item| item.cas);
    client.set("greeting", "changed by another client").ttl(TTL).await?;
    let changed = client.set("greeting", "mine").cas(seen).await?;
    out.step(
        "set greeting, if its CAS value is unchanged",
        "not stored: it was changed",
        changed == WriteOutcome::Exists,
    )?;
    let visits = increment_concurrently(client).await?;
    out.step("incr visits, by 100 concurrent callers", format!("{visits}, none lost"), visits == CALLERS)?;
    Ok(())
}

const CALLERS: u64 = 100;

/// Increments one counter from many concurrent callers, and returns its highest value.
async fn increment_concurrently(client: &Client) -> Result<u64, Error> {
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

/// Stores and fetches ten thousand keys with one call each, and shows how they are distributed.
pub(super) async fn many_keys(client: &Client, out: &mut DemoOutput<'_>) -> Result<(), Failure> {
    out.heading("Many keys in one call")?;
    let keys: Vec<String> = (0..KEYS).map(|number| format!("item:{number}")).collect();
    let started = Instant::now();
    let stored = client.set_many(keys.iter().map(|key| (key, key.clone()))).ttl(TTL).await;
    let time = number::duration(started.elapsed());
    let made = stored.applied().count();
    let outcome = format!("{} stored in {time}", number::exact(made as u64));
    out.step("set_many 10,000 keys", outcome, made == KEYS)?;
    let started = Instant::now();
    let fetched = client.get_many(&keys).await;
    let time = number::duration(started.elapsed());
    let found = fetched.found().filter(|(key, item)| item.value == key.as_bytes()).count();
    let outcome = format!("{} found in {time}, from all servers in parallel", number::exact(found as u64));
    out.step("get_many 10,000 keys", outcome, found == KEYS)?;
    out.table(&shares(client, &keys).await?)?;
    Ok(())
}

const KEYS: usize = 10_000;

/// Returns a table with statistics of each server and its share of the keys.
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
    let mut servers_of_keys = Vec::with_capacity(keys.len());
    for key in keys {
        servers_of_keys.extend(client.locate(key)?.map(|server| server.name().to_owned()));
    }
    for sample in stats::fetch_all(client, "").await {
        let figures = sample.stats?;
        let figure = |name| figures.number(name).unwrap_or_default();
        let count = servers_of_keys.iter().filter(|server| *server == sample.server.name()).count();

        let (hits, misses) = (figure("get_hits"), figure("get_misses"));
        table.row([
            Cell::new(sample.server.name()).style(TextStyle::Name),
            Cell::new(format_args!("{:.1}%", 100.0 * count as f64 / keys.len() as f64)),
            Cell::new(chart::bar(count as f64 / keys.len() as f64, 30)).style(TextStyle::Good),
            Cell::new(number::exact(figure("curr_items"))),
            Cell::new(number::bytes(figure("bytes"))),
            Cell::new(number::exact(figure("cmd_get"))),
            number::percent(hits, hits + misses).map_or_else(Cell::unknown, Cell::new),
        ]);
    }
    Ok(table)
}
