//! The outage scenario: some keys on all servers, and which of them are found, missing or failed.

use std::io;
use std::time::{Duration, Instant};

use remcache::health::ConnectionState;
use remcache::{Client, Error};
use remcache::{Item, Outcomes};

use super::output::DemoOutput;
use crate::exit::Failure;
use crate::output::{TextStyle, number};

/// Keys, and the index of each key's server.
pub(super) struct Scenario<'c> {
    client: &'c Client,
    keys: Vec<String>,
    servers_of_keys: Vec<usize>,
    /// Index of the server that is stopped.
    pub(super) stopped_server: usize,
}

/// Number of keys; the last ones are never stored.
const KEYS: usize = 24;
const STORED: usize = 22;

/// Phase of the outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    AllUp,
    /// One server is stopped.
    Stopped,
    /// The server was restarted, and is empty.
    Restarted,
}

/// Result of fetching a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyState {
    Found,
    Missing,
    Failed,
}

impl KeyState {
    const ALL: [(Self, &'static str, &'static str, TextStyle); 3] = [
        (Self::Found, "●", "found", TextStyle::Good),
        (Self::Missing, "○", "missing", TextStyle::Warning),
        (Self::Failed, "✗", "failed", TextStyle::Bad),
    ];

    fn of(outcome: Result<&Option<Item>, &Error>) -> Self {
        match outcome {
            Ok(Some(_)) => Self::Found,
            Ok(None) => Self::Missing,
            Err(_) => Self::Failed,
        }
    }

    fn paint(self, out: &DemoOutput<'_>) -> String {
        let known = Self::ALL.iter().find(|(state, ..)| *state == self);
        known.map_or_else(String::new, |(_, sign, _, style)| out.paint(*style, sign))
    }
}

impl<'c> Scenario<'c> {
    /// Stores the keys, and chooses the server that holds most of them to be stopped.
    pub(super) async fn prepare(client: &'c Client) -> Result<Self, Error> {
        let keys: Vec<String> = (1..=KEYS).map(|number| format!("user:{number:02}")).collect();
        let servers = client.servers();
        let index = |name: &str| servers.iter().position(|server| server.name() == name).unwrap_or_default();
        let server_of = |key: &String| Ok(client.locate(key)?.map_or(0, |server| index(server.name())));
        let servers_of_keys = keys.iter().map(server_of).collect::<Result<Vec<_>, Error>>()?;
        let keys_held = |server: &usize| servers_of_keys.iter().filter(|holder| *holder == server).count();
        let stopped_server = (0..servers.len()).max_by_key(keys_held).unwrap_or_default();
        client.set_many(keys.iter().take(STORED).map(|key| (key, key.clone()))).await.into_result()?;
        Ok(Self { client, keys, servers_of_keys, stopped_server })
    }

    /// Returns a key of the stopped server, or of another server.
    pub(super) fn key_of(&self, of_stopped: bool) -> &str {
        let mut keys = self.keys.iter().zip(&self.servers_of_keys);
        keys.find(|(_, server)| (**server == self.stopped_server) == of_stopped).map_or("user:00", |(key, _)| key)
    }

    /// Fetches all keys with one call, and shows and checks the result of each.
    pub(super) async fn fetch_all(&self, phase: Phase, out: &mut DemoOutput<'_>) -> Result<(), Failure> {
        let started = Instant::now();
        let outcomes = self.client.get_many(&self.keys).await;
        let time = started.elapsed();
        let states: Vec<KeyState> = outcomes.iter().map(|(_, outcome)| KeyState::of(outcome)).collect();
        self.draw(&states, out)?;
        self.list(&states, &outcomes, time, out)?;
        let is_expected = self.expected(phase).eq(states);
        out.expect(is_expected, "expected other results for these keys")?;
        let are_disconnected = outcomes.failed().all(|(_, error)| error.is_disconnected());
        out.expect(are_disconnected, "expected every failure to be a disconnection")?;
        Ok(())
    }

    fn expected(&self, phase: Phase) -> impl Iterator<Item = KeyState> {
        self.servers_of_keys.iter().enumerate().map(move |(index, &server)| match phase {
            Phase::Stopped if server == self.stopped_server => KeyState::Failed,
            Phase::Restarted if server == self.stopped_server => KeyState::Missing,
            _ if index < STORED => KeyState::Found,
            _ => KeyState::Missing,
        })
    }

    /// Draws the keys as columns and the servers as rows.
    fn draw(&self, states: &[KeyState], out: &mut DemoOutput<'_>) -> io::Result<()> {
        let width = out.name_width(self.client);
        let numbers: String = (1..=KEYS).map(|number| format!(" {number:02}")).collect();
        out.line(out.paint(TextStyle::Faint, format_args!("{:>width$} {numbers}", "user:")))?;
        for (index, server) in self.client.servers().iter().enumerate() {
            let cells = self.servers_of_keys.iter().zip(states).map(|(&holder, state)| match holder == index {
                true => state.paint(out),
                false => out.paint(TextStyle::Faint, "·"),
            });
            let cells: String = cells.map(|cell| format!("  {cell}")).collect();
            let (word, style) = match server.status().state {
                ConnectionState::Down(_) => ("down", TextStyle::Bad),
                _ => ("up", TextStyle::Good),
            };
            let name = out.paint(TextStyle::Name, format_args!("{:>width$}", server.name()));
            let word = out.paint(style, word);
            out.line(format_args!("{name} {cells}   {word}"))?;
        }
        Ok(())
    }

    /// Lists the keys by result, with the reason of the failures.
    fn list(
        &self,
        states: &[KeyState],
        outcomes: &Outcomes<&String, Option<Item>>,
        time: Duration,
        out: &mut DemoOutput<'_>,
    ) -> io::Result<()> {
        for (wanted, sign, word, style) in KeyState::ALL {
            let chosen = self.keys.iter().zip(states).filter(|(_, state)| **state == wanted);
            let numbers: Vec<_> = chosen.filter_map(|(key, _)| Some(key.split_once(':')?.1)).collect();
            if !numbers.is_empty() {
                let word = out.paint(style, format_args!("{sign} {:2} {word:8}", numbers.len()));
                out.line(format_args!("{word}user: {}", numbers.join(" ")))?;
            }
        }
        if let Some((_, error)) = outcomes.failed().next() {
            out.line(out.paint(TextStyle::Faint, format_args!("             {error}")))?;
        }
        let time = number::duration(time);
        out.line(out.paint(TextStyle::Faint, format_args!("one get_many of {KEYS} keys, {time}")))
    }
}
