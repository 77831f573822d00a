//! Requests on the binary wire: what a header may say, and what is refused.

use remcache_proto::binary::{Header, Opcode};
use remcache_proto::{CowBytes, Key, Operation, Status};

use crate::login::Login;
use crate::store::{Limits, Mode};

/// The request at the front of the input.
pub(super) enum Checked<'a> {
    Call(Call<'a>),
    Refused(Refusal<'a>),
}

/// A request that is executed: complete, and of the shape that its operation has.
pub(super) struct Call<'a> {
    pub(super) operation: Operation,
    pub(super) opcode: Opcode,
    pub(super) opaque: u32,
    pub(super) cas: u64,
    pub(super) extras: &'a [u8],
    pub(super) key: &'a [u8],
    pub(super) value: CowBytes<'a>,
    /// How many bytes it takes.
    pub(super) length: usize,
}

/// A request that is not executed.
#[derive(Debug, PartialEq)]
pub(super) struct Refusal<'a> {
    pub(super) opcode: Opcode,
    pub(super) opaque: u32,
    pub(super) status: Status,
    /// How it would have stored, if it is one that does.
    pub(super) mode: Option<Mode>,
    pub(super) key: &'a [u8],
    /// How many bytes it takes, and how many more are thrown away before the answer.
    pub(super) consumed: usize,
    pub(super) skipped: u64,
    /// Whether the connection is closed after the answer.
    pub(super) closes: bool,
}

/// Which parts a request has.
struct Shape {
    extras: &'static [u8],
    key: Part,
    value: Part,
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Absent,
    /// A key that is needed, a value that may be empty.
    Read,
    /// Not looked at: a key may be there, a value stays in the stream and is taken for the next
    /// request (`docs/protocol.md` of remcache 2.3).
    Any,
}

/// What memcached 1.6.18 asks of each operation before it looks further.
fn shape(operation: Operation) -> Shape {
    use Part::{Absent, Any, Read};
    let (extras, key, value): (&'static [u8], _, _) = match operation {
        Operation::Get | Operation::Delete => (&[0], Read, Absent),
        Operation::Set | Operation::Add | Operation::Replace => (&[8], Read, Read),
        Operation::Append | Operation::Prepend => (&[0], Read, Read),
        Operation::Increment | Operation::Decrement => (&[20], Read, Absent),
        Operation::Touch | Operation::GetAndTouch => (&[4], Read, Any),
        Operation::Flush => (&[0, 4], Absent, Absent),
        Operation::Stat => (&[0], Any, Any),
        Operation::SaslAuth | Operation::SaslStep => (&[0], Read, Read),
        _ => (&[0], Absent, Absent),
    };
    Shape { extras, key, value }
}

impl Shape {
    fn fits(&self, header: &Header, value_length: usize) -> bool {
        let key_fits = match self.key {
            Part::Absent => header.key_length == 0,
            Part::Read => header.key_length > 0,
            Part::Any => true,
        };
        let value_fits = self.value != Part::Absent || value_length == 0;
        self.extras.contains(&header.extras_length) && key_fits && value_fits
    }
}

/// The longest body that is not taken for a mistake (memcached 1.6.42).
const LONGEST_BODY: u32 = 1 << 30;

/// Looks at the request at the front of the input; its length as far as it is known, if it is not
/// complete. The first byte has been checked.
pub(super) fn check<'a>(input: &'a [u8], login: Login, limits: &Limits) -> Result<Checked<'a>, usize> {
    let Some(Ok(header)) = input.first_chunk().map(Header::from_bytes) else { return Err(Header::LEN) };
    let key_at = Header::LEN + usize::from(header.extras_length);
    let value_at = key_at + usize::from(header.key_length);
    let (Some(extras), Some(key)) = (input.get(Header::LEN..key_at), input.get(key_at..value_at)) else {
        return Err(value_at);
    };
    let opcode = Opcode(header.opcode);
    let refused = |status, skipped: u64, closes| Refusal {
        opcode,
        opaque: header.opaque,
        status,
        mode: opcode.operation().and_then(mode),
        key,
        consumed: value_at,
        skipped,
        closes,
    };
    let (operation, value_length) = match judge(&header, login) {
        Ok(judged) => judged,
        Err((status, skipped, closes)) => return Ok(Checked::Refused(refused(status, skipped, closes))),
    };
    if let Err(status) = fits(operation, extras, key, value_length, limits) {
        return Ok(Checked::Refused(refused(status, value_length as u64, false)));
    }
    let length = value_at + value_length;
    let Some(value) = input.get(value_at..length) else { return Err(length) };
    let (opaque, cas, value) = (header.opaque, header.cas, CowBytes::from(value));
    Ok(Checked::Call(Call { operation, opcode, opaque, cas, extras, key, value, length }))
}

/// The operation and the length of the value that belongs to it; or why it is refused, how many
/// more bytes are thrown away, and whether the connection is closed. In memcached's order.
fn judge(header: &Header, login: Login) -> Result<(Operation, usize), (Status, u64, bool)> {
    let opcode = Opcode(header.opcode);
    let Some(value_length) = header.value_length() else { return Err((Status::UnknownCommand, 0, true)) };
    let operation = opcode.operation().filter(|operation| *operation != Operation::Verbosity);
    if !login.is_complete() && !operation.is_some_and(is_for_strangers) {
        return Err((Status::AuthError, 0, true));
    }
    if header.body_length > LONGEST_BODY || usize::from(header.key_length) > Key::MAX_LEN {
        return Err((Status::InvalidArguments, 0, true));
    }
    // The double skip: extras and key were consumed, and the whole body is thrown away behind them
    // (`docs/protocol.md` of remcache 2.4).
    let Some(operation) = operation else {
        return Err((Status::UnknownCommand, u64::from(header.body_length), false));
    };
    let shape = shape(operation);
    if !shape.fits(header, value_length) {
        return Err((Status::InvalidArguments, 0, true));
    }
    if is_sasl(operation) && !login.is_needed() {
        return Err((Status::UnknownCommand, value_length as u64, false));
    }
    Ok((operation, if shape.value == Part::Read { value_length } else { 0 }))
}

/// Whether the value may be read at all: nothing is read that could not be stored.
fn fits(operation: Operation, extras: &[u8], key: &[u8], value: usize, limits: &Limits) -> Result<(), Status> {
    let flags = extras.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    let flags = if mode(operation).is_some() { flags } else { 0 };
    match limits.size(key.len(), value, flags) > limits.item_size {
        true if is_sasl(operation) => Err(Status::OutOfMemory),
        true if value > 0 => Err(Status::ValueTooLarge),
        _ => Ok(()),
    }
}

/// How an operation stores.
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

fn is_for_strangers(operation: Operation) -> bool {
    is_sasl(operation) || operation == Operation::Version
}
