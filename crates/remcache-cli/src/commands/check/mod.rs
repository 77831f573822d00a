//! `check`: checks the servers against thresholds, for people and for monitoring.

mod metric;
mod perfdata;

use std::time::{Duration, Instant};

use remcache::ServerHandle;
use tokio::task::JoinSet;

use super::availability::{Availability, PROXY_HINT};
use crate::certificate::Expiry;
use crate::exit::{Exit, Outcome};
use crate::options::value;
use crate::output::{Cell, Column, Layout, Output, Record, Table, TextStyle};
use crate::session::Session;
use crate::stats::{self, Stats, reason};
use metric::{CheckMetric, Condition, Evaluation, Observation};
use perfdata::PerfData;

/// Check the servers against thresholds, for people or for monitoring
///
/// A server that does not respond is critical. hit%, the rates gets/s, sets/s, misses/s and evictions/s, and the rate
/// of any other counter, such as cmd_touch/s, are measured over --interval. Counters themselves are totals since the
/// server's start: evictions>10 stays true, evictions/s>10 does not. A metric that a server does not report is
/// unknown, with exit code 2. Without conditions, the metrics that need no interval are shown. In limits k, m and g
/// are powers of 1,024 for statistics in bytes, else of 1,000. -f nagios prints one line with performance data, and
/// exits with 0 (ok), 1 (warning), 2 (critical) or 3 (unknown).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  remcache check --warn-if 'hit%<90' --fail-if 'evictions/s>10'
  remcache check -f nagios --warn-if 'certificate_days<30'

Metrics:
  hit%              gets that found an item, in the interval; without gets no
                    condition on it holds: 'gets/s<1' finds idle servers
  total_hit%        the same since the server started
  memory%           bytes of items, of the limit (-m). A server can evict at
                    any memory%, because each slab class has its own pages: to
                    alert on evictions, use evictions/s
  connections%      open connections, of the limit (-c); one is this command's
  ping, uptime      'ping>5ms', 'uptime<1d'
  certificate_days  days until the server's certificate expires, with TLS
  gets/s, sets/s, misses/s, evictions/s
                    rates, in the interval
  curr_items, cmd_touch/s, ...
                    any statistic of the server, and its rate: the names are in
                    remcache stats -f json

Columns:
  STATUS  OK, WARNING, CRITICAL or UNKNOWN, followed by the reasons, or by the
          measured metrics if it is OK")]
pub(crate) struct Args {
    /// Condition under which a server has a warning: a metric, <, <=, > or >=, and a limit
    #[arg(long, value_name = "CONDITION")]
    warn_if: Vec<Condition>,

    /// Condition under which a server is critical
    #[arg(long, value_name = "CONDITION")]
    fail_if: Vec<Condition>,

    /// Interval over which hit% and the rates are measured
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = value::duration)]
    interval: Duration,
}

/// State of a server, as monitoring names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    #[default]
    Ok,
    Warning,
    /// A metric is not reported. A condition that cannot be evaluated may be critical, so it outranks a warning.
    Unknown,
    Critical,
}

/// Result of checking a server.
#[derive(Debug, Default)]
struct CheckResult {
    server: String,
    health: Health,
    /// Why it is not ok.
    reasons: Vec<String>,
    /// The measured metrics.
    metrics: Vec<PerfData>,
    /// What else there is to know: metrics that were undefined during the interval, or a lack of statistics.
    remarks: Vec<String>,
    /// The exit code of a server that does not respond.
    failure: Option<Exit>,
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let client = session.client()?;
    let mut tasks = JoinSet::new();
    let needs_interval = args.conditions().any(|condition| condition.metric.needs_interval());
    let interval = needs_interval.then_some(args.interval);
    for (index, server) in client.servers().into_iter().enumerate() {
        let limit = session.options.timeout;
        tasks.spawn(async move { (index, (observe(&server, interval, limit).await, server)) });
    }
    let mut observed = tasks.join_all().await;
    observed.sort_by_key(|(index, _)| *index);
    let evaluated = observed.into_iter().map(|(_, (observation, server))| evaluate(args, &server, observation));
    let results: Vec<CheckResult> = evaluated.collect();
    print(&results, &mut session.output)?;
    if session.output.is_text() {
        print_hints(args, &results, &mut session.output)?;
    }
    Ok(exit(&results, session.output.layout()))
}

async fn observe(
    server: &ServerHandle,
    interval: Option<Duration>,
    limit: Duration,
) -> Result<Observation, remcache::Error> {
    // The first no-op opens the connection, and would measure that.
    server.noop().await?;
    let asked = Instant::now();
    server.noop().await?;
    let ping = asked.elapsed();
    let started = Instant::now();
    let first = fetch_stats(server, limit).await?;
    let expiry = Expiry::of(server);
    let (Some(interval), Some(_)) = (interval, &first) else {
        return Ok(Observation { now: first, before: None, ping, expiry });
    };
    tokio::time::sleep(interval).await;
    let now = fetch_stats(server, limit).await?;
    Ok(Observation { now, before: first.map(|first| (first, started.elapsed())), ping, expiry })
}

/// Requests the statistics of a server; `None` if it reports none, as a proxy.
async fn fetch_stats(server: &ServerHandle, limit: Duration) -> Result<Option<Stats>, remcache::Error> {
    let stats = stats::fetch(server, "").await;
    match Availability::of(server, &stats, limit).await {
        Availability::WithoutStats => Ok(None),
        Availability::Up | Availability::Down => stats.map(Some),
    }
}

fn evaluate(args: &Args, server: &ServerHandle, observation: Result<Observation, remcache::Error>) -> CheckResult {
    let mut result = CheckResult { server: server.name().to_owned(), ..CheckResult::default() };
    match observation {
        Ok(observation) => {
            if observation.now.is_none() {
                result.remarks.push(format!("up, but reports no statistics: {PROXY_HINT}"));
            }
            for (health, conditions) in [(Health::Critical, &args.fail_if), (Health::Warning, &args.warn_if)] {
                conditions.iter().for_each(|condition| result.apply(health, condition, &observation));
            }
            if args.conditions().next().is_none() {
                result.measure(&observation);
            }
        }
        Err(error) => {
            result.failure = Some(Exit::of(&error));
            result.health = Health::Critical;
            result.reasons.push(format!("down: {}", reason(server, &error)));
        }
    }
    result
}

impl Args {
    fn conditions(&self) -> impl Iterator<Item = &Condition> {
        self.warn_if.iter().chain(&self.fail_if)
    }
}

impl CheckResult {
    /// Records the metrics that need neither a condition nor an interval.
    fn measure(&mut self, observation: &Observation) {
        let values = CheckMetric::instantaneous().filter_map(|metric| Some((metric.value(observation)??, metric)));
        self.metrics = values.map(|(value, metric)| PerfData::new(metric, Some(value))).collect();
    }

    fn apply(&mut self, health: Health, condition: &Condition, observation: &Observation) {
        match condition.evaluate(observation) {
            Evaluation::Value(value, is_met) => {
                if is_met {
                    self.health = self.health.max(health);
                    self.reasons.push(condition.explain(value));
                }
                self.record(health, condition, Some(value));
            }
            Evaluation::NoData => {
                let undefined = condition.explain_undefined();
                if !self.remarks.contains(&undefined) {
                    self.remarks.push(undefined);
                }
                self.record(health, condition, None);
            }
            Evaluation::Unavailable => {
                self.health = self.health.max(Health::Unknown);
                self.reasons.push(condition.explain_missing(observation));
            }
        }
    }

    /// Records a metric, once for all conditions on it.
    fn record(&mut self, health: Health, condition: &Condition, value: Option<f64>) {
        let known = self.metrics.iter().position(|data| data.metric == condition.metric);
        let index = known.unwrap_or_else(|| {
            self.metrics.push(PerfData::new(condition.metric.clone(), value));
            self.metrics.len() - 1
        });
        let data = &mut self.metrics[index];
        let range = if health == Health::Critical { &mut data.critical } else { &mut data.warning };
        range.add(condition);
    }

    /// Returns the text next to the status: the reasons, or else the values.
    fn details(&self) -> String {
        let values = self.metrics.iter().filter_map(PerfData::text);
        let details = if self.reasons.is_empty() { values.collect() } else { self.reasons.clone() };
        details.into_iter().chain(self.remarks.iter().cloned()).collect::<Vec<_>>().join("; ")
    }

    /// Returns the measured values by metric.
    fn values(&self) -> Record {
        self.metrics.iter().fold(Record::new(), |values, data| values.with_some(&data.metric.name(), data.value))
    }
}

impl Health {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Unknown => "UNKNOWN",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
        }
    }

    fn style(self) -> TextStyle {
        match self {
            Self::Ok => TextStyle::Good,
            Self::Unknown | Self::Warning => TextStyle::Warning,
            Self::Critical => TextStyle::Bad,
        }
    }
}

fn print(results: &[CheckResult], output: &mut Output) -> std::io::Result<()> {
    match output.layout() {
        Layout::Nagios => return output.line(nagios(results)),
        Layout::Text | Layout::Raw => {}
        _ => {
            let mut records = output.records(&["server", "status", "reasons", "metrics"])?;
            for result in results {
                let record = Record::new().with("server", &*result.server).with("status", result.health.name());
                records.push(record.with("reasons", result.reasons.clone()).with("metrics", result.values()))?;
            }
            return records.end();
        }
    }
    let mut table = Table::new([Column::left("SERVER"), Column::left("STATUS"), Column::left("")]);
    for result in results {
        let status = Cell::new(result.health.name()).style(result.health.style());
        table.row([Cell::new(&result.server), status, Cell::new(result.details())]);
    }
    output.table(&table)
}

/// Explains what was not checked, and how to check it.
fn print_hints(args: &Args, results: &[CheckResult], output: &mut Output) -> std::io::Result<()> {
    if args.conditions().next().is_none() {
        output.prose(format_args!("{}; no conditions were given, such as --fail-if 'hit%<90'", answering(results)))?;
    }
    let is_idle = |data: &PerfData| data.value.is_none() && data.metric.needs_interval();
    if results.iter().flat_map(|result| &result.metrics).any(is_idle) {
        output.prose(
            "hit% needs gets in the interval: total_hit% is the ratio since the server started, and 'gets/s<1' finds \
             idle servers",
        )?;
    }
    Ok(())
}

fn answering(results: &[CheckResult]) -> String {
    let alive = results.iter().filter(|result| result.failure.is_none()).count();
    format!("{alive} of {} servers answer", results.len())
}

/// Formats the results as one line: the worst state, the reasons, and the performance data after a bar.
fn nagios(results: &[CheckResult]) -> String {
    let worst = results.iter().map(|result| result.health).max().unwrap_or_default();
    let mut line = format!("MEMCACHED {} - {}", worst.name(), answering(results));
    for result in results {
        for reason in result.reasons.iter().chain(&result.remarks) {
            // A bar would start the performance data.
            line.push_str(&format!(", {} {}", result.server, reason.replace(['|', '\n'], " ")));
        }
    }
    let perfdata = |result: &CheckResult| -> Vec<String> {
        result.metrics.iter().map(|data| data.perfdata(&result.server)).collect()
    };
    let perfdata: Vec<_> = results.iter().flat_map(perfdata).collect();
    match perfdata.is_empty() {
        true => line,
        false => format!("{line} | {}", perfdata.join(" ")),
    }
}

fn exit(results: &[CheckResult], layout: Layout) -> Exit {
    let worst = results.iter().map(|result| result.health).max().unwrap_or_default();
    let down = results.iter().filter_map(|result| result.failure);
    match (layout, worst) {
        (_, Health::Ok) => Exit::Yes,
        (Layout::Nagios, Health::Warning) => Exit::Warning,
        (Layout::Nagios, Health::Critical) => Exit::Critical,
        (Layout::Nagios, Health::Unknown) => Exit::Unknown,
        (_, Health::Unknown) => Exit::Usage,
        _ => match (down.clone().count(), down.max()) {
            (count, Some(failure)) if count == results.len() => failure,
            (_, Some(_)) => Exit::Partly,
            (_, None) => Exit::Threshold,
        },
    }
}
