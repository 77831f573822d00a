//! The table of opcodes.

use std::fmt;

use crate::types::operation::Operation;

/// An opcode: the byte that identifies a packet's operation.
///
/// ```
/// use remcache_proto::{binary::Opcode, Operation};
///
/// assert_eq!(Opcode::of(Operation::Get, true, true), Opcode(0x0d));
/// assert_eq!(Opcode(0x0d).to_string(), "GetKQ");
/// assert_eq!(Opcode(0x0d).operation(), Some(Operation::Get));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "an opcode is a byte")]
pub struct Opcode(pub u8);

/// The opcodes of one operation.
struct OpcodeRow {
    operation: Operation,
    name: &'static str,
    plain: u8,
    quiet: Option<u8>,
    with_key: Option<u8>,
    quiet_with_key: Option<u8>,
}

const fn row(operation: Operation, name: &'static str, plain: u8, quiet: Option<u8>) -> OpcodeRow {
    OpcodeRow { operation, name, plain, quiet, with_key: None, quiet_with_key: None }
}

const fn fetch(operation: Operation, name: &'static str, codes: [u8; 4]) -> OpcodeRow {
    let [plain, quiet, with_key, quiet_with_key] = codes;
    OpcodeRow {
        operation,
        name,
        plain,
        quiet: Some(quiet),
        with_key: Some(with_key),
        quiet_with_key: Some(quiet_with_key),
    }
}

/// The opcodes of every operation, in the order of [`Operation`], as in memcached's `protocol_binary.h`.
const ROWS: [OpcodeRow; 20] = [
    fetch(Operation::Get, "Get", [0x00, 0x09, 0x0c, 0x0d]),
    fetch(Operation::GetAndTouch, "GAT", [0x1d, 0x1e, 0x23, 0x24]),
    row(Operation::Set, "Set", 0x01, Some(0x11)),
    row(Operation::Add, "Add", 0x02, Some(0x12)),
    row(Operation::Replace, "Replace", 0x03, Some(0x13)),
    row(Operation::Append, "Append", 0x0e, Some(0x19)),
    row(Operation::Prepend, "Prepend", 0x0f, Some(0x1a)),
    row(Operation::Delete, "Delete", 0x04, Some(0x14)),
    row(Operation::Increment, "Increment", 0x05, Some(0x15)),
    row(Operation::Decrement, "Decrement", 0x06, Some(0x16)),
    row(Operation::Touch, "Touch", 0x1c, None),
    row(Operation::Flush, "Flush", 0x08, Some(0x18)),
    row(Operation::NoOp, "NoOp", 0x0a, None),
    row(Operation::Version, "Version", 0x0b, None),
    row(Operation::Verbosity, "Verbosity", 0x1b, None),
    row(Operation::Stat, "Stat", 0x10, None),
    row(Operation::Quit, "Quit", 0x07, Some(0x17)),
    row(Operation::SaslList, "SASL list", 0x20, None),
    row(Operation::SaslAuth, "SASL auth", 0x21, None),
    row(Operation::SaslStep, "SASL step", 0x22, None),
];

impl Opcode {
    /// Get.
    pub const GET: Self = Self(0x00);
    /// NoOp.
    pub const NOOP: Self = Self(0x0a);
    /// Stat.
    pub const STAT: Self = Self(0x10);

    /// Returns the opcode of an operation; the plain one if it has no quiet or with-key form.
    #[inline]
    pub fn of(operation: Operation, quiet: bool, with_key: bool) -> Self {
        // A test checks that the table has a row for every operation, in their order.
        let Some(row) = ROWS.get(operation as usize) else { return Self::NOOP };
        let code = match (quiet, with_key) {
            (false, false) => None,
            (true, false) => row.quiet,
            (false, true) => row.with_key,
            (true, true) => row.quiet_with_key.or(row.quiet),
        };
        Self(code.unwrap_or(row.plain))
    }

    fn row(self) -> Option<&'static OpcodeRow> {
        ROWS.iter().find(|row| row.codes().contains(&Some(self.0)))
    }

    /// Returns the operation; `None` if the opcode is unknown.
    pub fn operation(self) -> Option<Operation> {
        self.row().map(|row| row.operation)
    }

    /// Returns whether it is quiet: the server sends no reply to the usual outcome.
    #[inline]
    pub fn is_quiet(self) -> bool {
        matches!(self.0, 0x09 | 0x0d | 0x11..=0x1a | 0x1e | 0x24)
    }

    /// Returns whether the reply has the key.
    pub fn returns_key(self) -> bool {
        matches!(self.0, 0x0c | 0x0d | 0x23 | 0x24)
    }

    /// Returns whether the reply is an item: flags and a value.
    #[inline]
    pub(crate) fn is_fetch(self) -> bool {
        matches!(self.0, 0x00 | 0x09 | 0x0c | 0x0d | 0x1d | 0x1e | 0x23 | 0x24)
    }

    /// Returns whether the reply has the item's flags: gets and Touch.
    pub(crate) fn returns_flags(self) -> bool {
        self.is_fetch() || self.operation() == Some(Operation::Touch)
    }

    /// Returns whether the reply is a number.
    #[inline]
    pub(crate) fn is_counter(self) -> bool {
        matches!(self.0, 0x05 | 0x06 | 0x15 | 0x16)
    }
}

impl OpcodeRow {
    fn codes(&self) -> [Option<u8>; 4] {
        [Some(self.plain), self.quiet, self.with_key, self.quiet_with_key]
    }
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(row) = self.row() else { return write!(f, "opcode {:#04x}", self.0) };
        let key = if self.returns_key() { "K" } else { "" };
        let quiet = if self.is_quiet() { "Q" } else { "" };
        write!(f, "{}{key}{quiet}", row.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_operations() {
        for (index, row) in ROWS.iter().enumerate() {
            assert_eq!(row.operation as usize, index, "{}", row.name);
        }
        assert_eq!(ROWS.len(), Operation::SaslStep as usize + 1);
    }

    #[test]
    fn no_two_opcodes_share_a_byte() {
        let mut codes: Vec<u8> = ROWS.iter().flat_map(OpcodeRow::codes).flatten().collect();
        codes.sort_unstable();
        let all = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), all);
        let expected: Vec<u8> = (0x00..=0x24).filter(|code| *code != 0x1f).collect();
        assert_eq!(codes, expected, "every opcode from 0x00 to 0x24 but 0x1f, which is free");
    }

    #[test]
    fn quick_questions_agree_with_the_table() {
        for code in 0..=u8::MAX {
            let opcode = Opcode(code);
            let is = |form: fn(&OpcodeRow) -> [Option<u8>; 2]| ROWS.iter().any(|row| form(row).contains(&Some(code)));
            assert_eq!(opcode.is_quiet(), is(|row| [row.quiet, row.quiet_with_key]), "{code:#04x} quiet");
            assert_eq!(opcode.returns_key(), is(|row| [row.with_key, row.quiet_with_key]), "{code:#04x} key");
            let operation = opcode.operation();
            assert_eq!(opcode.is_fetch(), operation.is_some_and(Operation::is_fetch), "{code:#04x} fetch");
            let counts = matches!(operation, Some(Operation::Increment | Operation::Decrement));
            assert_eq!(opcode.is_counter(), counts, "{code:#04x} counter");
        }
    }

    #[test]
    fn an_operation_without_a_quiet_form_is_sent_non_quiet() {
        assert_eq!(Opcode::of(Operation::Touch, true, false), Opcode(0x1c));
        assert_eq!(Opcode::of(Operation::Set, true, true), Opcode(0x11));
    }
}
