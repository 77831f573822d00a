//! The demo's end: how fast it is, with ever more callers on the same connections.

use std::time::Duration;

use remcache::{Client, Ttl};

use super::stage::Stage;
use crate::exit::Failure;
use crate::load::{Load, Mix, Pace, Popularity, Sizes, Tallied, Verb, Workload, per_second};
use crate::output::{Cell, Column, Table, Tone, number, picture};

/// What so many callers reached.
struct Reached {
    callers: usize,
    rate: f64,
    gets: Tallied,
}

/// Measures gets with ever more callers.
pub(super) async fn measure(client: &Client, stage: &mut Stage<'_>) -> Result<(), Failure> {
    stage.heading("How fast: gets of 100 bytes, one thread, one connection to each server")?;
    let workload = Workload {
        mix: Mix::only(Verb::Get),
        keys: 10_000,
        popularity: Popularity::Uniform,
        sizes: Sizes::only(100),
        ttl: Ttl::Never,
    };
    let mut failed = 0;
    workload.store_all(client, |stored| failed += u64::from(stored.is_err()), |_| ()).await;
    stage.check(failed == 0, format_args!("{failed} keys could not be stored"))?;
    let mut results = Vec::new();
    for callers in CALLERS {
        let reached = reach(client, &workload, callers).await;
        stage.check(reached.gets.errors == 0, format_args!("{} gets failed", reached.gets.errors))?;
        stage.check(reached.gets.hits == reached.gets.answers, "some gets missed")?;
        results.push(reached);
    }
    stage.table(&table(&results))?;
    if cfg!(debug_assertions) {
        let hint = "an unoptimised build: see the real speed with cargo run --release -- demo";
        stage.say(stage.paint(Tone::Faint, hint))?;
    }
    Ok(())
}

async fn reach(client: &Client, workload: &Workload, callers: usize) -> Reached {
    let mut load = Load::begin(client, workload, Pace::Callers(callers), TIME, 1);
    load.ended().await;
    let (recorder, elapsed) = load.result();
    let gets = recorder.tallied(None);
    Reached { callers, rate: per_second(gets.answers, elapsed), gets }
}

fn table(results: &[Reached]) -> Table {
    let columns = ["callers", "gets/s", "", "p50", "p99"];
    let mut table =
        Table::new(columns.map(|title| if title.is_empty() { Column::left("") } else { Column::right(title) }));
    let fastest = results.iter().map(|reached| reached.rate).fold(1.0, f64::max);
    for Reached { callers, rate, gets } in results {
        table.row([
            Cell::new(callers),
            Cell::new(number::exact(rate.round() as u64)).tone(Tone::Title),
            Cell::new(format!("{:40}", picture::bar(rate / fastest, 40))).tone(Tone::Good),
            Cell::new(number::duration(gets.percentile(50.0))),
            Cell::new(number::duration(gets.percentile(99.0))),
        ]);
    }
    table
}

const CALLERS: [usize; 3] = [1, 64, 512];
const TIME: Duration = Duration::from_millis(900);
