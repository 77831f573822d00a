//! remcache under load and trouble: `cargo xtask soak` runs it.

mod flapping;
mod memory;
mod mixed;
mod pipelines;
mod trouble;
mod worker;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// remcache under load and trouble, for as long as one likes: whatever is answered has to be right.
#[derive(Debug, Parser)]
struct CommandLine {
    /// How long, in minutes
    #[arg(long, default_value_t = 1.0, conflicts_with = "seconds")]
    minutes: f64,
    /// How long, in seconds
    #[arg(long)]
    seconds: Option<f64>,
    /// A thousand embedded servers of which some come and go, instead of a mixed load on real ones
    #[arg(long)]
    flapping: bool,
    /// With --flapping: how many servers there are; three of ten come and go
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    servers: u32,
    /// With --flapping: how long each caller rests between two requests, in milliseconds
    #[arg(long, default_value_t = 100)]
    rest: u64,
    /// Calls with a million keys and 10,000 values of 100 kB through tiny buffers, on each protocol, with and without TLS
    #[arg(long, conflicts_with_all = ["minutes", "seconds", "flapping"])]
    pipelines: bool,
    /// With --pipelines: so many times fewer of them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    share: u32,
    /// The deadline of each request, in seconds
    #[arg(long, default_value_t = 1.0)]
    timeout: f64,
    /// Repeats the random choices of another run
    #[arg(long)]
    seed: Option<u64>,
}

/// What a run is to be like.
#[derive(Clone, Copy, Debug)]
struct Order {
    length: Duration,
    timeout: Duration,
    seed: u64,
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let outcome = order(&line).and_then(|order| {
        println!("seed {}", order.seed);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
        match (line.flapping, line.pipelines) {
            (true, _) => {
                let rest = Duration::from_millis(line.rest);
                runtime.block_on(flapping::run(order, line.servers as usize, rest))
            }
            (_, true) => runtime.block_on(pipelines::run(order, line.share as usize)),
            _ => runtime.block_on(mixed::run(order)),
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("FAILED: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn order(line: &CommandLine) -> Result<Order, String> {
    let seconds = line.seconds.unwrap_or(line.minutes * 60.0);
    let duration = |what: &str, seconds: f64| {
        let duration = Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero());
        duration.ok_or_else(|| format!("{what} of {seconds} s: give it a positive number"))
    };
    Ok(Order {
        length: duration("a length", seconds)?,
        timeout: duration("a timeout", line.timeout)?,
        seed: line.seed.unwrap_or_else(|| fastrand::u64(..)),
    })
}
