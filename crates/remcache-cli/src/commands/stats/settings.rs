//! The table of settings (`stats settings`): a row for each value, with the servers that have it.

use std::io;

use super::round::Round;
use crate::output::{Cell, Column, Output, Record, Table, TextStyle};
use crate::stats::Stats;

/// A setting, and its values with the servers that have them.
#[derive(Debug, PartialEq, Eq)]
struct Setting<'s> {
    name: &'s str,
    values: Vec<(&'s str, Vec<&'s str>)>,
}

/// Value of a setting that a server does not have.
const ABSENT: &str = "(absent)";

/// Prints the settings as a table; with `only_differing`, those that are not the same on all servers.
pub(super) fn print_table(round: &Round, only_differing: bool, output: &mut Output) -> io::Result<()> {
    let settings = settings_of(round, only_differing);
    let mut table = Table::new([Column::left("SETTING"), Column::left("VALUE").shrinkable(), Column::left("SERVERS")]);
    for setting in &settings {
        for (index, (value, servers)) in setting.values.iter().enumerate() {
            let name = Cell::new(if index == 0 { setting.name } else { "" }).style(TextStyle::Name);
            let servers = match setting.values.len() {
                1 => Cell::new("all").style(TextStyle::Faint),
                _ => Cell::new(names(servers)),
            };
            table.row([name, Cell::new(value), servers]);
        }
    }
    round.add_unavailable(&mut table);
    let alive = round.snapshots.iter().filter(|snapshot| snapshot.stats.is_ok()).count();
    if !only_differing || !settings.is_empty() || alive < round.snapshots.len() {
        output.table(&table)?;
    }
    match alive {
        2.. if only_differing && settings.is_empty() => {
            let servers = match alive == round.snapshots.len() {
                true => format!("all {alive} servers"),
                false => format!("the {alive} servers that answered"),
            };
            output
                .prose(format_args!("no differences: {servers} have the same settings, except for ports and addresses"))
        }
        1 if only_differing => output.prose("no differences: only one server reports its settings"),
        _ => Ok(()),
    }
}

/// Prints the settings that are not the same on all servers as records: one for each server.
pub(super) fn print_differing_records(round: &Round, output: &mut Output) -> io::Result<()> {
    let mut records = output.records(&["name", "server", "value"])?;
    for setting in settings_of(round, true) {
        for (value, servers) in setting.values {
            for server in servers {
                let record = Record::new().with("name", setting.name).with("server", server);
                records.push(record.with_some("value", Some(value).filter(|value| *value != ABSENT)))?;
            }
        }
    }
    records.end()?;
    round.report_unavailable(output)
}

fn settings_of(round: &Round, only_differing: bool) -> Vec<Setting<'_>> {
    let servers = round.snapshots.iter().filter_map(|snapshot| {
        let stats = snapshot.stats.as_ref().ok()?;
        Some((snapshot.server.name(), stats))
    });
    let settings = settings(&servers.collect::<Vec<_>>());
    let differs = |setting: &Setting<'_>| setting.values.len() > 1 && !OF_ONE_SERVER.contains(&setting.name);
    settings.into_iter().filter(|setting| !only_differing || differs(setting)).collect()
}

/// Settings that say where a server listens, or since when, and so differ without a mistake.
const OF_ONE_SERVER: &[&str] = &["tcpport", "udpport", "inter", "domain_socket", "oldest"];

/// Collects the settings of all servers, in the order of the first server that has them.
fn settings<'s>(servers: &[(&'s str, &'s Stats)]) -> Vec<Setting<'s>> {
    let mut names: Vec<&str> = Vec::new();
    for (_, stats) in servers {
        for (name, _) in stats.iter() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let values = |name: &str| {
        let mut values: Vec<(&str, Vec<&str>)> = Vec::new();
        for (server, stats) in servers {
            let value = stats.text(name).unwrap_or(ABSENT);
            match values.iter_mut().find(|(known, _)| *known == value) {
                Some((_, servers)) => servers.push(server),
                None => values.push((value, vec![server])),
            }
        }
        // The common value first, so that the exceptions stand out.
        values.sort_by_key(|(_, servers)| std::cmp::Reverse(servers.len()));
        values
    };
    names.into_iter().map(|name| Setting { name, values: values(name) }).collect()
}

/// Lists the names of servers, the first ones if there are many.
fn names(servers: &[&str]) -> String {
    match servers.len() {
        ..=MAX_NAMES => servers.join(", "),
        count => format!("{} and {} more", servers[..MAX_NAMES].join(", "), count - MAX_NAMES),
    }
}

const MAX_NAMES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_grouped_by_the_servers_that_have_them() {
        let stats =
            |memory: &'static str| -> Stats { [("maxbytes", memory), ("verbosity", "0")].into_iter().collect() };
        let (small, large, old) = (stats("64"), stats("128"), [("maxbytes", "64")].into_iter().collect());
        let settings = settings(&[("a", &large), ("b", &small), ("c", &old)]);
        let expected = [
            Setting { name: "maxbytes", values: vec![("64", vec!["b", "c"]), ("128", vec!["a"])] },
            Setting { name: "verbosity", values: vec![("0", vec!["a", "b"]), (ABSENT, vec!["c"])] },
        ];
        assert_eq!(settings, expected);
        assert_eq!(names(&["a", "b", "c", "d", "e", "f"]), "a, b, c, d and 2 more");
    }
}
