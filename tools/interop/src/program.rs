//! A client's program, controlled with the line protocol of `clients/README.md`.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use remcache::config::ProtocolSetting;
use remcache::distribution::{Distribution, Hash};

use crate::{ServerSpec, Value};

/// A running program, which ends when this is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    /// Taken when this is dropped: the program ends at the end of its input.
    input: Option<BufWriter<ChildStdin>>,
    output: BufReader<ChildStdout>,
    log: PathBuf,
}

/// The configuration of a client: its placement and its servers.
#[derive(Clone, Debug)]
pub struct ClientSettings<'a> {
    /// The name of remcache's distribution.
    pub distribution: &'a str,
    /// Options as `name=value` or `name`, separated by commas; empty for the client's defaults.
    pub options: &'a str,
    /// The hash function of keys, if it is not that of the distribution.
    pub hash: Option<Hash>,
    /// The servers, in order.
    pub servers: &'a [ServerSpec],
}

impl ClientSettings<'_> {
    /// Returns remcache's distribution.
    ///
    /// # Errors
    /// If remcache has no distribution of this name.
    pub fn distribution(&self) -> Result<Distribution> {
        let mut distribution: Distribution = self.distribution.parse()?;
        if let Some(hash) = self.hash {
            distribution = distribution.hash(hash);
        }
        if self.options == HASH_TAG {
            distribution = distribution.hash_tag(*b"{}");
        }
        Ok(distribution)
    }

    /// Returns remcache's protocol: the binary one if the client uses it too, because its keys may have any bytes.
    pub(crate) fn protocol(&self) -> ProtocolSetting {
        match self.options.split(',').any(|option| option == "binary") {
            true => ProtocolSetting::Binary,
            false => ProtocolSetting::Auto,
        }
    }
}

impl Program {
    /// Starts the program. Its standard error is written to the file `log`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(command_line: &[String], log: PathBuf) -> Result<Self> {
        let file = File::create(&log).with_context(|| log.display().to_string())?;
        let mut child = Command::new(&command_line[0])
            .args(&command_line[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {}", command_line[0]))?;
        let input = child.stdin.take().map(BufWriter::new);
        let output = BufReader::new(child.stdout.take().context("the output is not piped")?);
        Ok(Self { child, input, output, log })
    }

    /// Creates another client in the program, and returns its version.
    ///
    /// # Errors
    /// If the client refuses the configuration.
    pub fn configure(&mut self, settings: &ClientSettings<'_>) -> Result<String> {
        let hash = settings.hash.map(|hash| format!("hash={hash}"));
        let options: Vec<&str> = [settings.options, hash.as_deref().unwrap_or_default()]
            .into_iter()
            .filter(|option| !option.is_empty())
            .collect();
        let options = options.join(",");
        let options = or_dash(&options);
        let servers: Vec<String> = settings.servers.iter().map(|it| format!(" {it}")).collect();
        let line = format!("config {} {options}{}", settings.distribution, servers.concat());
        let reply = self.send(&line)?;
        Ok(strip_word(&reply, "ready ")?.to_owned())
    }

    /// Stores items.
    ///
    /// # Errors
    /// If an item is not stored.
    pub fn set(&mut self, items: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        let lines =
            items.iter().map(|(key, value)| format!("set {} {}", hex::encode(key), or_dash(&hex::encode(value))));
        for (reply, (key, _)) in self.send_all(lines)?.iter().zip(items) {
            if reply != "stored" {
                bail!("set {}: {reply}", key.escape_ascii());
            }
        }
        Ok(())
    }

    /// Returns the values of keys, `None` for a miss.
    ///
    /// # Errors
    /// If the client fails.
    pub fn get(&mut self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        let lines = keys.iter().map(|key| format!("get {}", hex::encode(key)));
        let replies = self.send_all(lines)?;
        replies
            .iter()
            .map(|reply| if reply == "miss" { Ok(None) } else { decode_hex(strip_word(reply, "hit ")?).map(Some) })
            .collect()
    }

    /// Returns the servers of keys as `host:port`; `None` if this client has no routing function.
    ///
    /// # Errors
    /// If the client fails.
    pub fn route(&mut self, keys: &[Vec<u8>]) -> Result<Option<Vec<String>>> {
        let lines = keys.iter().map(|key| format!("route {}", hex::encode(key)));
        let replies = self.send_all(lines)?;
        if replies.iter().all(|reply| reply.starts_with("skip ")) {
            return Ok(None);
        }
        replies.iter().map(|reply| Ok(Some(strip_word(reply, "server ")?.to_owned()))).collect()
    }

    /// Stores a value as this client encodes values of its type.
    ///
    /// # Errors
    /// If the client fails.
    pub fn write(&mut self, key: &str, value: &Value) -> Result<WriteResult> {
        let reply = self.send(&format!("write {} {value}", hex::encode(key)))?;
        match reply.split_once(' ') {
            None if reply == "stored" => Ok(WriteResult::Stored),
            Some(("skip" | "error", reason)) => Ok(WriteResult::Refused(reason.to_owned())),
            _ => bail!("write: {reply}"),
        }
    }

    /// Returns the value of a key as this client decodes it.
    ///
    /// # Errors
    /// If the client fails.
    pub fn read(&mut self, key: &str) -> Result<Value> {
        let reply = self.send(&format!("read {}", hex::encode(key)))?;
        strip_word(&reply, "value ")?.parse()
    }

    fn send(&mut self, line: &str) -> Result<String> {
        let replies = self.send_all(std::iter::once(line.to_owned()))?;
        replies.into_iter().next().context("no reply")
    }

    /// Sends lines, and returns their replies. Writing and reading overlap, because a pipe may not hold all of them.
    fn send_all(&mut self, lines: impl Iterator<Item = String> + Send) -> Result<Vec<String>> {
        let lines: VecDeque<String> = lines.collect();
        let count = lines.len();
        let input = self.input.as_mut().context("the program is being stopped")?;
        let output = &mut self.output;
        let replies = thread::scope(|scope| {
            scope.spawn(move || {
                lines.iter().try_for_each(|line| writeln!(input, "{line}")).and_then(|()| input.flush())
            });
            let replies: std::io::Result<Vec<String>> = output.lines().take(count).collect();
            replies
        })?;
        if replies.len() < count {
            bail!("the program ended: {}", self.last_messages());
        }
        Ok(replies)
    }

    /// Returns the last lines of the program's standard error.
    fn last_messages(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // At the end of its input a program also stops its own children.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// The result of storing a typed value.
#[derive(Debug)]
pub enum WriteResult {
    /// The value was stored.
    Stored,
    /// The client does not support the value, for this reason.
    Refused(String),
}

/// The option of a proxy that hashes only the part of a key between braces.
pub(crate) const HASH_TAG: &str = "hash_tag={}";

fn strip_word<'a>(reply: &'a str, word: &str) -> Result<&'a str> {
    reply.strip_prefix(word).with_context(|| format!("expected {word:?}, got {reply:?}"))
}

fn decode_hex(text: &str) -> Result<Vec<u8>> {
    Ok(if text == "-" { Vec::new() } else { hex::decode(text)? })
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}
