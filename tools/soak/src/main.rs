//! Long-running tests of remcache with faulty servers; `cargo xtask soak` runs them.

mod faults;
mod flapping;
mod memory;
mod mixed;
mod pipelines;
mod worker;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// Runs random operations with servers that fail and return, and checks every result.
#[derive(Debug, Parser)]
struct CommandLine {
    /// Duration in minutes
    #[arg(long, default_value_t = 1.0, conflicts_with = "seconds")]
    minutes: f64,
    /// Duration in seconds
    #[arg(long)]
    seconds: Option<f64>,
    /// Use many embedded servers, some of which fail and return, instead of a mixed load on real servers
    #[arg(long)]
    flapping: bool,
    /// With --flapping: the number of servers; three of ten fail and return
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    servers: u32,
    /// With --flapping: the pause of each caller between two requests, in milliseconds
    #[arg(long, default_value_t = 100)]
    pause: u64,
    /// Make calls with a million keys, and with 10,000 values of 100 kB and small socket buffers, on each protocol,
    /// with and without TLS
    #[arg(long, conflicts_with_all = ["minutes", "seconds", "flapping"])]
    pipelines: bool,
    /// With --pipelines: divide the numbers of keys and values by this
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    share: u32,
    /// Run the callers of the mixed load on short-lived Tokio runtimes, and drop some calls
    #[arg(long, conflicts_with_all = ["flapping", "pipelines"])]
    runtimes: bool,
    /// The timeout of each request, in seconds
    #[arg(long, default_value_t = 1.0)]
    timeout: f64,
    /// Repeat the random choices of another run
    #[arg(long)]
    seed: Option<u64>,
}

/// The settings of a run.
#[derive(Clone, Copy, Debug)]
struct Settings {
    duration: Duration,
    timeout: Duration,
    seed: u64,
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let result = settings(&line).and_then(|settings| {
        println!("seed {}", settings.seed);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot start a runtime: {error}"))?;
        match (line.flapping, line.pipelines) {
            (true, _) => {
                let pause = Duration::from_millis(line.pause);
                runtime.block_on(flapping::run(settings, line.servers as usize, pause))
            }
            (_, true) => runtime.block_on(pipelines::run(settings, line.share as usize)),
            _ => runtime.block_on(mixed::run(settings, line.runtimes)),
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

fn settings(line: &CommandLine) -> Result<Settings, String> {
    let seconds = line.seconds.unwrap_or(line.minutes * 60.0);
    let duration = |what: &str, seconds: f64| {
        let duration = Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero());
        duration.ok_or_else(|| format!("{what} of {seconds} s is not a positive number"))
    };
    Ok(Settings {
        duration: duration("a duration", seconds)?,
        timeout: duration("a timeout", line.timeout)?,
        seed: line.seed.unwrap_or_else(|| fastrand::u64(..)),
    })
}
