//! Stores the items of a scenario before it runs, and checks them after clients have written them.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::adapter::HOST;
use crate::binary_protocol::{self as binary, Reply};
use crate::items;
use crate::scenario::Scenario;

/// Stores every item with quiet sets, which are answered only if they fail, followed by a no-op.
pub(crate) fn store(port: u16, scenario: &Scenario) -> Result<()> {
    let mut connection = PreloadConnection::open(port)?;
    for chunk in chunks(scenario) {
        let requests = chunk.clone().map(|index| {
            let key = items::key(index);
            let mut request = Vec::new();
            let value = items::value(&key, scenario.value_len);
            binary::encode_set(binary::SET_QUIET, index as u32, key.as_bytes(), &value, &mut request);
            request
        });
        connection.write(requests)?;
        let (reply, _) = connection.read()?;
        ensure!(reply.opcode == binary::NOOP, "storing a key failed with status {:#04x}", reply.status);
    }
    Ok(())
}

/// Returns the number of keys without their value, using quiet gets, which are not answered if a key is missing.
pub(crate) fn count_lost_values(port: u16, scenario: &Scenario) -> Result<u64> {
    let mut connection = PreloadConnection::open(port)?;
    let mut correct = 0;
    for chunk in chunks(scenario) {
        let requests = chunk.map(|index| {
            let mut request = Vec::new();
            binary::encode_get(binary::GET_QUIET, index as u32, items::key(index).as_bytes(), &mut request);
            request
        });
        connection.write(requests)?;
        correct += connection.count_correct(scenario)?;
    }
    Ok(scenario.keys as u64 - correct)
}

/// Splits the keys into chunks that are too short for both sides to block on writing.
fn chunks(scenario: &Scenario) -> impl Iterator<Item = std::ops::Range<usize>> {
    let keys = scenario.keys;
    (0..keys).step_by(CHUNK).map(move |start| start..keys.min(start + CHUNK))
}

struct PreloadConnection(BufReader<TcpStream>);

impl PreloadConnection {
    fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((HOST, port)).context("connecting to store items")?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Writes the requests and a no-op.
    fn write(&mut self, requests: impl Iterator<Item = Vec<u8>>) -> Result<()> {
        let mut out: Vec<u8> = requests.flatten().collect();
        binary::encode_noop(0, &mut out);
        Ok(self.0.get_mut().write_all(&out)?)
    }

    /// Reads one reply, and returns it with its bytes.
    fn read(&mut self) -> Result<(Reply, Vec<u8>)> {
        let mut bytes = vec![0; binary::HEADER_LEN];
        self.0.read_exact(&mut bytes)?;
        let reply = Reply::parse(&bytes)?.context("a header has 24 bytes")?;
        bytes.resize(reply.len(), 0);
        self.0.read_exact(&mut bytes[binary::HEADER_LEN..])?;
        Ok((reply, bytes))
    }

    /// Reads all replies up to that of the no-op, and counts the correct values.
    fn count_correct(&mut self, scenario: &Scenario) -> Result<u64> {
        let mut correct = 0;
        loop {
            let (reply, bytes) = self.read()?;
            if reply.opcode == binary::NOOP {
                return Ok(correct);
            }
            let key = items::key(reply.opaque as usize);
            let value = reply.value(&bytes)?;
            correct += u64::from(items::is_value_of(key.as_bytes(), scenario.value_len, value));
        }
    }
}

const CHUNK: usize = 100;
const TIMEOUT: Duration = Duration::from_secs(10);
