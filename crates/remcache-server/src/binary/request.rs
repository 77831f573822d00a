//! Parses binary requests: what memcached executes, and what it rejects.

use remcache_proto::binary::{Header, Opcode};
use remcache_proto::{CowBytes, Key, Operation, Status};

use super::sasl::SaslAuth;
use crate::store::{Limits, Mode};

/// The request at the front of the input.
pub(super) enum Parsed<'a> {
    Request(BinaryRequest<'a>),
    Rejected(Rejection<'a>),
}

/// A complete request whose parts fit its operation.
pub(super) struct BinaryRequest<'a> {
    pub(super) operation: Operation,
    pub(super) opcode: Opcode,
    pub(super) opaque: u32,
    pub(super) cas: u64,
    pub(super) extras: &'a [u8],
    pub(super) key: &'a [u8],
    pub(super) value: CowBytes<'a>,
    /// The number of bytes that the request takes.
    pub(super) length: usize,
}

/// A request that is not executed.
#[derive(Debug, PartialEq)]
pub(super) struct Rejection<'a> {
    pub(super) opcode: Opcode,
    pub(super) opaque: u32,
    pub(super) status: Status,
    /// The mode of a request that stores.
    pub(super) mode: Option<Mode>,
    pub(super) key: &'a [u8],
    /// The number of bytes that the request takes itself.
    pub(super) consumed: usize,
    /// The number of bytes after those that are discarded before the reply.
    pub(super) skipped: u64,
    /// Whether the connection is closed after the reply.
    pub(super) close: bool,
}

/// The status, the number of bytes to discard and whether to close the connection.
type HeaderError = (Status, u64, bool);

/// The parts of a request that memcached requires or allows.
struct RequestLayout {
    /// The allowed lengths of the extras.
    extras: &'static [u8],
    key: Part,
    value: Part,
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Absent,
    /// A required key, or a value that may be empty.
    Read,
    /// Not checked: a key may be present, and a value stays in the stream and is parsed as the next request
    /// (`docs/protocol.md` of remcache 2.3).
    Unchecked,
}

/// Returns the layout that memcached 1.6.18 checks before anything else.
fn layout(operation: Operation) -> RequestLayout {
    use Part::{Absent, Read, Unchecked};
    let (extras, key, value): (&'static [u8], _, _) = match operation {
        Operation::Get | Operation::Delete => (&[0], Read, Absent),
        Operation::Set | Operation::Add | Operation::Replace => (&[8], Read, Read),
        Operation::Append | Operation::Prepend => (&[0], Read, Read),
        Operation::Increment | Operation::Decrement => (&[20], Read, Absent),
        Operation::Touch | Operation::GetAndTouch => (&[4], Read, Unchecked),
        Operation::Flush => (&[0, 4], Absent, Absent),
        Operation::Stat => (&[0], Unchecked, Unchecked),
        Operation::SaslAuth | Operation::SaslStep => (&[0], Read, Read),
        _ => (&[0], Absent, Absent),
    };
    RequestLayout { extras, key, value }
}

impl RequestLayout {
    fn matches(&self, header: &Header, value_length: usize) -> bool {
        let key_matches = match self.key {
            Part::Absent => header.key_length == 0,
            Part::Read => header.key_length > 0,
            Part::Unchecked => true,
        };
        let value_matches = self.value != Part::Absent || value_length == 0;
        self.extras.contains(&header.extras_length) && key_matches && value_matches
    }
}

/// The longest accepted body (memcached 1.6.42).
const MAX_BODY: u32 = 1 << 30;

/// Parses the request at the front of the input. Returns its length, as far as it is known, as an error if it is
/// incomplete. The caller has checked the first byte.
pub(super) fn parse<'a>(input: &'a [u8], sasl: SaslAuth, limits: &Limits) -> Result<Parsed<'a>, usize> {
    let Some(Ok(header)) = input.first_chunk().map(Header::from_bytes) else { return Err(Header::LEN) };
    let key_start = Header::LEN + usize::from(header.extras_length);
    let value_start = key_start + usize::from(header.key_length);
    let (Some(extras), Some(key)) = (input.get(Header::LEN..key_start), input.get(key_start..value_start)) else {
        return Err(value_start);
    };
    let opcode = Opcode(header.opcode);
    let rejected = |(status, skipped, close): HeaderError| {
        let (mode, opaque) = (opcode.operation().and_then(mode), header.opaque);
        Parsed::Rejected(Rejection { opcode, opaque, status, mode, key, consumed: value_start, skipped, close })
    };
    let (operation, value_length) = match validate_header(&header, sasl) {
        Ok(valid) => valid,
        Err(error) => return Ok(rejected(error)),
    };
    if let Err(status) = check_size(operation, extras, key, value_length, limits) {
        return Ok(rejected((status, value_length as u64, false)));
    }
    let length = value_start + value_length;
    let Some(value) = input.get(value_start..length) else { return Err(length) };
    let (opaque, cas, value) = (header.opaque, header.cas, CowBytes::from(value));
    Ok(Parsed::Request(BinaryRequest { operation, opcode, opaque, cas, extras, key, value, length }))
}

/// Returns the operation and the length of the value that belongs to it. The order of the checks is memcached's.
fn validate_header(header: &Header, sasl: SaslAuth) -> Result<(Operation, usize), HeaderError> {
    let opcode = Opcode(header.opcode);
    let Some(value_length) = header.value_length() else { return Err((Status::UnknownCommand, 0, true)) };
    let operation = opcode.operation().filter(|operation| *operation != Operation::Verbosity);
    if !sasl.is_authenticated() && !operation.is_some_and(is_allowed_unauthenticated) {
        return Err((Status::AuthError, 0, true));
    }
    if header.body_length > MAX_BODY || usize::from(header.key_length) > Key::MAX_LEN {
        return Err((Status::InvalidArguments, 0, true));
    }
    // A bug of memcached that clients must cope with: extras and key have been consumed, but it skips the length of the
    // whole body after them (`docs/protocol.md` of remcache 2.4).
    let Some(operation) = operation else {
        return Err((Status::UnknownCommand, u64::from(header.body_length), false));
    };
    let layout = layout(operation);
    if !layout.matches(header, value_length) {
        return Err((Status::InvalidArguments, 0, true));
    }
    if is_sasl(operation) && !sasl.is_required() {
        return Err((Status::UnknownCommand, value_length as u64, false));
    }
    Ok((operation, if layout.value == Part::Read { value_length } else { 0 }))
}

/// Rejects a value that could not be stored before it is read.
fn check_size(
    operation: Operation,
    extras: &[u8],
    key: &[u8],
    value_length: usize,
    limits: &Limits,
) -> Result<(), Status> {
    let flags = extras.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    let flags = if mode(operation).is_some() { flags } else { 0 };
    match limits.size(key.len(), value_length, flags) > limits.item_size {
        true if is_sasl(operation) => Err(Status::OutOfMemory),
        true if value_length > 0 => Err(Status::ValueTooLarge),
        _ => Ok(()),
    }
}

/// Returns the mode of an operation that stores.
pub(super) fn mode(operation: Operation) -> Option<Mode> {
    match operation {
        Operation::Set => Some(Mode::Set),
        Operation::Add => Some(Mode::Add),
        Operation::Replace => Some(Mode::Replace),
        _ => None,
    }
}

fn is_sasl(operation: Operation) -> bool {
    matches!(operation, Operation::SaslList | Operation::SaslAuth | Operation::SaslStep)
}

fn is_allowed_unauthenticated(operation: Operation) -> bool {
    is_sasl(operation) || operation == Operation::Version
}
