//! The compared load generators: how each is started, and how its output is read.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;

use super::counters::{self, CounterSeries};
use crate::adapter::HOST;
use crate::cores::Cores;
use crate::native;
use crate::options::ChildOptions;
use crate::report::Report;
use crate::scenario::Scenario;

/// A load generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// `remcache bench` with the binary protocol, which the library and memcaslap support too.
    Remcache,
    /// `remcache bench` with the protocol that it negotiates.
    RemcacheAuto,
    /// memcaslap with the text protocol, its default.
    Memcaslap,
    /// memcaslap with the binary protocol.
    MemcaslapBinary,
    /// The library as `cargo xtask bench` measures it.
    Library,
}

impl Tool {
    /// In the order of the rows; the first is compared with the others.
    pub(crate) const ALL: [Self; 5] =
        [Self::Remcache, Self::RemcacheAuto, Self::Memcaslap, Self::MemcaslapBinary, Self::Library];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Remcache => "remcache bench --protocol binary",
            Self::RemcacheAuto => "remcache bench",
            Self::Memcaslap => "memcaslap",
            Self::MemcaslapBinary => "memcaslap --binary",
            Self::Library => "the library",
        }
    }
}

/// The results of one run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Measured {
    /// Gets per second while no item was stored, counted by the server.
    pub(crate) counted_per_second: f64,
    /// Operations per second of the whole run, reported by the tool.
    pub(crate) reported_per_second: f64,
    /// Gets of the whole run, counted by the server.
    pub(crate) counted: f64,
    /// Gets of the whole run, reported by the tool.
    pub(crate) reported: Option<f64>,
    /// Latencies in microseconds, reported by the tool.
    pub(crate) mean: Option<f64>,
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
}

impl Measured {
    /// Returns the median of each value.
    pub(crate) fn median(runs: &[&Self]) -> Self {
        let median = |figure: fn(&Self) -> Option<f64>| {
            let mut figures: Vec<f64> = runs.iter().filter_map(|run| figure(run)).collect();
            figures.sort_by(f64::total_cmp);
            figures.get(figures.len() / 2).copied()
        };
        Self {
            counted_per_second: median(|run| Some(run.counted_per_second)).unwrap_or_default(),
            reported_per_second: median(|run| Some(run.reported_per_second)).unwrap_or_default(),
            counted: median(|run| Some(run.counted)).unwrap_or_default(),
            reported: median(|run| run.reported),
            mean: median(|run| run.mean),
            p50: median(|run| run.p50),
            p99: median(|run| run.p99),
        }
    }
}

const ATTEMPTS: usize = 3;
/// The exit codes of `timeout` after it has terminated or killed a program.
const TIMED_OUT: [i32; 2] = [124, 137];

/// The load that every tool generates.
#[derive(Debug)]
pub(crate) struct Load {
    /// The command-line tool `remcache`.
    pub(crate) program: PathBuf,
    pub(crate) cores: Cores,
    pub(crate) scenario: &'static Scenario,
    /// The ports that the tool connects to.
    pub(crate) ports: Vec<u16>,
    /// The port of the server whose counters are read.
    pub(crate) server: u16,
    pub(crate) seconds: u32,
}

impl Load {
    /// Runs a tool while the server's counters are recorded. A tool that does not exit, as memcaslap sometimes does, is
    /// run again.
    pub(crate) fn run(&self, tool: Tool) -> Result<Measured> {
        let command_line = self.command_line(tool)?;
        for _ in 0..ATTEMPTS {
            let (output, counters) = self.start(&command_line)?;
            if output.status.code().is_some_and(|code| TIMED_OUT.contains(&code)) {
                println!("{} did not exit and was killed; running it again", tool.name());
                continue;
            }
            return Self::read(tool, &command_line, &output, &counters);
        }
        bail!("{} did not exit in {ATTEMPTS} attempts", tool.name())
    }

    fn start(&self, command_line: &[String]) -> Result<(Output, CounterSeries)> {
        let mut command = Command::new("timeout");
        command.arg("--kill-after=1s").arg(format!("{}s", 4 * self.seconds + 60)).args(command_line);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().with_context(|| format!("starting {}", command_line.join(" ")))?;
        counters::record(child, self.server)
    }

    fn read(tool: Tool, command_line: &[String], output: &Output, counters: &CounterSeries) -> Result<Measured> {
        let report = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "{}: {report}{}",
            command_line.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        let measured = match tool {
            Tool::Remcache | Tool::RemcacheAuto => remcache(&report, counters),
            Tool::Memcaslap | Tool::MemcaslapBinary => memcaslap(&report, counters),
            Tool::Library => library(&report, counters),
        };
        measured.with_context(|| format!("the report of {}", tool.name()))
    }

    fn command_line(&self, tool: Tool) -> Result<Vec<String>> {
        let scenario = self.scenario;
        let server = format!("{HOST}:{}", self.ports[0]);
        let mut command_line = self.cores.client_prefix(false);
        let (callers, seconds) = (scenario.callers, self.seconds);
        let line = match tool {
            Tool::Remcache | Tool::RemcacheAuto => {
                command_line.push(self.program.display().to_string());
                let protocol = if tool == Tool::Remcache { "binary" } else { "auto" };
                format!(
                    "bench -s {server} --protocol {protocol} --ratio get=1 --depth {callers} --keys {} --size {} --time {seconds}s -f json",
                    scenario.keys, scenario.value_len
                )
            }
            Tool::Library => {
                command_line.push(std::env::current_exe().context("looking for this program")?.display().to_string());
                let (ports, seconds, client) = (self.ports.clone(), f64::from(seconds), "remcache-binary".parse()?);
                let child = ChildOptions { client, scenario, ports, authority: None, seconds };
                command_line.extend(child.command_line());
                return Ok(command_line);
            }
            // Before the gets, each of its callers stores a window of keys within the given time.
            Tool::Memcaslap | Tool::MemcaslapBinary => {
                command_line.push("memcaslap".to_owned());
                let settings = self.settings()?;
                let binary = if tool == Tool::MemcaslapBinary { " --binary" } else { "" };
                let seconds = seconds + STORE_SECONDS;
                format!("-s {server} -T 1 -c {callers} -t {seconds}s -w 1k -F {settings}{binary}")
            }
        };
        command_line.extend(line.split(' ').map(ToOwned::to_owned));
        Ok(command_line)
    }

    /// Writes memcaslap's configuration: keys as long as the tool's, values of one size, only gets.
    fn settings(&self) -> Result<String> {
        let path = native::work_dir()?.join("memcaslap.cnf");
        let size = self.scenario.value_len;
        let text = format!("key\n{KEY_LEN} {KEY_LEN} 1\nvalue\n{size} {size} 1\ncmd\n0 0.0\n1 1.0\n");
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path.display().to_string())
    }
}

fn remcache(report: &str, counters: &CounterSeries) -> Result<Measured> {
    let report: Value = serde_json::from_str(report)?;
    let gets = report["operations"].get(0).context("the report has no operation")?;
    let number = |value: &Value| value.as_f64().context("a number is missing in the report");
    let latency = |name: &str| number(&gets["latency_us"][name]).map(Some);
    ensure!(gets["errors"] == 0, "errors: {gets}");
    Ok(Measured {
        counted_per_second: counters.steady_rate()?,
        reported_per_second: number(&report["reached_per_second"])?,
        counted: counters.gets() as f64,
        reported: Some(number(&gets["answers"])?),
        mean: latency("mean")?,
        p50: latency("p50")?,
        p99: latency("p99")?,
    })
}

fn library(report: &str, counters: &CounterSeries) -> Result<Measured> {
    let report: Report = serde_json::from_str(report)?;
    Ok(Measured {
        counted_per_second: counters.steady_rate()?,
        reported_per_second: report.ops as f64 / report.seconds,
        counted: counters.gets() as f64,
        p50: Some(report.p50),
        p99: Some(report.p99),
        ..Measured::default()
    })
}

/// Reads memcaslap's output, whose last line is `Run time: 2.0s Ops: 158471 TPS: 79201 Net_rate: 12.6M/s`, sets
/// included.
fn memcaslap(report: &str, counters: &CounterSeries) -> Result<Measured> {
    let number = |label: &str| -> Result<f64> {
        let Some((_, rest)) = report.split_once(label) else { bail!("no {label:?} in {report:?}") };
        Ok(rest.split_whitespace().next().unwrap_or_default().parse()?)
    };
    ensure!(number("get_misses:")? == 0.0, "misses: {report}");
    Ok(Measured {
        counted_per_second: counters.steady_rate()?,
        reported_per_second: number("TPS:")?,
        counted: counters.gets() as f64,
        reported: Some(number("cmd_get:")?),
        ..Measured::default()
    })
}

/// The length of the tool's keys.
const KEY_LEN: usize = 26;
const STORE_SECONDS: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTERS: &[(f64, u64, u64)] = &[(0.0, 0, 0), (0.1, 10, 0), (0.2, 110, 0), (0.3, 210, 0), (0.4, 220, 0)];

    #[test]
    fn reports_are_read() {
        let counters = CounterSeries::new(COUNTERS);
        let report = r#"{"reached_per_second": 5.5, "operations": [{"operation": "get", "answers": 220, "errors": 0,
            "latency_us": {"mean": 3.0, "p50": 2.0, "p99": 9.0}}]}"#;
        let measured = remcache(report, &counters).unwrap();
        assert_eq!((measured.reported_per_second, measured.reported, measured.counted), (5.5, Some(220.0), 220.0));
        assert_eq!((measured.mean, measured.p50, measured.p99), (Some(3.0), Some(2.0), Some(9.0)));
        assert!(remcache(&report.replace("\"errors\": 0", "\"errors\": 1"), &counters).is_err());
        let report = "cmd_get: 92935\ncmd_set: 65536\nget_misses: 0\n\nRun time: 2.0s Ops: 158471 TPS: 79201 Net_rate: 12.6M/s\n";
        let measured = memcaslap(report, &counters).unwrap();
        assert_eq!((measured.reported_per_second, measured.reported), (79_201.0, Some(92_935.0)));
        assert!(memcaslap(&report.replace("misses: 0", "misses: 1"), &counters).is_err());
        assert!(memcaslap("nothing", &counters).is_err());
    }

    #[test]
    fn the_median_of_each_value_is_computed() {
        let run = |rate, p50| Measured { counted_per_second: rate, p50, ..Measured::default() };
        let runs = [run(3.0, Some(1.0)), run(1.0, None), run(2.0, Some(5.0))];
        let median = Measured::median(&runs.iter().collect::<Vec<_>>());
        assert_eq!((median.counted_per_second, median.p50, median.p99), (2.0, Some(5.0), None));
    }
}
