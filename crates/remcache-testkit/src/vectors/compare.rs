//! Compares what a server did with a vector.

use super::frames::{Frame, frames};
use super::{After, Outcome, Protocol, Replayed, Vector};

impl Vector {
    /// Checks that a server did what 1.6.18 or 1.6.45 does.
    ///
    /// CAS values may be shifted by a constant, because servers start counting at different numbers. Parts that the
    /// vector marks as variable may differ.
    ///
    /// # Errors
    /// Returns the expected and the actual reply.
    pub fn check(&self, replayed: &Replayed) -> Result<(), String> {
        let matches = |outcome: &Outcome| {
            let after_matches = outcome.after == After::OutOfSync || outcome.after == replayed.after;
            after_matches && self.reply_matches(&outcome.reply, &replayed.reply)
        };
        if self.outcomes().any(|outcome| matches(&outcome)) {
            return Ok(());
        }
        Err(format!(
            "{}\n  expected {:?} {}\n  actual      {:?} {}",
            self.name,
            self.after,
            self.reply.escape_ascii(),
            replayed.after,
            replayed.reply.escape_ascii(),
        ))
    }

    /// Returns whether these bytes may be the complete reply. More may still arrive.
    pub(super) fn may_be_complete(&self, actual: &[u8]) -> bool {
        self.outcomes().any(|outcome| {
            let expected = outcome.reply;
            match self.shape(&expected) {
                Shape::Packets(packets) => frames(actual).0.len() >= packets.len(),
                Shape::Lines => lines(actual) >= lines(&expected),
                Shape::Bytes => actual.len() >= expected.len() && actual.ends_with(tail(&expected)),
            }
        })
    }

    fn reply_matches(&self, expected: &[u8], actual: &[u8]) -> bool {
        match self.shape(expected) {
            Shape::Packets(expected) => self.packets_match(&expected, actual),
            Shape::Lines => lines(expected) == lines(actual) && first_word(expected) == first_word(actual),
            Shape::Bytes => expected == actual,
        }
    }

    fn packets_match(&self, expected: &[Frame<'_>], actual: &[u8]) -> bool {
        let (actual, rest) = frames(actual);
        let same = |expected: &Frame<'_>, actual: &Frame<'_>| {
            let value_matches = self.variable.is_some() || expected.value == actual.value;
            value_matches && same_except_value_and_cas(expected, actual)
        };
        let all_match = expected.iter().zip(&actual).all(|(expected, actual)| same(expected, actual));
        rest.is_empty() && expected.len() == actual.len() && all_match && same_cas_shift(expected, &actual)
    }

    fn shape<'a>(&self, reply: &'a [u8]) -> Shape<'a> {
        match (self.protocol, frames(reply)) {
            (Protocol::Binary, (packets, [])) if !packets.is_empty() => Shape::Packets(packets),
            _ if self.variable.is_some() => Shape::Lines,
            _ => Shape::Bytes,
        }
    }
}

/// The form in which a reply is compared.
enum Shape<'a> {
    Packets(Vec<Frame<'a>>),
    Lines,
    Bytes,
}

fn same_except_value_and_cas(expected: &Frame<'_>, actual: &Frame<'_>) -> bool {
    expected.header[..8] == actual.header[..8]
        && expected.opaque() == actual.opaque()
        && expected.extras_and_key == actual.extras_and_key
}

/// Returns whether all CAS values are shifted by the same amount. Zero, which means no CAS value, must stay zero.
fn same_cas_shift(expected: &[Frame<'_>], actual: &[Frame<'_>]) -> bool {
    let pairs = || expected.iter().zip(actual).map(|(expected, actual)| (expected.cas(), actual.cas()));
    let mut shifts =
        pairs().filter(|&(expected, _)| expected != 0).map(|(expected, actual)| actual.wrapping_sub(expected));
    let first = shifts.next();
    shifts.all(|shift| Some(shift) == first) && pairs().all(|(expected, actual)| (expected == 0) == (actual == 0))
}

/// Returns the end of a text, which distinguishes the last line from others.
fn tail(text: &[u8]) -> &[u8] {
    &text[text.len().saturating_sub(4)..]
}

fn lines(text: &[u8]) -> usize {
    text.iter().filter(|&&byte| byte == b'\n').count()
}

fn first_word(text: &[u8]) -> Option<&[u8]> {
    text.split(u8::is_ascii_whitespace).next()
}

#[cfg(test)]
mod tests {
    use super::super::vectors;
    use super::*;

    fn vector(name: &str) -> &'static Vector {
        vectors().iter().find(|it| it.name == name).expect("the vector exists")
    }

    fn check(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Result<(), String> {
        let mut reply = vector(name).reply.clone();
        change(&mut reply);
        let after = vector(name).after;
        vector(name).check(&Replayed { reply, after })
    }

    const STORED: &str = "bin/set_new";
    const VARIABLE: &str = "bin/version";

    #[test]
    fn the_cas_value_may_differ_but_not_be_missing() {
        assert_eq!(check(STORED, |reply| reply[23] += 1), Ok(()));
        assert!(check(STORED, |reply| reply[23] = 0).is_err());
    }

    #[test]
    fn status_opcode_and_opaque_must_match() {
        for at in [0, 1, 7, 15] {
            assert!(check(STORED, |reply| reply[at] ^= 1).is_err(), "byte {at}");
            assert!(check(VARIABLE, |reply| reply[at] ^= 1).is_err(), "byte {at}");
        }
    }

    #[test]
    fn only_a_variable_value_may_differ() {
        assert_eq!(check(VARIABLE, |reply| reply[28] ^= 1), Ok(()));
        assert!(check("bin/get_hit", |reply| *reply.last_mut().unwrap() ^= 1).is_err());
    }

    #[test]
    fn additional_or_missing_bytes_do_not_match() {
        assert!(check(STORED, |reply| reply.push(0)).is_err());
        assert!(check(STORED, |reply| reply.truncate(20)).is_err());
        assert!(check(STORED, Vec::clear).is_err());
    }

    #[test]
    fn cas_values_must_be_shifted_by_the_same_amount() {
        let two = |first: u64, second: u64| {
            let mut bytes = Vec::new();
            for cas in [first, second] {
                bytes.extend([0x81, 1]);
                bytes.extend([0; 14]);
                bytes.extend(cas.to_be_bytes());
            }
            bytes
        };
        let is_same = |expected: &[u8], actual: &[u8]| same_cas_shift(&frames(expected).0, &frames(actual).0);
        assert!(is_same(&two(1, 2), &two(7, 8)));
        assert!(!is_same(&two(1, 2), &two(7, 9)));
        assert!(is_same(&two(0, 2), &two(0, 1)));
        assert!(!is_same(&two(0, 2), &two(1, 3)));
    }
}
