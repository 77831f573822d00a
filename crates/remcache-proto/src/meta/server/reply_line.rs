//! Builder for the reply line of a meta command.

use crate::line::base64::EncodedKey;
use crate::line::command::LINE_END;

/// The reply line of a meta command, built flag by flag.
#[derive(Clone, Debug)]
pub struct ReplyLine {
    line: Vec<u8>,
}

impl ReplyLine {
    /// Creates a reply with this return code.
    pub fn code(code: &str) -> Self {
        Self { line: code.as_bytes().to_vec() }
    }

    /// Creates a reply with a value of this length, which the caller appends to the line.
    pub fn value(length: usize) -> Self {
        Self { line: format!("VA {length}").into_bytes() }
    }

    /// Appends a flag without a token.
    pub fn flag(&mut self, flag: u8) {
        self.line.extend([b' ', flag]);
    }

    /// Appends a flag with a number.
    pub fn number(&mut self, flag: u8, number: u64) {
        self.token(flag, number.to_string().as_bytes());
    }

    /// Appends a flag with a token.
    pub fn token(&mut self, flag: u8, token: &[u8]) {
        self.flag(flag);
        self.line.extend_from_slice(token);
    }

    /// Appends the key flag, with the key in base64 and its flag if `base64` is set.
    pub fn key(&mut self, key: &[u8], base64: bool) {
        self.flag(b'k');
        self.bare_key(key, base64);
        if base64 {
            self.flag(b'b');
        }
    }

    /// Appends the key of a debug line, which has no flags.
    pub fn bare_key(&mut self, key: &[u8], base64: bool) {
        // A key that was received in base64 is short enough to be sent so.
        match EncodedKey::of(key).filter(|_| base64) {
            Some(encoded) => self.line.extend_from_slice(encoded.as_slice()),
            None => self.line.extend_from_slice(key),
        }
    }

    /// Appends text.
    pub fn text(&mut self, text: &str) {
        self.line.extend_from_slice(text.as_bytes());
    }

    /// Returns the line with its line end.
    pub fn into_line(mut self) -> Vec<u8> {
        self.line.extend_from_slice(LINE_END);
        self.line
    }
}
