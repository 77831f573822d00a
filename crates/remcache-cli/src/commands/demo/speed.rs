//! Throughput with a growing number of callers on the same connections.

use std::time::Duration;

use remcache::{Client, Ttl};

use super::output::DemoOutput;
use crate::exit::Failure;
use crate::load_generator::{LoadModel, LoadRun, Mix, OpStats, Operation, Popularity, Sizes, Workload, per_second};
use crate::output::{Cell, Column, Table, TextStyle, chart, number};

/// Throughput and latency with a number of callers.
struct SpeedResult {
    callers: usize,
    rate: f64,
    gets: OpStats,
}

/// Measures gets with a growing number of callers.
pub(super) async fn measure(client: &Client, out: &mut DemoOutput<'_>) -> Result<(), Failure> {
    out.heading("Throughput: gets of 100 bytes, one thread, one connection to each server")?;
    let workload = Workload {
        mix: Mix::only(Operation::Get),
        keys: 10_000,
        popularity: Popularity::Uniform,
        sizes: Sizes::only(100),
        ttl: Ttl::Never,
    };
    let mut failed = 0;
    workload.store_all(client, |stored| failed += u64::from(stored.is_err()), |_| ()).await;
    out.expect(failed == 0, format_args!("{failed} keys could not be stored"))?;
    let mut results = Vec::new();
    for callers in CALLERS {
        let result = reach(client, &workload, callers).await;
        out.expect(result.gets.errors == 0, format_args!("{} gets failed", result.gets.errors))?;
        out.expect(result.gets.hits == result.gets.answers, "some gets missed")?;
        results.push(result);
    }
    out.table(&table(&results))?;
    if cfg!(debug_assertions) {
        let hint = "unoptimised build: measure with cargo run --release -- demo";

        out.line(out.paint(TextStyle::Faint, hint))?;
    }
    Ok(())
}

async fn reach(client: &Client, workload: &Workload, callers: usize) -> SpeedResult {
    let mut load = LoadRun::start(client, workload, LoadModel::Closed(callers), TIME, 1);
    load.ended().await;
    let (recorder, elapsed) = load.result();
    let gets = recorder.stats(None);
    SpeedResult { callers, rate: per_second(gets.answers, elapsed), gets }
}

fn table(results: &[SpeedResult]) -> Table {
    let columns = ["callers", "gets/s", "", "p50", "p99"];
    let mut table =
        Table::new(columns.map(|title| if title.is_empty() { Column::left("") } else { Column::right(title) }));
    let fastest = results.iter().map(|result| result.rate).fold(1.0, f64::max);
    for SpeedResult { callers, rate, gets } in results {
        table.row([
            Cell::new(callers),
            Cell::new(number::exact(rate.round() as u64)).style(TextStyle::Title),
            Cell::new(format!("{:40}", chart::bar(rate / fastest, 40))).style(TextStyle::Good),
            Cell::new(number::duration(gets.percentile(50.0))),
            Cell::new(number::duration(gets.percentile(99.0))),
        ]);
    }
    table
}

const CALLERS: [usize; 3] = [1, 64, 512];
const TIME: Duration = Duration::from_millis(900);
