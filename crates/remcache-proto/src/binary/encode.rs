//! Encoder for requests, and their decoder for servers.

use bytes::{Buf, Bytes};

use super::{Header, Opcode, Packet};
use crate::buffer::output::Output;
use crate::types::error::InvalidRequest;
use crate::types::key::InvalidKey;
use crate::types::operation::Operation;
use crate::types::request::Request;
use crate::types::ttl::Ttl;

/// The expiration of a counter request that does not create the counter.
const DO_NOT_CREATE: u32 = u32::MAX;

/// Appends a request's bytes and returns the opcode of its reply.
///
/// # Errors
/// [`InvalidRequest`] if the request would make the server close the connection, or lose synchronization; nothing is
/// appended then.
#[inline]
pub fn encode(request: &Request<'_>, opaque: u32, output: &mut Output) -> Result<Opcode, InvalidRequest> {
    let key = checked_key(request)?;
    if request.meta.is_some() {
        return Err(InvalidRequest::Unsupported("only the meta protocol supports this: use meta"));
    }
    let extras = Extras::of(request)?;
    let opcode = Opcode::of(request.operation(), request.quiet, request.with_key);
    let value = if has_value(request.operation()) { request.value.len() } else { 0 };
    let body = extras.as_slice().len().saturating_add(key.len()).saturating_add(value);
    let header = Header {
        key_length: u16::try_from(key.len()).unwrap_or_default(),
        extras_length: extras.length,
        body_length: u32::try_from(body)
            .map_err(|_| InvalidRequest::ValueTooLarge { length: value, limit: u32::MAX as usize })?,
        opaque,
        cas: request.cas,
        ..Header::request(opcode)
    };
    output.put(&header.to_bytes());
    output.put(extras.as_slice());
    output.put(key);
    if value > 0 {
        output.put_value(&request.value);
    }
    Ok(opcode)
}

/// Returns the key's bytes, if the operation has one; requests that would break the connection are refused.
#[inline]
fn checked_key<'r>(request: &'r Request<'_>) -> Result<&'r [u8], InvalidRequest> {
    match (request.operation(), request.key()) {
        (Operation::Stat, Err(InvalidKey::Empty)) => Ok(&[]),
        (Operation::Stat, group) => checked_group(group?.as_bytes()),
        (Operation::Verbosity, _) => Err(InvalidRequest::Unsupported(
            "memcached does not support Verbosity on the binary protocol and would lose synchronization: use the server's -v",
        )),
        (Operation::Add, _) if request.cas != 0 => Err(InvalidRequest::Unsupported(
            "an add with a CAS value would overwrite the item: use set or replace with the CAS value",
        )),
        (operation, _) if operation as usize > Operation::SaslStep as usize => {
            Err(InvalidRequest::Unsupported("the binary protocol has no such command: use meta or text"))
        }
        (operation, key) if operation.has_key() || is_sasl_exchange(operation) => Ok(key?.as_bytes()),
        _ => Ok(&[]),
    }
}

/// Checks a group of statistics; memcached 1.6.18 answers two of them without a last reply.
fn checked_group(group: &[u8]) -> Result<&[u8], InvalidRequest> {
    match group {
        b"sizes_enable" | b"sizes_disable" => Err(InvalidRequest::Unsupported(
            "memcached does not terminate its reply for this group: start the server with -o track_sizes",
        )),
        _ => Ok(group),
    }
}

fn is_sasl_exchange(operation: Operation) -> bool {
    matches!(operation, Operation::SaslAuth | Operation::SaslStep)
}

/// Returns whether the operation's packet may have a value; with others the server would lose synchronization.
#[inline]
fn has_value(operation: Operation) -> bool {
    stores(operation) || matches!(operation, Operation::Append | Operation::Prepend) || is_sasl_exchange(operation)
}

#[inline]
fn stores(operation: Operation) -> bool {
    matches!(operation, Operation::Set | Operation::Add | Operation::Replace)
}

/// The extras: numbers between header and key.
struct Extras {
    bytes: [u8; 20],
    length: u8,
}

impl Extras {
    const NONE: Self = Self { bytes: [0; 20], length: 0 };

    #[inline]
    fn of(request: &Request<'_>) -> Result<Self, InvalidRequest> {
        Ok(match request.operation() {
            Operation::Get => Self::NONE,
            operation if stores(operation) => Self::flags_and_expiration(request.flags, request.ttl.seconds()?),
            Operation::Increment | Operation::Decrement => Self::counter(request)?,
            Operation::Touch | Operation::GetAndTouch => Self::expiration(request.ttl.seconds()?),
            // A flush at a time before the server's start would have no effect.
            Operation::Flush if !matches!(request.ttl, Ttl::Never | Ttl::Expired) => {
                Self::expiration(request.ttl.seconds()?)
            }
            _ => Self::NONE,
        })
    }

    #[inline]
    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    fn expiration(seconds: u32) -> Self {
        let mut extras = Self { length: 4, ..Self::NONE };
        extras.bytes[..4].copy_from_slice(&seconds.to_be_bytes());
        extras
    }

    fn flags_and_expiration(flags: u32, seconds: u32) -> Self {
        let mut extras = Self { length: 8, ..Self::NONE };
        extras.bytes[..4].copy_from_slice(&flags.to_be_bytes());
        extras.bytes[4..8].copy_from_slice(&seconds.to_be_bytes());
        extras
    }

    fn counter(request: &Request<'_>) -> Result<Self, InvalidRequest> {
        let seconds = match request.initial {
            None => DO_NOT_CREATE,
            Some(_) => request.ttl.seconds()?,
        };
        let mut extras = Self { length: 20, ..Self::NONE };
        extras.bytes[..8].copy_from_slice(&request.delta.to_be_bytes());
        extras.bytes[8..16].copy_from_slice(&request.initial.unwrap_or_default().to_be_bytes());
        extras.bytes[16..].copy_from_slice(&seconds.to_be_bytes());
        Ok(extras)
    }
}

/// Decodes a packet's request; `None` if the opcode is unknown or its extras are invalid.
///
/// An expiration of up to 30 days is relative, any other absolute.
pub fn decode_request(packet: &Packet) -> Option<Request<'static>> {
    let opcode = Opcode(packet.header.opcode);
    let operation = opcode.operation()?;
    let (key, value) = (packet.key.clone(), packet.value.clone());
    let mut extras = packet.extras.clone();
    let request = match operation {
        Operation::Get => Request::get(key),
        Operation::GetAndTouch => Request::get_and_touch(key, ttl(&mut extras)?),
        Operation::Set => stored(Request::set(key, value), &mut extras)?,
        Operation::Add => stored(Request::add(key, value), &mut extras)?,
        Operation::Replace => stored(Request::replace(key, value), &mut extras)?,
        Operation::Append => Request::append(key, value),
        Operation::Prepend => Request::prepend(key, value),
        Operation::Delete => Request::delete(key),
        Operation::Increment => arithmetic(Request::increment(key, extras.try_get_u64().ok()?), &mut extras)?,
        Operation::Decrement => arithmetic(Request::decrement(key, extras.try_get_u64().ok()?), &mut extras)?,
        Operation::Touch => Request::touch(key, ttl(&mut extras)?),
        Operation::Flush if extras.is_empty() => Request::flush(),
        Operation::Flush => Request::flush().ttl(ttl(&mut extras)?),
        Operation::NoOp => Request::noop(),
        Operation::Version => Request::version(),
        Operation::Verbosity => Request::verbosity(extras.try_get_u32().ok()?),
        Operation::Stat => Request::stat(key),
        Operation::Quit => Request::quit(),
        Operation::SaslList => Request::sasl_list(),
        Operation::SaslAuth => Request::sasl_auth(key, value),
        Operation::SaslStep => Request::sasl_step(key, value),
        // The other operations have no opcode.
        _ => return None,
    };
    let mut request = request.cas(packet.header.cas);
    request.quiet = opcode.is_quiet();
    request.with_key = opcode.returns_key();
    extras.is_empty().then_some(request)
}

fn stored(request: Request<'static>, extras: &mut Bytes) -> Option<Request<'static>> {
    let request = request.flags(extras.try_get_u32().ok()?);
    Some(request.ttl(ttl(extras)?))
}

fn arithmetic(request: Request<'static>, extras: &mut Bytes) -> Option<Request<'static>> {
    let initial = extras.try_get_u64().ok()?;
    match extras.try_get_u32().ok()? {
        DO_NOT_CREATE => Some(request),
        seconds => Some(request.initial(initial).ttl(Ttl::from_seconds(seconds))),
    }
}

fn ttl(extras: &mut Bytes) -> Option<Ttl> {
    extras.try_get_u32().ok().map(Ttl::from_seconds)
}
