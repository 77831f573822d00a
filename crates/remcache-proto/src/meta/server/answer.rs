//! The line that answers a meta command.

use crate::line::base64::Encoded;
use crate::line::command::LINE_END;

/// The line that answers a meta command, flag by flag.
#[derive(Clone, Debug)]
pub struct Answer {
    line: Vec<u8>,
}

impl Answer {
    /// An answer that begins with this code.
    pub fn code(code: &str) -> Self {
        Self { line: code.as_bytes().to_vec() }
    }

    /// An answer before a value of this length, which the caller puts behind the line.
    pub fn value(length: usize) -> Self {
        Self { line: format!("VA {length}").into_bytes() }
    }

    /// A flag without anything behind it.
    pub fn flag(&mut self, flag: u8) {
        self.line.extend([b' ', flag]);
    }

    /// A flag with a number.
    pub fn number(&mut self, flag: u8, number: u64) {
        self.token(flag, number.to_string().as_bytes());
    }

    /// A flag with what stands behind it.
    pub fn token(&mut self, flag: u8, token: &[u8]) {
        self.flag(flag);
        self.line.extend_from_slice(token);
    }

    /// The key: as it is, or as base64 and with the flag that says so.
    pub fn key(&mut self, key: &[u8], base64: bool) {
        self.flag(b'k');
        self.bare_key(key, base64);
        if base64 {
            self.flag(b'b');
        }
    }

    /// The key of a debug line, which has no flags.
    pub fn bare_key(&mut self, key: &[u8], base64: bool) {
        // A key that came as base64 is short enough to go so.
        match Encoded::of(key).filter(|_| base64) {
            Some(encoded) => self.line.extend_from_slice(encoded.as_slice()),
            None => self.line.extend_from_slice(key),
        }
    }

    /// Text as it is.
    pub fn text(&mut self, text: &str) {
        self.line.extend_from_slice(text.as_bytes());
    }

    /// The line with its end.
    pub fn into_line(mut self) -> Vec<u8> {
        self.line.extend_from_slice(LINE_END);
        self.line
    }
}
