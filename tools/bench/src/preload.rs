//! Stores a scenario's keys before it, and reads them back after contestants have written.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::contestant::HOST;
use crate::samples;
use crate::scenario::Scenario;
use crate::wire::{self, Reply};

/// Stores every key: quiet sets, which answer only when they fail, and a no-op.
pub(crate) fn store(port: u16, scenario: &Scenario) -> Result<()> {
    let mut connection = Connection::open(port)?;
    for chunk in chunks(scenario) {
        let requests = chunk.clone().map(|index| {
            let key = samples::key(index);
            let mut request = Vec::new();
            let value = samples::value(&key, scenario.value_len);
            wire::encode_set(wire::SET_QUIET, index as u32, key.as_bytes(), &value, &mut request);
            request
        });
        connection.write(requests)?;
        let (reply, _) = connection.read()?;
        ensure!(reply.opcode == wire::NOOP, "storing a key failed with status {:#04x}", reply.status);
    }
    Ok(())
}

/// How many keys do not hold their value: quiet gets, where a missing reply is a missing key.
pub(crate) fn spoilt(port: u16, scenario: &Scenario) -> Result<u64> {
    let mut connection = Connection::open(port)?;
    let mut sound = 0;
    for chunk in chunks(scenario) {
        let requests = chunk.map(|index| {
            let mut request = Vec::new();
            wire::encode_get(wire::GET_QUIET, index as u32, samples::key(index).as_bytes(), &mut request);
            request
        });
        connection.write(requests)?;
        sound += connection.count_sound(scenario)?;
    }
    Ok(scenario.keys as u64 - sound)
}

/// Runs of keys so short that neither side can block on writing.
fn chunks(scenario: &Scenario) -> impl Iterator<Item = std::ops::Range<usize>> {
    let keys = scenario.keys;
    (0..keys).step_by(CHUNK).map(move |start| start..keys.min(start + CHUNK))
}

struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((HOST, port)).context("connecting to store keys")?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Writes the requests and a no-op.
    fn write(&mut self, requests: impl Iterator<Item = Vec<u8>>) -> Result<()> {
        let mut out: Vec<u8> = requests.flatten().collect();
        wire::encode_noop(0, &mut out);
        Ok(self.0.get_mut().write_all(&out)?)
    }

    /// Reads one reply, and its bytes.
    fn read(&mut self) -> Result<(Reply, Vec<u8>)> {
        let mut bytes = vec![0; wire::HEADER_LEN];
        self.0.read_exact(&mut bytes)?;
        let reply = Reply::parse(&bytes)?.context("a header has 24 bytes")?;
        bytes.resize(reply.len(), 0);
        self.0.read_exact(&mut bytes[wire::HEADER_LEN..])?;
        Ok((reply, bytes))
    }

    /// Reads up to the no-op's reply, and counts the right values.
    fn count_sound(&mut self, scenario: &Scenario) -> Result<u64> {
        let mut sound = 0;
        loop {
            let (reply, bytes) = self.read()?;
            if reply.opcode == wire::NOOP {
                return Ok(sound);
            }
            let key = samples::key(reply.opaque as usize);
            let value = reply.value(&bytes)?;
            sound += u64::from(samples::is_value_of(key.as_bytes(), scenario.value_len, value));
        }
    }
}

const CHUNK: usize = 100;
const TIMEOUT: Duration = Duration::from_secs(10);
