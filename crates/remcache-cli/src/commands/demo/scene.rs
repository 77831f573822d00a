//! A few keys on all servers, as a picture: who is found, missing or failed, and why.

use std::io;
use std::time::{Duration, Instant};

use remcache::client::{Condition, Item, Outcomes};
use remcache::{Client, Error};

use super::stage::Stage;
use crate::exit::Failure;
use crate::output::{Tone, number};

/// Keys, and the places of their servers.
pub(super) struct Scene<'c> {
    client: &'c Client,
    keys: Vec<String>,
    homes: Vec<usize>,
    /// The place of the server that will go away.
    pub(super) victim: usize,
}

/// How many keys there are, of which the last are never stored.
const KEYS: usize = 24;
const STORED: usize = 22;

/// What happened to one of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scenery {
    /// Nothing.
    Whole,
    /// It is stopped.
    Away,
    /// It was started again, empty.
    Back,
}

/// The outcome of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Found,
    Missing,
    Failed,
}

impl Mark {
    const ALL: [(Self, &'static str, &'static str, Tone); 3] = [
        (Self::Found, "●", "found", Tone::Good),
        (Self::Missing, "○", "missing", Tone::Warning),
        (Self::Failed, "✗", "failed", Tone::Bad),
    ];

    fn of(outcome: Result<&Option<Item>, &Error>) -> Self {
        match outcome {
            Ok(Some(_)) => Self::Found,
            Ok(None) => Self::Missing,
            Err(_) => Self::Failed,
        }
    }

    fn paint(self, stage: &Stage<'_>) -> String {
        let known = Self::ALL.iter().find(|(mark, ..)| *mark == self);
        known.map_or_else(String::new, |(_, sign, _, tone)| stage.paint(*tone, sign))
    }
}

impl<'c> Scene<'c> {
    /// Stores the keys. The victim is the server with most of them, which makes the best picture.
    pub(super) async fn set_up(client: &'c Client) -> Result<Self, Error> {
        let keys: Vec<String> = (1..=KEYS).map(|number| format!("user:{number:02}")).collect();
        let servers = client.servers();
        let place = |name: &str| servers.iter().position(|server| server.name() == name).unwrap_or_default();
        let home = |key: &String| Ok(client.locate(key)?.map_or(0, |server| place(server.name())));
        let homes = keys.iter().map(home).collect::<Result<Vec<_>, Error>>()?;
        let held = |place: &usize| homes.iter().filter(|home| *home == place).count();
        let victim = (0..servers.len()).max_by_key(held).unwrap_or_default();
        client.set_many(keys.iter().take(STORED).map(|key| (key, key.clone()))).await;
        Ok(Self { client, keys, homes, victim })
    }

    /// A key of the victim, or of another server.
    pub(super) fn a_key(&self, of_victim: bool) -> &str {
        let mut keys = self.keys.iter().zip(&self.homes);
        keys.find(|(_, home)| (**home == self.victim) == of_victim).map_or("user:00", |(key, _)| key)
    }

    /// Fetches all keys with one call, shows the outcome of each, and checks them.
    pub(super) async fn look(&self, scenery: Scenery, stage: &mut Stage<'_>) -> Result<(), Failure> {
        let begun = Instant::now();
        let outcomes = self.client.get_many(&self.keys).await;
        let time = begun.elapsed();
        let marks: Vec<Mark> = outcomes.iter().map(|(_, outcome)| Mark::of(outcome)).collect();
        self.draw(&marks, stage)?;
        self.list(&marks, &outcomes, time, stage)?;
        let is_expected = self.expected(scenery).eq(marks);
        stage.check(is_expected, "expected other outcomes for these keys")?;
        let is_away = outcomes.failed().all(|(_, error)| error.is_disconnected());
        stage.check(is_away, "expected every failure to be a disconnection")?;
        Ok(())
    }

    fn expected(&self, scenery: Scenery) -> impl Iterator<Item = Mark> {
        self.homes.iter().enumerate().map(move |(index, &home)| match scenery {
            Scenery::Away if home == self.victim => Mark::Failed,
            Scenery::Back if home == self.victim => Mark::Missing,
            _ if index < STORED => Mark::Found,
            _ => Mark::Missing,
        })
    }

    /// Draws the keys as columns and the servers as rows.
    fn draw(&self, marks: &[Mark], stage: &mut Stage<'_>) -> io::Result<()> {
        let width = stage.name_width(self.client);
        let numbers: String = (1..=KEYS).map(|number| format!(" {number:02}")).collect();
        stage.say(stage.paint(Tone::Faint, format_args!("{:>width$} {numbers}", "user:")))?;
        for (place, server) in self.client.servers().iter().enumerate() {
            let cells = self.homes.iter().zip(marks).map(|(&home, mark)| match home == place {
                true => mark.paint(stage),
                false => stage.paint(Tone::Faint, "·"),
            });
            let cells: String = cells.map(|cell| format!("  {cell}")).collect();
            let (word, tone) = match server.state().condition {
                Condition::Down(_) => ("down", Tone::Bad),
                _ => ("up", Tone::Good),
            };
            let name = stage.paint(Tone::Name, format_args!("{:>width$}", server.name()));
            let word = stage.paint(tone, word);
            stage.say(format_args!("{name} {cells}   {word}"))?;
        }
        Ok(())
    }

    /// Lists the keys by outcome, and the reason of the failures.
    fn list(
        &self,
        marks: &[Mark],
        outcomes: &Outcomes<&String, Option<Item>>,
        time: Duration,
        stage: &mut Stage<'_>,
    ) -> io::Result<()> {
        for (wanted, sign, word, tone) in Mark::ALL {
            let chosen = self.keys.iter().zip(marks).filter(|(_, mark)| **mark == wanted);
            let numbers: Vec<_> = chosen.filter_map(|(key, _)| Some(key.split_once(':')?.1)).collect();
            if !numbers.is_empty() {
                let word = stage.paint(tone, format_args!("{sign} {:2} {word:8}", numbers.len()));
                stage.say(format_args!("{word}user: {}", numbers.join(" ")))?;
            }
        }
        if let Some((_, error)) = outcomes.failed().next() {
            stage.say(stage.paint(Tone::Faint, format_args!("             {error}")))?;
        }
        let time = number::duration(time);
        stage.say(stage.paint(Tone::Faint, format_args!("one get_many of {KEYS} keys, {time}")))
    }
}
