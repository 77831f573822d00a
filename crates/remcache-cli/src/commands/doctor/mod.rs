//! `doctor`: looks for known problems of the servers and of the connection to them, with advice.

#[cfg(feature = "tls")]
mod certificate;
mod checks;
mod evictions;

use std::time::{Duration, Instant};

use clap::Command;
use remcache::{Client, Error, ErrorKind, ServerHandle};
use tokio::task::JoinSet;

use super::availability::{Availability, PROXY_HINT};
use crate::context::Contexts;
use crate::exit::{Exit, Outcome};
use crate::outcome_counts::OutcomeCounts;
use crate::output::{Cell, Column, Output, Record, Table, TextStyle};
use crate::same_server::{self, SameServer};
use crate::session::Session;
use crate::stats::{self, Stats, reason};
use checks::CHECKS;

/// Look for known problems of the servers and of the connection to them
///
/// It looks at versions, certificates that expire within 30 days, clocks, connections, evictions (now, or of more
/// than a twentieth of the stored items) and their reason, memory, limits of items, and servers that are given twice.
/// It changes nothing. Exits with 0 if there are no findings, 8 if there are some, 3 or 4 if some or all servers are
/// down, and 6 if they refuse the authentication or TLS fails.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Columns:
  SERVER   server, or servers with the same finding
  ABOUT    what was checked
  FINDING  the problem, and below it what to do")]
pub(crate) struct Args {}

/// A problem, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    problem: String,
    advice: String,
}

impl Finding {
    fn new(problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { problem: problem.into(), advice: advice.into() }
    }
}

/// A finding with the server, or the file, that it is about, and the name of the check.
#[derive(Debug)]
struct ReportedFinding {
    subject: String,
    check: &'static str,
    finding: Finding,
}

/// Statistics of a server, at the end of an interval.
#[derive(Debug, Default)]
struct ServerInfo {
    general: Stats,
    settings: Stats,
    items: Stats,
    slabs: Stats,
    /// The certificate that the server presented, in DER.
    #[cfg(feature = "tls")]
    certificate: Option<Vec<u8>>,
    /// General statistics at the start of the interval, and its length.
    before: Option<(Stats, Duration)>,
}

/// Result of examining a server.
#[derive(Debug)]
struct Examination {
    reports: Vec<ReportedFinding>,
    /// General statistics, if it reports any.
    general: Option<Stats>,
    /// Why the server could not be examined.
    failure: Option<Error>,
}

/// Interval over which rates are measured.
const INTERVAL: Duration = Duration::from_secs(1);

pub(crate) async fn run(_: &Args, session: &mut Session) -> Outcome {
    let mut reports = context_problems(session.options.context.as_deref(), &session.definition());
    let (client, limit) = (session.client()?, session.options.timeout);
    let mut tasks = JoinSet::new();
    for (index, server) in client.servers().into_iter().enumerate() {
        tasks.spawn(async move { (index, examine(&server, limit).await) });
    }
    let mut examined = tasks.join_all().await;
    examined.sort_by_key(|(index, _)| *index);
    let servers = examined.len();
    report_same_servers(&client, &mut examined).await;
    let affected = examined.iter().filter(|(_, examination)| !examination.reports.is_empty()).count();
    let mut counts = OutcomeCounts::default();
    for (_, examination) in examined {
        reports.extend(examination.reports);
        match examination.failure {
            Some(error) => counts.error(&error),
            None => counts.answer(true),
        }
    }
    print(&reports, affected, servers, &mut session.output)?;
    Ok(match counts.exit_of_servers() {
        Exit::Yes if !reports.is_empty() => Exit::Threshold,
        exit => exit,
    })
}

/// Checks the contexts file, and the context in use.
fn context_problems(name: Option<&str>, definition: &Command) -> Vec<ReportedFinding> {
    let problems = match Contexts::read_if_any() {
        Ok(contexts) => contexts.map(|contexts| contexts.problems(name, definition)).unwrap_or_default(),
        // The parser's message is drawn over several lines.
        Err(failure) => {
            vec![failure.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()]
        }
    };
    let advice = "fix the contexts file; until then doctor ignores the context, and other commands fail in it";
    let report =
        |problem| ReportedFinding { subject: "contexts".into(), check: "file", finding: Finding::new(problem, advice) };
    problems.into_iter().map(report).collect()
}

/// Runs all checks on a server.
async fn examine(server: &ServerHandle, limit: Duration) -> Examination {
    let report = |check, finding| ReportedFinding { subject: server.name().to_owned(), check, finding };
    match fetch(server, limit).await {
        Ok(Some(info)) => {
            let reports = CHECKS.iter().filter_map(|check| Some(report(check.name, (check.run)(&info)?))).collect();
            Examination { reports, general: Some(info.general), failure: None }
        }
        Ok(None) => {
            let advice = format!("{PROXY_HINT}: run doctor with the addresses of the servers behind it");
            let finding = Finding::new("it is up, but reports no statistics", advice);
            Examination { reports: vec![report("statistics", finding)], general: None, failure: None }
        }
        Err(error) => {
            let (check, advice) = match error.kind() {
                ErrorKind::Tls => ("TLS", "check --tls, --tls-ca and --tls-name, or the URL"),
                ErrorKind::Auth => ("authentication", "check --user and --password-file, or the URL"),
                _ => ("availability", "check that it is running, and its address: remcache ping"),
            };
            let finding = Finding::new(reason(server, &error), advice);
            Examination { reports: vec![report(check, finding)], general: None, failure: Some(error) }
        }
    }
}

/// Reports servers that are given under two names.
async fn report_same_servers(client: &Client, examined: &mut [(usize, Examination)]) {
    let servers = client.servers();
    let known = servers
        .iter()
        .zip(examined.iter())
        .filter_map(|(server, (_, examination))| Some((server, examination.general.as_ref()?)));
    for SameServer { name, first } in same_server::compare(known).await {
        let examined = servers.iter().zip(examined.iter_mut()).find(|(server, _)| server.name() == name);
        let Some((_, (_, examination))) = examined else { continue };
        let advice = "give each server once: its items are counted twice, and keys are placed as on two servers";
        let finding = Finding::new(format!("it is the same server as {first}"), advice);
        examination.reports.push(ReportedFinding { subject: name, check: "address", finding });
    }
}

/// Requests the statistics of a server; `None` if it reports none.
async fn fetch(server: &ServerHandle, limit: Duration) -> Result<Option<ServerInfo>, Error> {
    let started = Instant::now();
    let first = stats::fetch(server, "").await;
    let before = match Availability::of(server, &first, limit).await {
        Availability::WithoutStats => return Ok(None),
        Availability::Up | Availability::Down => first?,
    };
    let group = async |name| stats::fetch(server, name).await.unwrap_or_default();
    let settings = group("settings").await;
    tokio::time::sleep(INTERVAL).await;
    let general = stats::fetch(server, "").await?;
    let before = Some((before, started.elapsed()));
    let (items, slabs) = (group("items").await, group("slabs").await);
    Ok(Some(ServerInfo {
        general,
        settings,
        items,
        slabs,
        #[cfg(feature = "tls")]
        certificate: server.peer_certificate(),
        before,
    }))
}

/// Returns the reports without those that repeat a finding, each with all its subjects.
fn grouped(reports: &[ReportedFinding]) -> Vec<(Vec<&str>, &ReportedFinding)> {
    let mut groups: Vec<(Vec<&str>, &ReportedFinding)> = Vec::new();
    for report in reports {
        let is_same = |other: &ReportedFinding| other.check == report.check && other.finding == report.finding;
        match groups.iter_mut().find(|(_, known)| is_same(known)) {
            Some((subjects, _)) => subjects.push(&report.subject),
            None => groups.push((vec![&report.subject], report)),
        }
    }
    groups
}

/// Returns the names of servers, the first ones if there are many.
fn summarized(names: &[&str]) -> String {
    match names {
        [first, _, _, ..] => format!("{first} and {} more", names.len() - 1),
        names => names.join(", "),
    }
}

fn print(reports: &[ReportedFinding], affected: usize, servers: usize, output: &mut Output) -> std::io::Result<()> {
    if !output.is_text() {
        let mut records = output.records(&["server", "check", "finding", "advice"])?;
        for ReportedFinding { subject, check, finding } in reports {
            let record = Record::new().with("server", &**subject).with("check", *check);
            records.push(record.with("finding", &*finding.problem).with("advice", &*finding.advice))?;
        }
        return records.end();
    }
    let columns = [Column::left("SERVER").shrinkable(), Column::left("ABOUT"), Column::left("FINDING")];
    let mut table = Table::new(columns);
    for (subjects, ReportedFinding { check, finding, .. }) in grouped(reports) {
        table.row([
            Cell::new(summarized(&subjects)),
            Cell::new(check).style(TextStyle::Warning),
            Cell::new(&finding.problem),
        ]);
        let advice = Cell::new(&finding.advice).style(TextStyle::Faint);
        table.row([Cell::default(), Cell::default(), advice.spanning()]);
    }
    if !reports.is_empty() {
        output.table(&table)?;
    }
    output.prose(format_args!("servers: {servers} examined, {affected} with findings"))
}
