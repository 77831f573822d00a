//! Compares typed values: remcache reads what a client writes, and the client reads what remcache writes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use remcache::value::{ClientFormat, Codec, Value as RemcacheValue};
use remcache::{Client, Item};
use remcache_testkit::Memcached;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::{
    ClientSettings, Misses, Peer, Program, ServerSpec, Value, ValueEncoding, WriteResult, install, test_values,
};

/// A value, and the item that a client stored for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordedItem {
    /// The name of the client.
    pub client: String,
    /// Its version.
    pub version: String,
    /// Its options.
    pub options: String,
    /// The name of remcache's encoding for this client.
    pub format: String,
    /// The value.
    pub value: Value,
    /// The flags of the item.
    pub flags: u32,
    /// The bytes of the item, in base64.
    pub bytes: String,
    /// The value that the client itself reads, if it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Value>,
}

impl RecordedItem {
    /// Returns whether the item is short enough for the file of recorded items.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.bytes.len() <= 1400
    }

    /// Decodes the item.
    ///
    /// # Errors
    /// If the encoding is invalid.
    pub fn decode(&self) -> Result<ReadResult> {
        let format: ClientFormat = self.format.parse()?;
        let decoded = format.decode(self.flags, STANDARD.decode(&self.bytes)?.into())?;
        Ok(match Value::from_remcache(&decoded) {
            None => ReadResult::Serialized,
            Some(value) if self.accepts(&value) => ReadResult::Exact,
            Some(value) => ReadResult::Other(value),
        })
    }

    /// Returns whether a value is the one that was written, or the one that the client itself reads.
    fn accepts(&self, value: &Value) -> bool {
        value.equals(&self.value) || self.read.as_ref().is_some_and(|read| value.equals(read))
    }
}

/// The value that remcache reads from a client's item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadResult {
    /// The value that was written.
    Exact,
    /// The bytes of the client's serializer.
    Serialized,
    /// Another value.
    Other(Value),
}

/// The results of one value encoding.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ValueResult {
    /// The name of the client.
    pub client: String,
    /// Its version.
    pub version: String,
    /// Its options.
    pub options: String,
    /// The name of remcache's encoding for this client.
    pub format: String,
    /// Values of the client that remcache read exactly.
    pub exact: usize,
    /// Values of the client that remcache returned as the bytes of its serializer.
    pub serialized: usize,
    /// Values of the client that remcache read as other values.
    pub misread: Misses,
    /// Values that remcache wrote and the client read.
    pub written: Misses,
}

impl ValueResult {
    /// Returns the number of values that were read as other values.
    #[must_use]
    pub fn misses(&self) -> usize {
        self.misread.misses + self.written.misses
    }
}

/// A client, remcache and a server for typed values.
#[derive(Debug)]
pub struct ValueComparison {
    runtime: Runtime,
    client: Client,
    program: Program,
    servers: [ServerSpec; 1],
    /// Keeps the server running.
    _server: Memcached,
}

impl ValueComparison {
    /// Starts the client and a server.
    ///
    /// # Errors
    /// If the client is not installed or does not start.
    ///
    /// # Panics
    /// If memcached is missing or does not start.
    pub fn new(peer: &Peer) -> Result<Self> {
        let program = install(peer)?.start()?;
        let server = Memcached::start(&[]);
        let servers = [ServerSpec { host: "127.0.0.1".to_owned(), port: server.port(), weight: 1 }];
        let runtime = Runtime::new()?;
        let client = {
            let _guard = runtime.enter();
            Client::new([server.addr()])?
        };
        Ok(Self { runtime, client, program, servers, _server: server })
    }

    /// Stores every value that the client supports, and returns the items.
    ///
    /// # Errors
    /// If the client fails.
    pub fn record(&mut self, peer: &Peer, encoding: &ValueEncoding) -> Result<Vec<RecordedItem>> {
        let distribution = peer.placements.first().context("the client has no placement")?.distribution;
        let settings = ClientSettings { distribution, options: encoding.options, hash: None, servers: &self.servers };
        let version = self.program.configure(&settings)?;
        let mut recorded = Vec::new();
        for value in test_values() {
            let Some((item, read)) = self.write(&value)? else { continue };
            recorded.push(RecordedItem {
                client: peer.name.to_owned(),
                version: version.clone(),
                options: encoding.options.to_owned(),
                format: encoding.format.to_owned(),
                flags: item.flags,
                bytes: STANDARD.encode(&item.value),
                read: read.filter(|read| !read.equals(&value)),
                value,
            });
        }
        Ok(recorded)
    }

    /// Stores a value with the client, and returns the item and the value that the client reads; `None` if the client
    /// does not support it.
    fn write(&mut self, value: &Value) -> Result<Option<(Item, Option<Value>)>> {
        self.runtime.block_on(async { self.client.delete(KEY).await })?;
        if let WriteResult::Refused(_) = self.program.write(KEY, value)? {
            return Ok(None);
        }
        let item = self.runtime.block_on(async { self.client.get(KEY).await })?;
        Ok(item.map(|item| (item, self.program.read(KEY).ok())))
    }

    /// Compares both directions.
    ///
    /// # Errors
    /// If the client fails.
    pub fn compare(&mut self, peer: &Peer, encoding: &ValueEncoding) -> Result<ValueResult> {
        let recorded = self.record(peer, encoding)?;
        let mut result = ValueResult {
            client: peer.name.to_owned(),
            version: recorded.first().map(|item| item.version.clone()).unwrap_or_default(),
            options: encoding.options.to_owned(),
            format: encoding.format.to_owned(),
            ..ValueResult::default()
        };
        for item in &recorded {
            result.misread.keys += 1;
            match item.decode() {
                Ok(ReadResult::Exact) => result.exact += 1,
                Ok(ReadResult::Serialized) => result.serialized += 1,
                Ok(ReadResult::Other(value)) => {
                    result.misread.add(|| format!("{} with the flags {} is read as {value}", item.value, item.flags));
                }
                Err(failure) => {
                    result.misread.add(|| format!("{} with the flags {}: {failure:#}", item.value, item.flags));
                }
            }
        }
        for item in &recorded {
            self.compare_written(item, encoding, &mut result.written)?;
        }
        Ok(result)
    }

    /// Stores a value with the client's encoding, plain and compressed, and reads it with the client.
    fn compare_written(&mut self, item: &RecordedItem, encoding: &ValueEncoding, misses: &mut Misses) -> Result<()> {
        let format: ClientFormat = encoding.format.parse()?;
        let Some(value) = item.value.to_remcache() else { return Ok(()) };
        let plain = Codec::client_format(format);
        let compressed =
            encoding.readable_compression.map(|compression| Codec::client_format(format).compress(compression, 0));
        for codec in std::iter::once(plain).chain(compressed) {
            // Some values need the client's serializer.
            let Ok(encoded) = codec.encode(&value) else { continue };
            let (flags, bytes) = (encoded.flags, encoded.bytes.into_bytes());
            self.runtime.block_on(async { self.client.set(KEY, bytes).flags(flags).await })?;
            let read = self.program.read(KEY);
            misses.keys += 1;
            if !read.as_ref().is_ok_and(|read| item.accepts(read)) {
                let read = read.map_or_else(|failure| format!("{failure:#}"), |read| read.to_string());
                misses.add(|| format!("{} with the flags {flags} is read as {read}", item.value));
            }
        }
        Ok(())
    }
}

impl Value {
    /// Returns remcache's value; `None` if it needs the serializer of a language.
    #[must_use]
    pub fn to_remcache(&self) -> Option<RemcacheValue> {
        let content = self.value.repeat(self.times);
        Some(match self.type_name.as_str() {
            "text" => RemcacheValue::Text(content.into()),
            "bytes" => RemcacheValue::Bytes(hex::decode(content).ok()?.into()),
            "int" | "long" | "byte" => match content.parse() {
                Ok(number) => RemcacheValue::Integer(number),
                Err(_) => RemcacheValue::BigInteger(content.into()),
            },
            "bool" => RemcacheValue::Bool(content == "true"),
            "float" | "float32" => RemcacheValue::Float(content.parse().ok()?),
            "date" => RemcacheValue::Date(UNIX_EPOCH + Duration::from_millis(content.parse().ok()?)),
            _ => return None,
        })
    }

    /// Converts remcache's value; `None` for the bytes of a serializer.
    fn from_remcache(value: &RemcacheValue) -> Option<Self> {
        Some(match value {
            RemcacheValue::Text(text) => Self::new("text", 1, text),
            RemcacheValue::Bytes(bytes) => Self::new("bytes", 1, &hex::encode(bytes)),
            RemcacheValue::Integer(number) => Self::new("int", 1, &number.to_string()),
            RemcacheValue::BigInteger(digits) => Self::new("int", 1, digits),
            RemcacheValue::Bool(is_true) => Self::new("bool", 1, &is_true.to_string()),
            RemcacheValue::Float(number) => Self::new("float", 1, &number.to_string()),
            RemcacheValue::Date(time) => Self::new("date", 1, &milliseconds(*time)?.to_string()),
            _ => return None,
        })
    }
}

fn milliseconds(time: SystemTime) -> Option<u128> {
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_millis())
}

const KEY: &str = "value";
