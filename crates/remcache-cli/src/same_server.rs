//! Detects a server that is given under two names: its items would be counted twice.

use std::collections::HashSet;

use remcache::{Client, ServerHandle};

use crate::output::Notes;
use crate::stats::{self, Snapshot, Stats};

/// A server that is the same as one before it in the list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SameServer {
    pub(crate) name: String,
    /// The name that it has before.
    pub(crate) first: String,
}

/// The identity of a server: its process ID and start time, which two servers rarely share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: u64,
    started: u64,
}

impl Process {
    fn of(stats: &Stats) -> Option<Self> {
        let started = stats.number("time")?.checked_sub(stats.number("uptime")?)?;
        Some(Self { pid: stats.number("pid")?, started })
    }
}

/// Warns of servers whose items are counted twice.
pub(crate) async fn warn(client: &Client, notes: Notes) {
    if client.servers().len() > 1 {
        warn_of(&find(&stats::fetch_all(client, "").await).await, notes);
    }
}

/// Prints a warning for each of these servers.
pub(crate) fn warn_of(same: &[SameServer], notes: Notes) {
    for SameServer { name, first } in same {
        notes.print(format_args!("warning: {name} is the same server as {first}: it is counted twice"));
    }
}

/// Compares servers by their general statistics, and those that may be the same by their connections.
pub(crate) async fn find(snapshots: &[Snapshot]) -> Vec<SameServer> {
    let servers = snapshots.iter().filter_map(|snapshot| Some((&snapshot.server, snapshot.stats.as_ref().ok()?)));
    compare(servers).await
}

/// Compares servers with their general statistics.
pub(crate) async fn compare(servers: impl Iterator<Item = (&ServerHandle, &Stats)>) -> Vec<SameServer> {
    let processes: Vec<_> = servers.filter_map(|(server, stats)| Some((server, Process::of(stats)?))).collect();
    let mut same = Vec::new();
    for (index, (server, process)) in processes.iter().enumerate() {
        let candidates = processes[..index].iter().filter(|(_, other)| other == process);
        for (first, _) in candidates {
            if have_same_connections(first, server).await {
                same.push(SameServer { name: server.name().to_owned(), first: first.name().to_owned() });
                break;
            }
        }
    }
    same
}

/// Returns whether two servers report the same connections. In containers that are started together, the processes of
/// different servers can have the same number.
async fn have_same_connections(first: &ServerHandle, second: &ServerHandle) -> bool {
    let (first, second) = tokio::join!(stats::fetch(first, "conns"), stats::fetch(second, "conns"));
    match (first, second) {
        (Ok(first), Ok(second)) => are_of_one_server(&clients(&first), &clients(&second)),
        // Without this proof nothing is claimed.
        _ => false,
    }
}

/// Returns whether two sets of clients have more than half of their elements in common: connections come and go between
/// two requests.
///
/// A server that is given twice has two connections of the tool at least. One in common may be a coincidence: the system
/// uses a port for connections to several servers.
fn are_of_one_server(first: &HashSet<String>, second: &HashSet<String>) -> bool {
    let common = first.intersection(second).count();
    common > 1 && common * 2 > first.len().max(second.len())
}

/// Returns the clients of a server: each with the number of its connection and its address.
fn clients(stats: &Stats) -> HashSet<String> {
    let listening = stats.iter().filter(|(_, value)| *value == "conn_listening");
    let listening: HashSet<_> = listening.filter_map(|(name, _)| name.strip_suffix(":state")).collect();
    let addresses = stats.iter().filter_map(|(name, address)| Some((name.strip_suffix(":addr")?, address)));
    addresses
        .filter(|(number, _)| !listening.contains(number))
        .map(|(number, address)| format!("{number} {address}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_known_by_number_and_start() {
        let stats: Stats = [("pid", "7"), ("time", "1000"), ("uptime", "300")].into_iter().collect();
        assert_eq!(Process::of(&stats), Some(Process { pid: 7, started: 700 }));
        assert_eq!(Process::of(&Stats::default()), None);
    }

    #[test]
    fn servers_with_the_same_process_number_differ_by_their_connections() {
        let of = |ports: [&str; 2]| {
            let [first, second] = ports.map(|port| format!("tcp:10.0.0.7:{port}"));
            let stats = [
                ("22:addr", "tcp:0.0.0.0:11211"),
                ("22:state", "conn_listening"),
                ("25:addr", &first),
                ("25:state", "conn_read"),
                ("26:addr", &second),
            ];
            clients(&stats.into_iter().collect())
        };
        let (one, other) = (of(["1", "2"]), of(["1", "3"]));
        assert_eq!(one, ["25 tcp:10.0.0.7:1".to_owned(), "26 tcp:10.0.0.7:2".to_owned()].into());
        assert!(are_of_one_server(&one, &one) && !are_of_one_server(&one, &other));
        let single = ["25 tcp:10.0.0.7:1".to_owned()].into();
        assert!(!are_of_one_server(&single, &single), "both servers have a connection from the same port");
        assert!(!are_of_one_server(&HashSet::new(), &HashSet::new()));
    }
}
