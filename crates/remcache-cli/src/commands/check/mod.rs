//! `check`: whether the servers are as they should be, for people and for monitoring.

mod figure;
mod performance;

use std::time::{Duration, Instant};

use remcache::client::ServerHandle;
use tokio::task::JoinSet;

use crate::exit::{Exit, Outcome};
use crate::options::value;
use crate::output::{Cell, Column, Layout, Output, Record, Table, Tone};
use crate::sample::{self, reason};
use crate::session::Session;
use figure::{Condition, Found, Seen};
use performance::Performance;

/// Check the servers against thresholds, for people or for monitoring
///
/// A server that does not answer is critical. Figures are hit%, memory%, connections%, ping, uptime,
/// gets/s, sets/s, misses/s, evictions/s, and any statistic of the server: curr_items, cmd_touch/s. A
/// figure that a server does not have is unknown, with exit code 2. With -f nagios it prints one line with
/// performance data, and exits with 0 (ok), 1 (warning), 2 (critical) or 3 (unknown).
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: remcache check --warn-if 'hit%<90' --fail-if 'evictions/s>100' --fail-if 'ping>50ms'")]
pub(crate) struct Args {
    /// Warn of a server on this condition
    #[arg(long, value_name = "CONDITION")]
    warn_if: Vec<Condition>,

    /// A server is critical on this condition
    #[arg(long, value_name = "CONDITION")]
    fail_if: Vec<Condition>,

    /// The time between the two looks that rates need
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = value::duration)]
    interval: Duration,
}

/// How a server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    #[default]
    Ok,
    /// Something cannot be said.
    Unknown,
    Warning,
    Critical,
}

/// What is to be said of a server.
#[derive(Debug, Default)]
struct Verdict {
    server: String,
    health: Health,
    /// Why it is not well.
    reasons: Vec<String>,
    /// Figures for the monitoring's curves.
    figures: Vec<Performance>,
    /// What it gives as an exit code if it does not answer.
    failure: Option<Exit>,
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let client = session.client()?;
    let mut tasks = JoinSet::new();
    let needs_two = args.warn_if.iter().chain(&args.fail_if).any(|condition| condition.figure.is_rate());
    let interval = needs_two.then_some(args.interval);
    for (index, server) in client.servers().into_iter().enumerate() {
        tasks.spawn(async move { (index, (look(&server, interval).await, server)) });
    }
    let mut seen = tasks.join_all().await;
    seen.sort_by_key(|(index, _)| *index);
    let verdicts: Vec<Verdict> = seen.into_iter().map(|(_, (seen, server))| judge(args, &server, seen)).collect();
    print(&verdicts, &mut session.output)?;
    Ok(exit(&verdicts, session.output.layout()))
}

async fn look(server: &ServerHandle, interval: Option<Duration>) -> Result<Seen, remcache::Error> {
    // The first answer waits for the connection.
    server.noop().await?;
    let asked = Instant::now();
    server.noop().await?;
    let ping = asked.elapsed();
    let begun = Instant::now();
    let first = sample::figures(server, "").await?;
    let Some(interval) = interval else { return Ok(Seen { now: first, before: None, ping }) };
    tokio::time::sleep(interval).await;
    let now = sample::figures(server, "").await?;
    Ok(Seen { now, before: Some((first, begun.elapsed())), ping })
}

fn judge(args: &Args, server: &ServerHandle, seen: Result<Seen, remcache::Error>) -> Verdict {
    let mut verdict = Verdict { server: server.name().to_owned(), ..Verdict::default() };
    match seen {
        Ok(seen) => {
            for (health, conditions) in [(Health::Critical, &args.fail_if), (Health::Warning, &args.warn_if)] {
                conditions.iter().for_each(|condition| verdict.weigh(health, condition, &seen));
            }
        }
        Err(error) => {
            verdict.failure = Some(Exit::of(&error));
            verdict.health = Health::Critical;
            verdict.reasons.push(format!("down: {}", reason(server, &error)));
        }
    }
    verdict
}

impl Verdict {
    fn weigh(&mut self, health: Health, condition: &Condition, seen: &Seen) {
        match condition.look(seen) {
            Found::Value(value, is_met) => {
                if is_met {
                    self.health = self.health.max(health);
                    self.reasons.push(condition.explain(value));
                }
                self.record(health, condition, value);
            }
            Found::Nothing => {}
            Found::Untold => {
                self.health = self.health.max(Health::Unknown);
                self.reasons.push(format!("{} is not told", condition.figure.name()));
            }
        }
    }

    /// Takes a figure down for the monitoring's curves, once for all conditions on it.
    fn record(&mut self, health: Health, condition: &Condition, value: f64) {
        let label = format!("{} {}", self.server, condition.figure.name());
        let known = self.figures.iter().position(|figure| figure.label == label);
        let place = known.unwrap_or_else(|| {
            self.figures.push(Performance::new(label, value, condition.figure.unit()));
            self.figures.len() - 1
        });
        let figure = &mut self.figures[place];
        let range = if health == Health::Critical { &mut figure.critical } else { &mut figure.warning };
        range.limit(condition);
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

    fn tone(self) -> Tone {
        match self {
            Self::Ok => Tone::Good,
            Self::Unknown | Self::Warning => Tone::Warning,
            Self::Critical => Tone::Bad,
        }
    }
}

fn print(verdicts: &[Verdict], output: &mut Output) -> std::io::Result<()> {
    match output.layout() {
        Layout::Nagios => return output.line(nagios(verdicts)),
        Layout::Text | Layout::Raw => {}
        _ => {
            let mut records = output.records(&["server", "status", "reasons"])?;
            for verdict in verdicts {
                let record = Record::new().with("server", &*verdict.server).with("status", verdict.health.name());
                records.push(record.with("reasons", verdict.reasons.join("; ")))?;
            }
            return records.end();
        }
    }
    let mut table = Table::new([Column::left("SERVER"), Column::left("STATUS"), Column::left("")]);
    for verdict in verdicts {
        let status = Cell::new(verdict.health.name()).tone(verdict.health.tone());
        table.row([Cell::new(&verdict.server), status, Cell::new(verdict.reasons.join("; "))]);
    }
    output.table(&table)
}

/// One line: the worst, why, and the figures behind a bar.
fn nagios(verdicts: &[Verdict]) -> String {
    let worst = verdicts.iter().map(|verdict| verdict.health).max().unwrap_or_default();
    let alive = verdicts.iter().filter(|verdict| verdict.failure.is_none()).count();
    let mut line = format!("MEMCACHED {} - {alive} of {} servers answer", worst.name(), verdicts.len());
    for verdict in verdicts {
        for reason in &verdict.reasons {
            // A bar would begin the figures.
            line.push_str(&format!(", {} {}", verdict.server, reason.replace(['|', '\n'], " ")));
        }
    }
    let figures: Vec<_> = verdicts.iter().flat_map(|verdict| &verdict.figures).map(ToString::to_string).collect();
    match figures.is_empty() {
        true => line,
        false => format!("{line} | {}", figures.join(" ")),
    }
}

fn exit(verdicts: &[Verdict], layout: Layout) -> Exit {
    let worst = verdicts.iter().map(|verdict| verdict.health).max().unwrap_or_default();
    let down = verdicts.iter().filter_map(|verdict| verdict.failure);
    match (layout, worst) {
        (_, Health::Ok) => Exit::Yes,
        (Layout::Nagios, Health::Warning) => Exit::Warning,
        (Layout::Nagios, Health::Critical) => Exit::Critical,
        (Layout::Nagios, Health::Unknown) => Exit::Unknown,
        (_, Health::Unknown) => Exit::Usage,
        _ => match (down.clone().count(), down.max()) {
            (count, Some(failure)) if count == verdicts.len() => failure,
            (_, Some(_)) => Exit::Partly,
            (_, None) => Exit::Threshold,
        },
    }
}
