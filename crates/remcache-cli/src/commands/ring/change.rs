//! A change of the list of servers, and the keys that move.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};

use remcache::Key;
use remcache::config::Endpoint;
use remcache::distribution::{Distribution, Node, Ring};

use super::Options;
use crate::exit::{Exit, Failure, Outcome};
use crate::input;
use crate::output::{Cell, Column, Record, Table, number};
use crate::session::Session;

/// The servers before and after.
pub(super) struct Change {
    /// All servers of either list: first those before, then those that are added.
    pub(super) names: Vec<String>,
    before: ServerList,
    after: ServerList,
    namespace: Vec<u8>,
}

/// One list of servers with its ring.
struct ServerList {
    ring: Ring,
    /// The indices of its servers among the names.
    servers: Vec<usize>,
    /// The weights of its servers, which determine their ideal shares.
    weights: Vec<u32>,
}

/// A count of keys.
#[derive(Debug, Default)]
pub(super) struct Moves {
    pub(super) keys: u64,
    /// The number of keys per source and destination index, including the keys that do not move.
    pub(super) pairs: BTreeMap<(usize, usize), u64>,
}

impl Change {
    pub(super) fn of(options: &Options, session: &Session) -> Result<Self, Failure> {
        let before = session.endpoints()?;
        let mut after = before.clone();
        for address in &options.remove {
            let removed = Endpoint::parse(address)?;
            let index = after.iter().position(|endpoint| endpoint.name == removed.name);
            let names = || after.iter().map(|endpoint| &*endpoint.name).collect::<Vec<_>>().join(", ");
            let index =
                index.ok_or_else(|| Failure::usage(format!("--remove {address}: it is not one of {}", names())))?;
            after.remove(index);
        }
        for address in &options.add {
            let added = Endpoint::parse(address)?;
            if after.iter().any(|endpoint| endpoint.name == added.name) {
                return Err(Failure::usage(format!("--add {address}: it is there already")));
            }
            after.push(added);
        }
        if after.is_empty() {
            return Err(Failure::usage("no server would be left"));
        }
        let mut names: Vec<String> = before.iter().map(|endpoint| endpoint.name.to_string()).collect();
        for endpoint in &after {
            if !names.iter().any(|name| **name == *endpoint.name) {
                names.push(endpoint.name.to_string());
            }
        }
        let client = session.client()?;
        let placement = client.distribution();
        Ok(Self {
            before: ServerList::new(&before, placement, &names)?,
            after: ServerList::new(&after, options.to.unwrap_or(placement), &names)?,
            names,
            namespace: client.namespace().to_vec(),
        })
    }

    /// Places every key before and after the change.
    pub(super) fn count(&self, options: &Options) -> Result<Moves, Failure> {
        let mut moves = Moves::default();
        let mut count = |key: &[u8]| {
            if let (Some(from), Some(to)) =
                (self.before.server_of(key, &self.namespace), self.after.server_of(key, &self.namespace))
            {
                moves.keys += 1;
                *moves.pairs.entry((from, to)).or_default() += 1;
            }
        };
        match &options.keys {
            None => (0..options.sample).for_each(|number| count(format!("key:{number}").as_bytes())),
            Some(path) if path.as_os_str() == "-" => read(input::stdin()?.lock(), "standard input", &mut count)?,
            Some(path) => {
                let file = File::open(path).map_err(|error| Failure::file(path, error))?;
                read(BufReader::new(file), &path.display().to_string(), &mut count)?;
            }
        }
        Ok(moves)
    }

    /// Returns the share that a server would have if keys were spread ideally, before or after.
    pub(super) fn ideal(&self, server: usize, is_after: bool) -> Option<f64> {
        let list = if is_after { &self.after } else { &self.before };
        let at = list.servers.iter().position(|known| *known == server)?;
        let total: u32 = list.weights.iter().sum();
        Some(f64::from(list.weights[at]) / f64::from(total))
    }

    /// Returns the least share of the keys that has to move, if each server is to have its ideal share.
    pub(super) fn least(&self) -> f64 {
        let share = |server, is_after| self.ideal(server, is_after).unwrap_or_default();
        (0..self.names.len()).map(|server| (share(server, true) - share(server, false)).max(0.0)).sum()
    }

    /// Prints the number of keys that move between each two servers.
    pub(super) fn print_diff(&self, options: &Options, session: &mut Session) -> Outcome {
        let moves = self.count(options)?;
        let output = &mut session.output;
        let moved = moves.pairs.iter().filter(|((from, to), _)| from != to);
        if output.is_text() {
            let mut table = Table::new([
                Column::left("FROM").shrinkable(),
                Column::left("TO").shrinkable(),
                Column::right("KEYS"),
                Column::right("SHARE"),
            ]);
            for ((from, to), count) in moved {
                let share = number::percent(*count, moves.keys).unwrap_or_default();
                let cells = [&self.names[*from], &self.names[*to]].map(Cell::new);
                table.row(
                    cells
                        .into_iter()
                        .chain([Cell::new(number::exact(*count)), Cell::new(share + "%")])
                        .collect::<Vec<_>>(),
                );
            }
            output.table(&table)?;
            output.prose(self.verdict(&moves))?;
        } else {
            let mut records = output.records(&["from", "to", "keys", "all_keys"])?;
            for ((from, to), count) in moved {
                let record = Record::new().with("from", &*self.names[*from]).with("to", &*self.names[*to]);
                records.push(record.with("keys", *count).with("all_keys", moves.keys))?;
            }
            records.end()?;
        }
        Ok(Exit::Yes)
    }

    /// Summarises how many keys move, and whether it is the least possible.
    pub(super) fn verdict(&self, moves: &Moves) -> String {
        let count = |is_meant: &dyn Fn(usize, usize) -> bool| -> u64 {
            moves.pairs.iter().filter(|((from, to), _)| is_meant(*from, *to)).map(|(_, count)| count).sum()
        };
        let moved = count(&|from, to| from != to);
        // The keys of a server that leaves have to move, wherever they go.
        let unavoidable = count(&|from, _| !self.after.servers.contains(&from));
        let share = moved as f64 / moves.keys.max(1) as f64;
        let least = self.least();
        let is_least = moved == unavoidable;
        let (moved, all) = (number::exact(moved), number::exact(moves.keys));
        match share {
            0.0 => format!("none of {all} keys moves"),
            share if is_least => format!("{moved} of {all} keys move ({:.1} %): the least possible", 100.0 * share),
            share if share <= least * 1.1 + 0.01 => {
                format!("{moved} of {all} keys move ({:.1} %): about the least possible", 100.0 * share)
            }
            share => format!(
                "{moved} of {all} keys move ({:.1} %); the least possible is {:.1} %",
                100.0 * share,
                100.0 * least
            ),
        }
    }
}

impl ServerList {
    fn new(endpoints: &[Endpoint], placement: Distribution, names: &[String]) -> Result<Self, Failure> {
        let nodes: Vec<Node> = endpoints.iter().map(Node::from).collect();
        let ring = placement.ring(&nodes).map_err(|error| Failure::usage(error.to_string()))?;
        let index = |endpoint: &Endpoint| names.iter().position(|name| **name == *endpoint.name).unwrap_or_default();
        Ok(Self {
            ring,
            servers: endpoints.iter().map(index).collect(),
            weights: endpoints.iter().map(|endpoint| endpoint.weight).collect(),
        })
    }

    fn server_of(&self, key: &[u8], namespace: &[u8]) -> Option<usize> {
        let server = match namespace.is_empty() || !self.ring.distribution().hashes_namespace() {
            true => self.ring.locate(key, |_| true),
            false => self.ring.locate(&[namespace, key].concat(), |_| true),
        };
        server.map(|server| self.servers[server])
    }
}

/// Reads one key per line; an error names the line.
fn read(lines: impl BufRead, source: &str, visit: &mut impl FnMut(&[u8])) -> Result<(), Failure> {
    for (index, line) in lines.split(b'\n').enumerate() {
        let line = line.map_err(|error| Failure::Io(source.into(), error))?;
        let key = line.strip_suffix(b"\r").unwrap_or(&line);
        Key::new(key).map_err(|invalid| Failure::usage(format!("{source}, line {}: {invalid}", index + 1)))?;
        visit(key);
    }
    Ok(())
}
