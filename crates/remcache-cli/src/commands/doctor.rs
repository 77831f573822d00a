//! `doctor`: what may be wrong with the servers, and with how they are reached, and what to do.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Command;
use remcache::Error;
use remcache::ServerHandle;
use tokio::task::JoinSet;

use crate::context::Contexts;
use crate::exit::{Exit, Outcome};
use crate::output::{Cell, Column, Record, Table, TextStyle, number};
use crate::session::Session;
use crate::stats::{self, Stats, reason};
use crate::tally::Tally;

/// Look for what may be wrong with the servers and the way to them
///
/// It changes nothing. Exits with 0 if nothing is wrong, 8 if something is worth a look, 3 or 4 if some
/// servers or all of them are away, and 6 if they refuse who we are.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Something worth a look.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    what: String,
    /// What to do about it.
    advice: &'static str,
}

/// What a server tells of itself.
#[derive(Debug, Default)]
struct Told {
    general: Stats,
    settings: Stats,
}

/// A question about one server: its name, and what is found if the answer is bad.
struct Examination {
    name: &'static str,
    find: fn(&Told) -> Option<Finding>,
}

const EXAMINATIONS: &[Examination] = &[
    Examination { name: "version", find: version },
    Examination { name: "clock", find: clock },
    Examination { name: "connections", find: connections },
    Examination { name: "refusals", find: refusals },
    Examination { name: "evictions", find: evictions },
    Examination { name: "memory", find: memory },
    Examination { name: "CAS", find: cas },
    Examination { name: "item size", find: item_size },
    Examination { name: "too large", find: too_large },
];

pub(crate) async fn run(_: &Args, session: &mut Session) -> Outcome {
    let mut findings: Vec<(String, &'static str, Finding)> = Vec::new();
    for what in problems_of_contexts(session.options.context.as_deref(), &session.definition()) {
        let advice = "mend the file; until then the context is not used by doctor, and nothing else works in it";
        findings.push(("contexts".into(), "file", Finding { what, advice }));
    }
    let client = session.client()?;
    let mut tasks = JoinSet::new();
    for (index, server) in client.servers().into_iter().enumerate() {
        tasks.spawn(async move { (index, examine(&server).await) });
    }
    let mut examined = tasks.join_all().await;
    examined.sort_by_key(|(index, _)| *index);
    let healthy = examined.iter().filter(|(_, (found, _))| found.is_empty()).count();
    let mut tally = Tally::default();
    for (_, (found, failure)) in examined {
        findings.extend(found);
        match failure {
            Some(error) => tally.error(&error),
            None => tally.answer(true),
        }
    }
    let servers = tally.yes as usize + tally.failed() as usize;
    print(&findings, healthy, servers, session)?;
    Ok(match tally.exit_of_servers() {
        Exit::Yes if !findings.is_empty() => Exit::Threshold,
        exit => exit,
    })
}

/// What is wrong with the file of contexts, and with the one that is wanted.
fn problems_of_contexts(wanted: Option<&str>, definition: &Command) -> Vec<String> {
    match Contexts::read_if_any() {
        Ok(contexts) => contexts.map(|contexts| contexts.problems(wanted, definition)).unwrap_or_default(),
        // What the parser draws has lines of its own.
        Err(failure) => {
            vec![failure.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()]
        }
    }
}

/// What is worth a look about a server, and why it does not answer if it does not.
async fn examine(server: &ServerHandle) -> (Vec<(String, &'static str, Finding)>, Option<Error>) {
    let name = server.name().to_owned();
    let general = match stats::fetch(server, "").await {
        Ok(general) => general,
        Err(error) => {
            let advice = match Exit::of(&error) {
                Exit::Auth => "see what --tls, --user and --password-file say of it, or its URL",
                _ => "is it running, and is the address right? see remcache ping",
            };
            let finding = Finding { what: reason(server, &error), advice };
            return (vec![(name, "reach", finding)], Some(error));
        }
    };
    let settings = stats::fetch(server, "settings").await.unwrap_or_default();
    let told = Told { general, settings };
    let found = |examination: &Examination| Some((name.clone(), examination.name, (examination.find)(&told)?));
    (EXAMINATIONS.iter().filter_map(found).collect(), None)
}

fn print(
    findings: &[(String, &'static str, Finding)],
    healthy: usize,
    servers: usize,
    session: &mut Session,
) -> std::io::Result<()> {
    let output = &mut session.output;
    if !output.is_text() {
        let mut records = output.records(&["server", "about", "finding", "advice"])?;
        for (server, about, finding) in findings {
            let record = Record::new().with("server", &**server).with("about", *about);
            records.push(record.with("finding", &*finding.what).with("advice", finding.advice))?;
        }
        return records.end();
    }
    let mut table = Table::new([Column::left("SERVER"), Column::left("ABOUT"), Column::left("FINDING")]);
    for (server, about, finding) in findings {
        table.row([Cell::new(server), Cell::new(about).style(TextStyle::Warning), Cell::new(&finding.what)]);
        table.row([Cell::new(""), Cell::new(""), Cell::new(finding.advice).style(TextStyle::Faint).spanning()]);
    }
    if !findings.is_empty() {
        output.table(&table)?;
    }
    output.line(format_args!("{healthy} of {servers} servers: nothing wrong was found"))
}

/// A version as numbers.
fn release(text: &str) -> Option<(u32, u32, u32)> {
    // Packages may add to it: 1.4.24-Ubuntu.
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let mut parts = text[..end].split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

/// Versions from this one on have what is told, by memcached's release notes.
const FIXES: &[((u32, u32, u32), &str, &str)] = &[
    ((1, 6, 2), "a header can crash it", "update the server: before 1.6.2 a remote peer can end 1.6.0 and 1.6.1"),
    (
        (1, 6, 45),
        "it lacks security fixes",
        "update the server, or see that the distribution has mended its package: 1.6.42 to 1.6.45 mend crashes and an overflow",
    ),
];

fn version(told: &Told) -> Option<Finding> {
    let text = told.general.text("version")?;
    let release = release(text)?;
    let (_, what, advice) = FIXES.iter().find(|(fixed, ..)| release < *fixed)?;
    Some(Finding { what: format!("{what}: {text}"), advice })
}

fn clock(told: &Told) -> Option<Finding> {
    let server = told.general.number("time")?;
    let here = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let apart = server.abs_diff(here);
    (apart > 5).then(|| Finding {
        what: format!("its clock is {} away from this machine's", number::age(apart)),
        advice: "times to live beyond 30 days are absolute and will be wrong: keep the clocks by NTP",
    })
}

fn connections(told: &Told) -> Option<Finding> {
    let (now, most) = (told.general.number("curr_connections")?, told.general.number("max_connections")?);
    (now.saturating_mul(10) >= most.saturating_mul(9)).then(|| Finding {
        what: format!("{now} of {most} connections are in use"),
        advice: "raise -c, or find out who holds them: remcache stats conns",
    })
}

fn refusals(told: &Told) -> Option<Finding> {
    let refused =
        ["rejected_connections", "listen_disabled_num"].iter().filter_map(|name| told.general.number(name)).sum();
    (refused > 0_u64).then(|| Finding {
        what: format!("{} times a connection was refused or had to wait", number::exact(refused)),
        advice: "there were more connections than -c allows",
    })
}

fn evictions(told: &Told) -> Option<Finding> {
    let (evicted, stored) = (told.general.number("evictions")?, told.general.number("total_items")?);
    (evicted > 0 && evicted.saturating_mul(20) > stored).then(|| Finding {
        what: format!("{} of {} stored items were evicted", number::exact(evicted), number::exact(stored)),
        advice: "it is too small for what it holds: raise -m, add servers, or shorten times to live",
    })
}

fn memory(told: &Told) -> Option<Finding> {
    let failed = ["malloc_fails", "response_obj_oom", "read_buf_oom", "store_no_memory"];
    let failed: u64 = failed.iter().filter_map(|name| told.general.number(name)).sum();
    (failed > 0).then(|| Finding {
        what: format!("{} times there was no memory", number::exact(failed)),
        advice: "the machine or the limits of the process are too small",
    })
}

fn cas(told: &Told) -> Option<Finding> {
    (told.settings.text("cas_enabled") == Some("no")).then(|| Finding {
        what: "compare-and-swap is off (-C)".into(),
        advice: "conditional stores succeed always there: start it without -C if anything relies on them",
    })
}

fn item_size(told: &Told) -> Option<Finding> {
    let limit = told.settings.number("item_size_max")?;
    (limit < 1 << 20).then(|| Finding {
        what: format!("items may have {} at most", number::bytes(limit)),
        advice: "larger values are refused: raise -I, or set the client's limit to the same",
    })
}

fn too_large(told: &Told) -> Option<Finding> {
    let refused = told.general.number("store_too_large")?;
    (refused > 0).then(|| Finding {
        what: format!(
            "{} values were too large, and the items that they were to replace are gone",
            number::exact(refused)
        ),
        advice: "raise -I, or make the values smaller",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(general: &[(&str, &str)], settings: &[(&str, &str)]) -> Told {
        Told { general: general.iter().copied().collect(), settings: settings.iter().copied().collect() }
    }

    #[test]
    fn each_examination_finds_what_it_looks_for_and_no_more() {
        let sick = told(
            &[
                ("version", "1.6.1"),
                ("time", "7"),
                ("curr_connections", "95"),
                ("max_connections", "100"),
                ("listen_disabled_num", "2"),
                ("evictions", "60"),
                ("total_items", "1000"),
                ("malloc_fails", "1"),
                ("store_too_large", "1"),
            ],
            &[("cas_enabled", "no"), ("item_size_max", "1024")],
        );
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().to_string();
        let sound = told(
            &[
                ("version", "1.6.45"),
                ("time", &now),
                ("curr_connections", "5"),
                ("max_connections", "100"),
                ("listen_disabled_num", "0"),
                ("evictions", "50"),
                ("total_items", "1000"),
                ("malloc_fails", "0"),
                ("store_too_large", "0"),
            ],
            &[("cas_enabled", "yes"), ("item_size_max", "1048576")],
        );
        for examination in EXAMINATIONS {
            assert!((examination.find)(&sick).is_some(), "{}", examination.name);
            assert_eq!((examination.find)(&sound), None, "{}", examination.name);
            assert_eq!((examination.find)(&Told::default()), None, "{}", examination.name);
        }
    }

    #[test]
    fn versions_as_they_are_told() {
        assert_eq!(release("1.6.18"), Some((1, 6, 18)));
        assert_eq!(release("1.4.24-Ubuntu"), Some((1, 4, 24)));
        assert_eq!(release("nonsense"), None);
    }
}
