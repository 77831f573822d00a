//! Who is compared: how each is started, and how its report is read.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;

use super::watch::{self, Watched};
use crate::contestant::HOST;
use crate::cores::Cores;
use crate::native;
use crate::options::ChildOptions;
use crate::report::Report;
use crate::scenario::Scenario;

/// A program that makes the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// `remcache bench` on the wire that the library and memcaslap have in common.
    Tool,
    /// The same on the wire that the tool chooses by itself.
    ToolAuto,
    /// memcaslap on the text wire, its default.
    Memcaslap,
    /// The same on the binary wire.
    MemcaslapBinary,
    /// The library as `cargo xtask bench` measures it.
    Library,
}

impl Contender {
    /// In the order of the rows; the first is held against the others.
    pub(crate) const ALL: [Self; 5] =
        [Self::Tool, Self::ToolAuto, Self::Memcaslap, Self::MemcaslapBinary, Self::Library];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tool => "remcache bench --protocol binary",
            Self::ToolAuto => "remcache bench",
            Self::Memcaslap => "memcaslap",
            Self::MemcaslapBinary => "memcaslap --binary",
            Self::Library => "the library alone",
        }
    }
}

/// What came out of one run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Measured {
    /// Gets a second while nothing was stored, as the server counts them.
    pub(crate) counted_per_second: f64,
    /// The contender's own figure, of the whole run.
    pub(crate) told_per_second: f64,
    /// Gets of the whole run, as the server counts them.
    pub(crate) counted: f64,
    /// The contender's own count, where it tells one.
    pub(crate) told: Option<f64>,
    /// Latencies in microseconds, where they are told.
    pub(crate) mean: Option<f64>,
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
}

impl Measured {
    /// The median of each figure.
    pub(crate) fn median(runs: &[&Self]) -> Self {
        let median = |figure: fn(&Self) -> Option<f64>| {
            let mut figures: Vec<f64> = runs.iter().filter_map(|run| figure(run)).collect();
            figures.sort_by(f64::total_cmp);
            figures.get(figures.len() / 2).copied()
        };
        Self {
            counted_per_second: median(|run| Some(run.counted_per_second)).unwrap_or_default(),
            told_per_second: median(|run| Some(run.told_per_second)).unwrap_or_default(),
            counted: median(|run| Some(run.counted)).unwrap_or_default(),
            told: median(|run| run.told),
            mean: median(|run| run.mean),
            p50: median(|run| run.p50),
            p99: median(|run| run.p99),
        }
    }
}

const ATTEMPTS: usize = 3;
/// What `timeout` exits with when it had to end a program, gently or not.
const ENDED: [i32; 2] = [124, 137];

/// What everybody is asked to do.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) tool: PathBuf,
    pub(crate) cores: Cores,
    pub(crate) scenario: &'static Scenario,
    /// Where the contender goes.
    pub(crate) ports: Vec<u16>,
    /// The server whose counters are looked at.
    pub(crate) server: u16,
    pub(crate) seconds: u32,
}

impl Course {
    /// Runs a contender, and watches the server meanwhile. memcaslap does not always end: then it is run
    /// again.
    pub(crate) fn run(&self, contender: Contender) -> Result<Measured> {
        let words = self.words(contender)?;
        for _ in 0..ATTEMPTS {
            let (output, watched) = self.start(&words)?;
            if output.status.code().is_some_and(|code| ENDED.contains(&code)) {
                println!("{} has not ended and was killed: once more", contender.name());
                continue;
            }
            return Self::read(contender, &words, &output, &watched);
        }
        bail!("{} has not ended {ATTEMPTS} times", contender.name())
    }

    fn start(&self, words: &[String]) -> Result<(Output, Watched)> {
        let mut command = Command::new("timeout");
        command.arg("--kill-after=1s").arg(format!("{}s", 4 * self.seconds + 60)).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().with_context(|| format!("starting {}", words.join(" ")))?;
        watch::until_it_ends(child, self.server)
    }

    fn read(contender: Contender, words: &[String], output: &Output, watched: &Watched) -> Result<Measured> {
        let told = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{}: {told}{}", words.join(" "), String::from_utf8_lossy(&output.stderr));
        let measured = match contender {
            Contender::Tool | Contender::ToolAuto => tool(&told, watched),
            Contender::Memcaslap | Contender::MemcaslapBinary => memcaslap(&told, watched),
            Contender::Library => library(&told, watched),
        };
        measured.with_context(|| format!("the report of {}", contender.name()))
    }

    fn words(&self, contender: Contender) -> Result<Vec<String>> {
        let scenario = self.scenario;
        let server = format!("{HOST}:{}", self.ports[0]);
        let mut words = self.cores.for_client(false);
        let (callers, seconds) = (scenario.callers, self.seconds);
        let line = match contender {
            Contender::Tool | Contender::ToolAuto => {
                words.push(self.tool.display().to_string());
                let wire = if contender == Contender::Tool { "binary" } else { "auto" };
                format!(
                    "bench -s {server} --protocol {wire} --ratio get=1 --depth {callers} --keys {} --size {} --time {seconds}s -f json",
                    scenario.keys, scenario.value_len
                )
            }
            Contender::Library => {
                words.push(std::env::current_exe().context("looking for this program")?.display().to_string());
                let (ports, seconds, contestant) = (self.ports.clone(), f64::from(seconds), "remcache-binary".parse()?);
                let child = ChildOptions { contestant, scenario, ports, authority: None, seconds };
                words.extend(child.words());
                return Ok(words);
            }
            // Before it gets, each of its callers stores a window of keys, which takes from its time.
            Contender::Memcaslap | Contender::MemcaslapBinary => {
                words.push("memcaslap".to_owned());
                let settings = self.settings()?;
                let binary = if contender == Contender::MemcaslapBinary { " --binary" } else { "" };
                let seconds = seconds + FILLING_SECONDS;
                format!("-s {server} -T 1 -c {callers} -t {seconds}s -w 1k -F {settings}{binary}")
            }
        };
        words.extend(line.split(' ').map(ToOwned::to_owned));
        Ok(words)
    }

    /// memcaslap's own file: keys as long as the tool's, values of one size, gets alone.
    fn settings(&self) -> Result<String> {
        let path = native::workshop()?.join("memcaslap.cnf");
        let size = self.scenario.value_len;
        let text = format!("key\n{KEY} {KEY} 1\nvalue\n{size} {size} 1\ncmd\n0 0.0\n1 1.0\n");
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path.display().to_string())
    }
}

fn tool(told: &str, watched: &Watched) -> Result<Measured> {
    let report: Value = serde_json::from_str(told)?;
    let gets = report["operations"].get(0).context("no operation")?;
    let number = |value: &Value| value.as_f64().context("a figure is missing");
    let latency = |name: &str| number(&gets["latency_us"][name]).map(Some);
    ensure!(gets["errors"] == 0, "errors: {gets}");
    Ok(Measured {
        counted_per_second: watched.steady()?,
        told_per_second: number(&report["reached_per_s"])?,
        counted: watched.gets() as f64,
        told: Some(number(&gets["answers"])?),
        mean: latency("mean")?,
        p50: latency("p50")?,
        p99: latency("p99")?,
    })
}

fn library(told: &str, watched: &Watched) -> Result<Measured> {
    let report: Report = serde_json::from_str(told)?;
    Ok(Measured {
        counted_per_second: watched.steady()?,
        told_per_second: report.ops as f64 / report.seconds,
        counted: watched.gets() as f64,
        p50: Some(report.p50),
        p99: Some(report.p99),
        ..Measured::default()
    })
}

/// Its last line reads `Run time: 2.0s Ops: 158471 TPS: 79201 Net_rate: 12.6M/s`; stores count as well.
fn memcaslap(told: &str, watched: &Watched) -> Result<Measured> {
    let number = |label: &str| -> Result<f64> {
        let Some((_, rest)) = told.split_once(label) else { bail!("no {label:?} in {told:?}") };
        Ok(rest.split_whitespace().next().unwrap_or_default().parse()?)
    };
    ensure!(number("get_misses:")? == 0.0, "misses: {told}");
    Ok(Measured {
        counted_per_second: watched.steady()?,
        told_per_second: number("TPS:")?,
        counted: watched.gets() as f64,
        told: Some(number("cmd_get:")?),
        ..Measured::default()
    })
}

/// How long the tool's keys are.
const KEY: usize = 26;
const FILLING_SECONDS: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const WATCHED: &[(f64, u64, u64)] = &[(0.0, 0, 0), (0.1, 10, 0), (0.2, 110, 0), (0.3, 210, 0), (0.4, 220, 0)];

    #[test]
    fn reports_are_read() {
        let watched = Watched::of(WATCHED);
        let told = r#"{"reached_per_s": 5.5, "operations": [{"operation": "get", "answers": 220, "errors": 0,
            "latency_us": {"mean": 3.0, "p50": 2.0, "p99": 9.0}}]}"#;
        let measured = tool(told, &watched).unwrap();
        assert_eq!((measured.told_per_second, measured.told, measured.counted), (5.5, Some(220.0), 220.0));
        assert_eq!((measured.mean, measured.p50, measured.p99), (Some(3.0), Some(2.0), Some(9.0)));
        assert!(tool(&told.replace("\"errors\": 0", "\"errors\": 1"), &watched).is_err());
        let told = "cmd_get: 92935\ncmd_set: 65536\nget_misses: 0\n\nRun time: 2.0s Ops: 158471 TPS: 79201 Net_rate: 12.6M/s\n";
        let measured = memcaslap(told, &watched).unwrap();
        assert_eq!((measured.told_per_second, measured.told), (79_201.0, Some(92_935.0)));
        assert!(memcaslap(&told.replace("misses: 0", "misses: 1"), &watched).is_err());
        assert!(memcaslap("nothing", &watched).is_err());
    }

    #[test]
    fn medians_are_of_each_figure() {
        let run = |rate, p50| Measured { counted_per_second: rate, p50, ..Measured::default() };
        let runs = [run(3.0, Some(1.0)), run(1.0, None), run(2.0, Some(5.0))];
        let median = Measured::median(&runs.iter().collect::<Vec<_>>());
        assert_eq!((median.counted_per_second, median.p50, median.p99), (2.0, Some(5.0), None));
    }
}
