//! A real Prometheus that scrapes the programs of a test, and `promtool`.

mod dashboard;

pub use dashboard::{Dashboard, Panel, Target};

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tempfile::TempDir;

use crate::{http_get, scratch, unused_port};

/// A Prometheus process on a loopback port. Dropping it kills the process.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    address: String,
    _directory: TempDir,
}

/// The values of one combination of labels.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Series {
    /// The labels, with the name of the metric as `__name__`.
    pub labels: BTreeMap<String, String>,
    /// Seconds since 1970, and the value at that time. Values that are not numbers are left out.
    pub points: Vec<(f64, f64)>,
}

impl Prometheus {
    /// Starts Prometheus, which scrapes these addresses at this interval and evaluates these alert rules.
    ///
    /// # Panics
    /// Panics if the program is missing or does not start.
    #[must_use]
    pub fn start(targets: &[&str], interval: Duration, alerts: Option<&Path>) -> Self {
        let directory = scratch();
        let config = directory.path().join("prometheus.yml");
        fs::write(&config, configuration(targets, interval, alerts)).expect("the directory is writable");
        let address = format!("127.0.0.1:{}", unused_port());
        let log = directory.path().join("log");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("the directory is writable"))
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus: {error}; {INSTALL}"));
        let mut prometheus = Self { child, address, _directory: directory };
        prometheus.wait_until_ready(&log);
        prometheus
    }

    fn wait_until_ready(&mut self, log: &Path) {
        let start = Instant::now();
        while http_get(&self.address, "/-/ready").is_none_or(|(status, _)| status != 200) {
            let has_ended = self.child.try_wait().expect("a process can wait for its child").is_some();
            if has_ended || start.elapsed() > PATIENCE {
                panic!("prometheus does not start: {}", fs::read_to_string(log).unwrap_or_default());
            }
            thread::sleep(POLL);
        }
    }

    /// Returns the values of an expression now.
    ///
    /// # Panics
    /// Panics if Prometheus does not accept the expression.
    #[must_use]
    pub fn query(&self, expression: &str) -> Vec<Series> {
        self.ask(&format!("/api/v1/query?query={}", encoded(expression)))
    }

    /// Returns the values of an expression over the last `period`, one for each `step`.
    ///
    /// # Panics
    /// Panics if Prometheus does not accept the expression.
    #[must_use]
    pub fn query_range(&self, expression: &str, period: Duration, step: Duration) -> Vec<Series> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is set").as_secs_f64();
        let (start, step) = (now - period.as_secs_f64(), step.as_secs_f64());
        self.ask(&format!("/api/v1/query_range?query={}&start={start}&end={now}&step={step}", encoded(expression)))
    }

    /// Waits until an expression has a value that satisfies the condition, and returns it.
    ///
    /// # Panics
    /// Panics if none does within a minute.
    pub fn wait_for(&self, expression: &str, mut is_met: impl FnMut(&Series, f64) -> bool) -> Series {
        let start = Instant::now();
        loop {
            let found = self.query(expression);
            let met = found.iter().find(|series| series.points.last().is_some_and(|point| is_met(series, point.1)));
            if let Some(series) = met {
                return series.clone();
            }
            assert!(start.elapsed() < PATIENCE, "{expression}: {found:?}");
            thread::sleep(POLL);
        }
    }

    fn ask(&self, path: &str) -> Vec<Series> {
        let (_, body) = http_get(&self.address, path).expect("prometheus answers");
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"]["result"].as_array().expect("a list of series").iter().map(series).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `promtool` in a directory with this input. Returns its output as an error if it does not accept it.
///
/// # Errors
/// The output, if it ends with another exit code than 0.
///
/// # Panics
/// Panics if the program is missing.
pub fn promtool(arguments: &[&str], directory: &Path, input: &str) -> Result<(), String> {
    let mut child = Command::new("promtool")
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("promtool: {error}; {INSTALL}"));
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("promtool reads its input");
    let output = child.wait_with_output().expect("a process can wait for its child");
    let text = [output.stdout, output.stderr].concat();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&text).into_owned()) }
}

fn configuration(targets: &[&str], interval: Duration, alerts: Option<&Path>) -> String {
    let interval = interval.as_millis();
    let rules = alerts.map(|alerts| format!("rule_files: ['{}']\n", alerts.display())).unwrap_or_default();
    format!(
        "global: {{scrape_interval: {interval}ms, scrape_timeout: {interval}ms, evaluation_interval: {interval}ms}}\n\
         {rules}scrape_configs: [{{job_name: test, static_configs: [{{targets: {targets:?}}}]}}]\n"
    )
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Reads a series of an instant query (`value`) or of a range query (`values`).
fn series(json: &Value) -> Series {
    let labels = json["metric"].as_object().into_iter().flatten();
    let labels = labels.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
    let points = json["values"].as_array().map_or_else(|| std::slice::from_ref(&json["value"]), Vec::as_slice);
    let point = |point: &Value| Some((point[0].as_f64()?, point[1].as_str()?.parse::<f64>().ok()?));
    let points = points.iter().filter_map(point).filter(|(_, value)| value.is_finite());
    Series { labels: labels.collect(), points: points.collect() }
}

const INSTALL: &str = "install it with `apt-get install --no-install-recommends prometheus`";
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
