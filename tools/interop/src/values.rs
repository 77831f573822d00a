//! Values with a type: what a client writes remcache reads, and what remcache writes the client reads.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use remcache::value::{ClientFormat, Codec, Value as Meant};
use remcache::{Client, Item};
use remcache_testkit::Memcached;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::{Location, Misses, Peer, Program, Setting, Value, Writing, Written, catalogue, install};

/// One value, and what a client wrote for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recorded {
    /// The client.
    pub client: String,
    /// Its version.
    pub version: String,
    /// What it was told, beside its defaults.
    pub options: String,
    /// The name of remcache's convention.
    pub convention: String,
    /// The value.
    pub value: Value,
    /// The flags of the item.
    pub flags: u32,
    /// The bytes of the item, in base64.
    pub bytes: String,
    /// What the client itself reads again, if that is another value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Value>,
}

impl Recorded {
    /// Whether it is worth a line in a file: what is stored long is stored as it is, which shorter values show.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.bytes.len() <= 1400
    }

    /// Reads it as its convention says.
    ///
    /// # Errors
    /// When the convention refuses it.
    pub fn reading(&self) -> Result<Reading> {
        let convention: ClientFormat = self.convention.parse()?;
        let meant = convention.decode(self.flags, STANDARD.decode(&self.bytes)?.into())?;
        Ok(match Value::from_meant(&meant) {
            None => Reading::Serialized,
            Some(value) if self.is_meant_by(&value) => Reading::Exact,
            Some(value) => Reading::Other(value),
        })
    }

    /// Whether a value is the one that was written, or what the client itself makes of it.
    fn is_meant_by(&self, value: &Value) -> bool {
        value.is(&self.value) || self.read.as_ref().is_some_and(|read| value.is(read))
    }
}

/// What remcache makes of what a client wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The value that was written.
    Exact,
    /// What the client's language has serialised, as it is.
    Serialized,
    /// Another value.
    Other(Value),
}

/// How one client's values fared.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ValueOutcome {
    /// The client.
    pub client: String,
    /// Its version.
    pub version: String,
    /// What it was told, beside its defaults.
    pub options: String,
    /// The name of remcache's convention.
    pub convention: String,
    /// Values of the client that remcache read as they were.
    pub exact: usize,
    /// Values of the client that remcache hands out as the client's language serialised them.
    pub serialized: usize,
    /// What remcache read as something else.
    pub misread: Misses,
    /// What remcache wrote, and the client read.
    pub written: Misses,
}

impl ValueOutcome {
    /// All that was not read as it was written.
    #[must_use]
    pub fn misses(&self) -> usize {
        self.misread.misses + self.written.misses
    }
}

/// A client and a server, for values.
#[derive(Debug)]
pub struct Exchange {
    runtime: Runtime,
    client: Client,
    program: Program,
    servers: [Location; 1],
    /// Kept for as long as the client is.
    _server: Memcached,
}

impl Exchange {
    /// Starts the client and a server.
    ///
    /// # Errors
    /// When the client is not installed or does not start.
    ///
    /// # Panics
    /// When memcached is missing or does not start.
    pub fn new(peer: &Peer) -> Result<Self> {
        let program = install(peer)?.start()?;
        let server = Memcached::start(&[]);
        let servers = [Location { host: "127.0.0.1".to_owned(), port: server.port(), weight: 1 }];
        let runtime = Runtime::new()?;
        let client = {
            let _inside = runtime.enter();
            Client::new([server.addr()])?
        };
        Ok(Self { runtime, client, program, servers, _server: server })
    }

    /// Lets the client write every value that it has.
    ///
    /// # Errors
    /// When the client fails.
    pub fn record(&mut self, peer: &Peer, writing: &Writing) -> Result<Vec<Recorded>> {
        let profile = peer.setups.first().context("a client places keys")?.profile;
        let setting = Setting { profile, options: writing.options, hash: None, servers: &self.servers };
        let version = self.program.configure(&setting)?;
        let mut recorded = Vec::new();
        for value in catalogue() {
            let Some((item, read)) = self.write(&value)? else { continue };
            recorded.push(Recorded {
                client: peer.name.to_owned(),
                version: version.clone(),
                options: writing.options.to_owned(),
                convention: writing.convention.to_owned(),
                flags: item.flags,
                bytes: STANDARD.encode(&item.value),
                read: read.filter(|read| !read.is(&value)),
                value,
            });
        }
        Ok(recorded)
    }

    /// The item of a value that the client has written, and what it reads again; `None` if it has no such value.
    fn write(&mut self, value: &Value) -> Result<Option<(Item, Option<Value>)>> {
        self.runtime.block_on(async { self.client.delete(KEY).await })?;
        if let Written::Refused(_) = self.program.write(KEY, value)? {
            return Ok(None);
        }
        let item = self.runtime.block_on(async { self.client.get(KEY).await })?;
        Ok(item.map(|item| (item, self.program.read(KEY).ok())))
    }

    /// Holds remcache against the client, in both directions.
    ///
    /// # Errors
    /// When the client fails.
    pub fn compare(&mut self, peer: &Peer, writing: &Writing) -> Result<ValueOutcome> {
        let recorded = self.record(peer, writing)?;
        let mut outcome = ValueOutcome {
            client: peer.name.to_owned(),
            version: recorded.first().map(|it| it.version.clone()).unwrap_or_default(),
            options: writing.options.to_owned(),
            convention: writing.convention.to_owned(),
            ..ValueOutcome::default()
        };
        for it in &recorded {
            outcome.misread.keys += 1;
            match it.reading() {
                Ok(Reading::Exact) => outcome.exact += 1,
                Ok(Reading::Serialized) => outcome.serialized += 1,
                Ok(Reading::Other(value)) => {
                    outcome.misread.add(|| format!("{} with the flags {} is read as {value}", it.value, it.flags));
                }
                Err(failure) => {
                    outcome.misread.add(|| format!("{} with the flags {}: {failure:#}", it.value, it.flags));
                }
            }
        }
        for it in &recorded {
            self.compare_written(it, writing, &mut outcome.written)?;
        }
        Ok(outcome)
    }

    /// Writes a value as the client would, plain and compressed, and lets the client read it.
    fn compare_written(&mut self, it: &Recorded, writing: &Writing, misses: &mut Misses) -> Result<()> {
        let convention: ClientFormat = writing.convention.parse()?;
        let Some(meant) = it.value.to_meant() else { return Ok(()) };
        let plain = Codec::convention(convention);
        let packed = writing.reads.map(|compression| Codec::convention(convention).compress(compression, 0));
        for codec in std::iter::once(plain).chain(packed) {
            // Some values take the client's own serialiser.
            let Ok(encoded) = codec.encode(&meant) else { continue };
            let (flags, bytes) = (encoded.flags, encoded.bytes.into_bytes());
            self.runtime.block_on(async { self.client.set(KEY, bytes).flags(flags).await })?;
            let read = self.program.read(KEY);
            misses.keys += 1;
            if !read.as_ref().is_ok_and(|read| it.is_meant_by(read)) {
                let read = read.map_or_else(|failure| format!("{failure:#}"), |read| read.to_string());
                misses.add(|| format!("{} with the flags {flags} is read as {read}", it.value));
            }
        }
        Ok(())
    }
}

impl Value {
    /// The same in remcache's words; `None` for what only a language's own serialiser writes.
    #[must_use]
    pub fn to_meant(&self) -> Option<Meant> {
        let content = self.value.repeat(self.times);
        Some(match self.kind.as_str() {
            "text" => Meant::Text(content.into()),
            "bytes" => Meant::Bytes(hex::decode(content).ok()?.into()),
            "int" | "long" | "byte" => match content.parse() {
                Ok(number) => Meant::Integer(number),
                Err(_) => Meant::BigInteger(content.into()),
            },
            "bool" => Meant::Bool(content == "true"),
            "float" | "float32" => Meant::Float(content.parse().ok()?),
            "date" => Meant::Date(UNIX_EPOCH + Duration::from_millis(content.parse().ok()?)),
            _ => return None,
        })
    }

    /// What remcache has read; `None` for what a language has serialised.
    fn from_meant(meant: &Meant) -> Option<Self> {
        Some(match meant {
            Meant::Text(text) => Self::new("text", 1, text),
            Meant::Bytes(bytes) => Self::new("bytes", 1, &hex::encode(bytes)),
            Meant::Integer(number) => Self::new("int", 1, &number.to_string()),
            Meant::BigInteger(digits) => Self::new("int", 1, digits),
            Meant::Bool(is_true) => Self::new("bool", 1, &is_true.to_string()),
            Meant::Float(number) => Self::new("float", 1, &number.to_string()),
            Meant::Date(time) => Self::new("date", 1, &milliseconds(*time)?.to_string()),
            _ => return None,
        })
    }
}

fn milliseconds(time: SystemTime) -> Option<u128> {
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_millis())
}

const KEY: &str = "value";
