//! `doctor`: looks for known problems of the servers and of the connection to them, with advice.

mod checks;
mod evictions;
mod report;

use std::time::{Duration, Instant};

use clap::Command;
use remcache::{Client, Error, ErrorKind, ServerHandle};
use tokio::task::JoinSet;

use super::availability::{Availability, PROXY_HINT};
use crate::certificate::Expiry;
use crate::context::Contexts;
use crate::exit::{Exit, Outcome};
use crate::options::value;
use crate::outcome_counts::OutcomeCounts;
use crate::same_server::{self, SameServer};
use crate::session::Session;
use crate::stats::{self, Stats, reason};
use checks::CHECKS;

/// Look for known problems of the servers and of the connection to them
///
/// It looks at versions, certificates, clocks, connections, evictions (now, or of more than a twentieth of the stored
/// items) and their reason, memory, limits of items, and servers that are given twice. It changes nothing. What is
/// good is listed after the findings, with what was measured. Exits with 0 if there are no findings, 8 if there are
/// some, 3 or 4 if some or all servers are down, and 6 if they refuse the authentication or TLS fails.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Columns:
  SERVER   server, or servers with the same finding
  ABOUT    what was checked
  FINDING  the problem, and below it what to do

Lines that start with ok list what was checked and is good, and on how many
servers. If their figures differ, the one that is closest to a problem is shown,
with its server. In records, severity is ok or warning.

The check of connections counts the connection of this command too.")]
pub(crate) struct Args {
    /// Report certificates that expire within this time
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = value::duration)]
    certificate_expiry: Duration,
}

/// Result of a check.
#[derive(Clone, Debug, PartialEq)]
enum Verdict {
    /// There is no problem.
    Good {
        /// What was measured.
        figure: String,
        /// The figure as a number by which servers are compared: the higher, the closer to a problem.
        rank: f64,
    },
    Problem(Finding),
}

/// A problem, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    problem: String,
    advice: String,
}

impl Verdict {
    fn good(figure: impl Into<String>, rank: f64) -> Self {
        Self::Good { figure: figure.into(), rank }
    }

    fn problem(problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Problem(Finding { problem: problem.into(), advice: advice.into() })
    }

    /// Returns the problem.
    #[cfg(test)]
    fn finding(&self) -> &Finding {
        match self {
            Self::Problem(finding) => finding,
            Self::Good { .. } => panic!("no problem: {self:?}"),
        }
    }
}

/// A verdict with the server, or the file, that it is about, and the name of the check.
#[derive(Debug)]
struct Report {
    subject: String,
    check: &'static str,
    verdict: Verdict,
}

impl Report {
    fn is_problem(&self) -> bool {
        matches!(self.verdict, Verdict::Problem(_))
    }
}

/// Statistics of a server, at the end of an interval.
#[derive(Debug, Default)]
struct ServerInfo {
    general: Stats,
    settings: Stats,
    items: Stats,
    slabs: Stats,
    /// When the certificate of the server expires; `None` without TLS.
    expiry: Option<Expiry>,
    /// A certificate that expires within this time is a problem.
    expiry_margin: Duration,
    /// General statistics at the start of the interval, and its length.
    before: Option<(Stats, Duration)>,
}

/// Result of examining a server.
#[derive(Debug)]
struct Examination {
    reports: Vec<Report>,
    /// General statistics, if it reports any.
    general: Option<Stats>,
    /// Why the server could not be examined.
    failure: Option<Error>,
}

/// The name of the check whether a server is given twice.
const ADDRESS: &str = "address";
/// The name of the check of the contexts file.
const CONTEXTS_FILE: &str = "file";

/// Interval over which rates are measured.
const INTERVAL: Duration = Duration::from_secs(1);

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let mut reports = check_contexts(session.options.context.as_deref(), &session.definition());
    let (client, limit, margin) = (session.client()?, session.options.timeout, args.certificate_expiry);
    let mut tasks = JoinSet::new();
    for (index, server) in client.servers().into_iter().enumerate() {
        tasks.spawn(async move { (index, examine(&server, limit, margin).await) });
    }
    let mut examined = tasks.join_all().await;
    examined.sort_by_key(|(index, _)| *index);
    let servers = examined.len();
    check_same_servers(&client, &mut examined).await;
    let affected =
        examined.iter().filter(|(_, examination)| examination.reports.iter().any(Report::is_problem)).count();
    let mut counts = OutcomeCounts::default();
    for (_, examination) in examined {
        reports.extend(examination.reports);
        match examination.failure {
            Some(error) => counts.error(&error),
            None => counts.answer(true),
        }
    }
    report::print(&reports, affected, servers, &mut session.output)?;
    Ok(match counts.exit_of_servers() {
        Exit::Yes if reports.iter().any(Report::is_problem) => Exit::Threshold,
        exit => exit,
    })
}

/// Checks the contexts file, and the context in use.
fn check_contexts(name: Option<&str>, definition: &Command) -> Vec<Report> {
    let report = |verdict| Report { subject: "contexts".into(), check: CONTEXTS_FILE, verdict };
    let problems = match Contexts::read_if_any() {
        Ok(Some(contexts)) => match contexts.problems(name, definition) {
            problems if problems.is_empty() && !contexts.names().is_empty() => {
                return vec![report(Verdict::good("the contexts are valid", 0.0))];
            }
            problems => problems,
        },
        Ok(None) => Vec::new(),
        // The parser's message is drawn over several lines.
        Err(failure) => {
            vec![failure.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()]
        }
    };
    let advice = "fix the contexts file; until then doctor ignores the context, and other commands fail in it";
    problems.into_iter().map(|problem| report(Verdict::problem(problem, advice))).collect()
}

/// Runs all checks on a server.
async fn examine(server: &ServerHandle, limit: Duration, expiry_margin: Duration) -> Examination {
    let report = |check, verdict| Report { subject: server.name().to_owned(), check, verdict };
    match fetch(server, limit).await {
        Ok(Some(info)) => {
            let info = ServerInfo { expiry_margin, ..info };
            let reports = CHECKS.iter().filter_map(|check| Some(report(check.name, (check.run)(&info)?))).collect();
            Examination { reports, general: Some(info.general), failure: None }
        }
        Ok(None) => {
            let advice = format!("{PROXY_HINT}: run doctor with the addresses of the servers behind it");
            let verdict = Verdict::problem("it is up, but reports no statistics", advice);
            Examination { reports: vec![report("statistics", verdict)], general: None, failure: None }
        }
        Err(error) => {
            let (check, verdict) = explain(error.kind(), &reason(server, &error));
            Examination { reports: vec![report(check, verdict)], general: None, failure: Some(error) }
        }
    }
}

/// Returns the name of the check that an error belongs to, and the error of a server that cannot be examined as a
/// problem.
///
/// The error says what to do about its cause, so the advice on TLS and authentication only names the options.
fn explain(kind: ErrorKind, reason: &str) -> (&'static str, Verdict) {
    let (check, advice) = match kind {
        ErrorKind::Tls => ("TLS", "the options of TLS are --tls, --tls-ca, --tls-cert, --tls-key and --tls-name"),
        ErrorKind::Auth => ("authentication", "the options of authentication are --user and --password-file"),
        _ => ("availability", "check that it is running, and its address: remcache ping"),
    };
    (check, Verdict::problem(reason, advice))
}

/// Checks whether a server is given under two names.
async fn check_same_servers(client: &Client, examined: &mut [(usize, Examination)]) {
    let servers = client.servers();
    let known = servers
        .iter()
        .zip(examined.iter())
        .filter_map(|(server, (_, examination))| Some((server, examination.general.as_ref()?)));
    let same = same_server::compare(known).await;
    let is_good = servers.len() > 1 && same.is_empty();
    for (server, (_, examination)) in
        servers.iter().zip(examined).filter(|(_, (_, examined))| examined.general.is_some())
    {
        let verdict = match same.iter().find(|same| same.name == server.name()) {
            Some(SameServer { first, .. }) => Verdict::problem(
                format!("it is the same server as {first}"),
                "give each server once: its items are counted twice, and keys are placed as on two servers",
            ),
            None if is_good => Verdict::good("no server is given twice", 0.0),
            None => continue,
        };
        examination.reports.push(Report { subject: server.name().to_owned(), check: ADDRESS, verdict });
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
        expiry: Expiry::of(server),
        before,
        ..ServerInfo::default()
    }))
}
