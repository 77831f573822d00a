//! Another client as a program behind the line protocol of `clients/README.md`.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use remcache::config::ProtocolSetting;
use remcache::distribution::{Distribution, Hash};

use crate::{Location, Value};

/// A running program; it ends when the value is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    /// Taken when the program is to end.
    input: Option<BufWriter<ChildStdin>>,
    output: BufReader<ChildStdout>,
    log: PathBuf,
}

/// What a client is told before anything else: how to place keys, and where the servers are.
#[derive(Clone, Debug)]
pub struct Setting<'a> {
    /// The name of the placement, which is that of remcache's distribution.
    pub profile: &'a str,
    /// `name=value` or `name`, with commas between; empty: the client's defaults.
    pub options: &'a str,
    /// What keys are hashed with, if it is not what the profile says.
    pub hash: Option<Hash>,
    /// The servers, in order.
    pub servers: &'a [Location],
}

impl Setting<'_> {
    /// How remcache does it.
    ///
    /// # Errors
    /// When it knows no such distribution.
    pub fn distribution(&self) -> Result<Distribution> {
        let mut distribution: Distribution = self.profile.parse()?;
        if let Some(hash) = self.hash {
            distribution = distribution.hash(hash);
        }
        if self.options == HASH_TAG {
            distribution = distribution.hash_tag(*b"{}");
        }
        Ok(distribution)
    }

    /// The protocol of a client that is told to speak binary, whose keys may have any bytes; else what the servers know.
    pub(crate) fn protocol(&self) -> ProtocolSetting {
        match self.options.split(',').any(|option| option == "binary") {
            true => ProtocolSetting::Binary,
            false => ProtocolSetting::Auto,
        }
    }
}

impl Program {
    /// Runs the program; what it says beside the protocol goes to the file `log`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(words: &[String], log: PathBuf) -> Result<Self> {
        let file = File::create(&log).with_context(|| log.display().to_string())?;
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .with_context(|| format!("{} does not start", words[0]))?;
        let input = child.stdin.take().map(BufWriter::new);
        let output = BufReader::new(child.stdout.take().context("a piped output")?);
        Ok(Self { child, input, output, log })
    }

    /// Prepares the client anew, and returns its version.
    ///
    /// # Errors
    /// When the client refuses, in its own words.
    pub fn configure(&mut self, setting: &Setting<'_>) -> Result<String> {
        let hash = setting.hash.map(|hash| format!("hash={hash}"));
        let options: Vec<&str> = [setting.options, hash.as_deref().unwrap_or_default()]
            .into_iter()
            .filter(|option| !option.is_empty())
            .collect();
        let options = options.join(",");
        let options = or_dash(&options);
        let servers: Vec<String> = setting.servers.iter().map(|it| format!(" {it}")).collect();
        let line = format!("config {} {options}{}", setting.profile, servers.concat());
        let answer = self.ask(&line)?;
        Ok(after(&answer, "ready ")?.to_owned())
    }

    /// Stores each of these items.
    ///
    /// # Errors
    /// When one is not stored.
    pub fn set(&mut self, items: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        let lines =
            items.iter().map(|(key, value)| format!("set {} {}", hex::encode(key), or_dash(&hex::encode(value))));
        for (answer, (key, _)) in self.ask_all(lines)?.iter().zip(items) {
            if answer != "stored" {
                bail!("set {}: {answer}", key.escape_ascii());
            }
        }
        Ok(())
    }

    /// The value of each of these keys, if the client finds it.
    ///
    /// # Errors
    /// When the client fails; a miss is no failure.
    pub fn get(&mut self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        let lines = keys.iter().map(|key| format!("get {}", hex::encode(key)));
        let answers = self.ask_all(lines)?;
        answers
            .iter()
            .map(|answer| if answer == "miss" { Ok(None) } else { bytes(after(answer, "hit ")?).map(Some) })
            .collect()
    }

    /// The server of each of these keys as `host:port`; `None` if this client tells nobody.
    ///
    /// # Errors
    /// When the client fails.
    pub fn route(&mut self, keys: &[Vec<u8>]) -> Result<Option<Vec<String>>> {
        let lines = keys.iter().map(|key| format!("route {}", hex::encode(key)));
        let answers = self.ask_all(lines)?;
        if answers.iter().all(|answer| answer.starts_with("skip ")) {
            return Ok(None);
        }
        answers.iter().map(|answer| Ok(Some(after(answer, "server ")?.to_owned()))).collect()
    }

    /// Stores a value as this client writes values of its type; the reason if it has no such value.
    ///
    /// # Errors
    /// When the client fails.
    pub fn write(&mut self, key: &str, value: &Value) -> Result<Written> {
        let answer = self.ask(&format!("write {} {value}", hex::encode(key)))?;
        match answer.split_once(' ') {
            None if answer == "stored" => Ok(Written::Stored),
            Some(("skip" | "error", reason)) => Ok(Written::Refused(reason.to_owned())),
            _ => bail!("write: {answer}"),
        }
    }

    /// What this client takes the value of a key for.
    ///
    /// # Errors
    /// When the client fails.
    pub fn read(&mut self, key: &str) -> Result<Value> {
        let answer = self.ask(&format!("read {}", hex::encode(key)))?;
        after(&answer, "value ")?.parse()
    }

    fn ask(&mut self, line: &str) -> Result<String> {
        let answers = self.ask_all(std::iter::once(line.to_owned()))?;
        answers.into_iter().next().context("one answer to one line")
    }

    /// Writes all lines and reads as many answers, at the same time: neither pipe holds them all.
    fn ask_all(&mut self, lines: impl Iterator<Item = String> + Send) -> Result<Vec<String>> {
        let lines: VecDeque<String> = lines.collect();
        let count = lines.len();
        let input = self.input.as_mut().context("the program has ended")?;
        let output = &mut self.output;
        let answers = thread::scope(|scope| {
            scope.spawn(move || {
                lines.iter().try_for_each(|line| writeln!(input, "{line}")).and_then(|()| input.flush())
            });
            let answers: std::io::Result<Vec<String>> = output.lines().take(count).collect();
            answers
        })?;
        if answers.len() < count {
            bail!("the program ended: {}", self.complaint());
        }
        Ok(answers)
    }

    /// The end of what the program said beside the protocol.
    fn complaint(&self) -> String {
        let said = std::fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).into_owned();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A program with children of its own ends them at the end of its input.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// What became of a value that a client was to store.
#[derive(Debug)]
pub enum Written {
    /// It is stored.
    Stored,
    /// The client has no such value, or refuses it, for this reason.
    Refused(String),
}

/// The option of a proxy that places keys by what is between braces.
pub(crate) const HASH_TAG: &str = "hash_tag={}";

fn after<'a>(answer: &'a str, word: &str) -> Result<&'a str> {
    answer.strip_prefix(word).with_context(|| format!("expected {word:?}, got {answer:?}"))
}

fn bytes(text: &str) -> Result<Vec<u8>> {
    Ok(if text == "-" { Vec::new() } else { hex::decode(text)? })
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}
