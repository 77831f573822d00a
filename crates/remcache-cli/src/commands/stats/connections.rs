//! Tables of the servers' connections (`stats conns`), each by itself or summed up by the client's address.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::round::Round;
use crate::output::{Cell, Column, Output, Record, Table, TextStyle, number};
use crate::stats::Stats;

/// A connection, as its server reports it.
#[derive(Debug, PartialEq, Eq)]
struct Connection<'s> {
    fd: &'s str,
    peer: &'s str,
    state: &'s str,
    /// Seconds since the last command.
    idle: Option<u64>,
}

/// The connections of one client address.
#[derive(Debug, Default)]
struct ClientConnections<'s> {
    connections: u64,
    servers: BTreeSet<&'s str>,
    min_idle: Option<u64>,
    max_idle: Option<u64>,
}

/// Returns a table with a row for each connection, and the number of each server's connections.
pub(super) fn table(round: &Round) -> Table {
    let columns = [
        Column::left("SERVER").shrinkable(),
        Column::right("FD"),
        Column::left("PEER"),
        Column::left("STATE"),
        Column::right("IDLE"),
    ];
    let mut table = Table::new(columns);
    for (index, snapshot) in round.snapshots.iter().enumerate() {
        let name = Cell::new(snapshot.server.name());
        let Ok(stats) = &snapshot.stats else {
            table.row([name, round.unavailable(index)]);
            continue;
        };
        let connections = connections(stats);
        for connection in &connections {
            let idle = connection.idle.filter(|_| !connection.is_listening());
            table.row([
                name.clone(),
                Cell::new(connection.fd),
                Cell::new(connection.peer),
                Cell::new(connection.state),
                idle.map_or_else(Cell::default, |idle| Cell::new(number::age(idle))),
            ]);
        }
        let clients = connections.iter().filter(|connection| !connection.is_listening()).count();
        let noun = if clients == 1 { "client" } else { "clients" };
        let total = Cell::new(format_args!("{clients} {noun}, this one included")).style(TextStyle::Title);
        table.row([name, Cell::default(), total]);
    }
    table
}

/// Returns the connections of a server as records, each with the fields of `record` first.
pub(super) fn records<'s>(stats: &'s Stats, record: impl Fn() -> Record + 's) -> impl Iterator<Item = Record> {
    connections(stats).into_iter().map(move |connection| {
        let record = record().with("fd", super::records::typed(connection.fd)).with("peer", connection.peer);
        let idle = connection.idle.filter(|_| !connection.is_listening());
        record.with("state", connection.state).with_some("idle_seconds", idle)
    })
}

/// Prints the clients of all servers by address, those with the most connections first.
pub(super) fn print_by_address(round: &Round, output: &mut Output) -> io::Result<()> {
    let clients = by_address(round.snapshots.iter().filter_map(|snapshot| {
        let stats = snapshot.stats.as_ref().ok()?;
        Some((snapshot.server.name(), stats))
    }));
    if !output.is_text() {
        let mut records =
            output.records(&["address", "connections", "server_count", "min_idle_seconds", "max_idle_seconds"])?;
        for (address, client) in clients {
            let record = Record::new().with("address", address).with("connections", client.connections);
            let record = record.with("server_count", client.servers.len());
            records.push(
                record.with_some("min_idle_seconds", client.min_idle).with_some("max_idle_seconds", client.max_idle),
            )?;
        }
        records.end()?;
        return round.report_unavailable(output);
    }
    let mut table = Table::new([
        Column::left("ADDRESS").shrinkable(),
        Column::right("CONNS"),
        Column::right("SERVERS"),
        Column::right("MIN IDLE"),
        Column::right("MAX IDLE"),
    ]);
    let all: u64 = clients.iter().map(|(_, client)| client.connections).sum();
    for (address, client) in &clients {
        let idle = |idle: Option<u64>| idle.map_or_else(Cell::unknown, |idle| Cell::new(number::age(idle)));
        table.row([
            Cell::new(address).style(TextStyle::Name),
            Cell::new(number::exact(client.connections)),
            Cell::new(client.servers.len()),
            idle(client.min_idle),
            idle(client.max_idle),
        ]);
    }
    if !round.is_empty() {
        table.row([Cell::new("total").style(TextStyle::Title), Cell::new(number::exact(all))]);
    }
    round.add_unavailable(&mut table);
    output.table(&table)?;
    output.notes().say("the connections of this command are included");
    Ok(())
}

impl Connection<'_> {
    fn is_listening(&self) -> bool {
        self.state == "listening"
    }

    /// Returns the peer without its protocol and port: `tcp:10.0.0.7:40122` is `10.0.0.7`.
    fn address(&self) -> &str {
        let (protocol, address) = self.peer.split_once(':').unwrap_or(("", self.peer));
        match protocol {
            "unix" => self.peer,
            "" => self.peer,
            _ => address.rsplit_once(':').map_or(address, |(host, _)| host),
        }
    }
}

/// Reads statistics such as `25:addr tcp:10.0.0.7:40122` and `25:state conn_read`.
fn connections(stats: &Stats) -> Vec<Connection<'_>> {
    let mut fds: Vec<&str> = Vec::new();
    for (name, _) in stats.iter() {
        let fd = name.split_once(':').map(|(fd, _)| fd);
        if let Some(fd) = fd.filter(|fd| fd.bytes().all(|byte| byte.is_ascii_digit()))
            && fds.last() != Some(&fd)
        {
            fds.push(fd);
        }
    }
    let connection = |fd: &'_ str| {
        let text = |stat: &str| stats.text(&format!("{fd}:{stat}"));
        let state = text("state").unwrap_or("-");
        (text("addr"), state.strip_prefix("conn_").unwrap_or(state), stats.number(&format!("{fd}:secs_since_last_cmd")))
    };
    fds.into_iter()
        .map(|fd| {
            let (peer, state, idle) = connection(fd);
            // memcached has no name for the peer of a Unix socket.
            let peer = peer.map_or("-", |peer| if peer.starts_with("<AF ") { "unix" } else { peer });
            Connection { fd, peer, state, idle }
        })
        .collect()
}

fn by_address<'s>(servers: impl Iterator<Item = (&'s str, &'s Stats)>) -> Vec<(String, ClientConnections<'s>)> {
    let mut clients: BTreeMap<String, ClientConnections<'s>> = BTreeMap::new();
    for (server, stats) in servers {
        for connection in connections(stats).iter().filter(|connection| !connection.is_listening()) {
            let client = clients.entry(connection.address().to_owned()).or_default();
            client.connections += 1;
            client.servers.insert(server);
            client.min_idle = client.min_idle.into_iter().chain(connection.idle).min();
            client.max_idle = client.max_idle.max(connection.idle);
        }
    }
    let mut clients: Vec<_> = clients.into_iter().collect();
    clients.sort_by_key(|(_, client)| std::cmp::Reverse(client.connections));
    clients
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats() -> Stats {
        [
            ("22:addr", "tcp:0.0.0.0:11211"),
            ("22:state", "conn_listening"),
            ("22:secs_since_last_cmd", "900"),
            ("25:addr", "tcp:10.0.0.7:40122"),
            ("25:listen_addr", "tcp:0.0.0.0:11211"),
            ("25:state", "conn_read"),
            ("25:secs_since_last_cmd", "3"),
            ("26:addr", "tcp6:[::1]:40123"),
            ("26:state", "conn_read"),
            ("27:addr", "tcp:10.0.0.7:40124"),
            ("27:state", "conn_parse_cmd"),
            ("27:secs_since_last_cmd", "70"),
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn connections_are_read_from_the_statistics() {
        let stats = stats();
        let connections = connections(&stats);
        assert_eq!(connections.len(), 4);
        assert_eq!(connections[1], Connection { fd: "25", peer: "tcp:10.0.0.7:40122", state: "read", idle: Some(3) });
        assert!(connections[0].is_listening());
    }

    #[test]
    fn clients_are_summed_up_by_address() {
        let stats = stats();
        let clients = by_address([("a:1", &stats), ("b:1", &stats)].into_iter());
        let rows: Vec<_> = clients
            .iter()
            .map(|(address, client)| (&**address, client.connections, client.servers.len(), client.max_idle))
            .collect();
        assert_eq!(rows, [("10.0.0.7", 4, 2, Some(70)), ("[::1]", 2, 2, None)]);
        let socket = Connection { fd: "1", peer: "unix:/tmp/s", state: "read", idle: None };
        assert_eq!(socket.address(), "unix:/tmp/s");
    }
}
