//! Whether what a server did is what a vector says.

use super::frames::{Frame, frames};
use super::{After, Outcome, Protocol, Replayed, Vector};

impl Vector {
    /// Whether a server did what 1.6.18 or 1.6.45 do.
    ///
    /// CAS numbers may be higher or lower by the same amount throughout, because servers start to
    /// count at different numbers; a part that is said to vary may be another one.
    ///
    /// # Errors
    /// What was expected and what came.
    pub fn check(&self, replayed: &Replayed) -> Result<(), String> {
        let fits = |outcome: &Outcome| {
            let after_fits = outcome.after == After::OutOfStep || outcome.after == replayed.after;
            after_fits && self.reply_fits(&outcome.reply, &replayed.reply)
        };
        if self.outcomes().any(|outcome| fits(&outcome)) {
            return Ok(());
        }
        Err(format!(
            "{}\n  wanted {:?} {}\n  got    {:?} {}",
            self.name,
            self.after,
            self.reply.escape_ascii(),
            replayed.after,
            replayed.reply.escape_ascii(),
        ))
    }

    /// Whether this many bytes can be the whole reply: there may be more to come.
    pub(super) fn may_be_complete(&self, got: &[u8]) -> bool {
        self.outcomes().any(|outcome| {
            let wanted = outcome.reply;
            match self.shape(&wanted) {
                Shape::Packets(packets) => frames(got).0.len() >= packets.len(),
                Shape::Lines => lines(got) >= lines(&wanted),
                Shape::Bytes => got.len() >= wanted.len() && got.ends_with(tail(&wanted)),
            }
        })
    }

    fn reply_fits(&self, wanted: &[u8], got: &[u8]) -> bool {
        match self.shape(wanted) {
            Shape::Packets(wanted) => self.packets_fit(&wanted, got),
            Shape::Lines => lines(wanted) == lines(got) && first_word(wanted) == first_word(got),
            Shape::Bytes => wanted == got,
        }
    }

    fn packets_fit(&self, wanted: &[Frame<'_>], got: &[u8]) -> bool {
        let (got, rest) = frames(got);
        let same = |wanted: &Frame<'_>, got: &Frame<'_>| {
            let value_fits = self.variable.is_some() || wanted.value == got.value;
            value_fits && same_but_for_value_and_cas(wanted, got)
        };
        let fit = wanted.iter().zip(&got).all(|(wanted, got)| same(wanted, got));
        rest.is_empty() && wanted.len() == got.len() && fit && same_cas_counting(wanted, &got)
    }

    fn shape<'a>(&self, reply: &'a [u8]) -> Shape<'a> {
        match (self.protocol, frames(reply)) {
            (Protocol::Binary, (packets, [])) if !packets.is_empty() => Shape::Packets(packets),
            _ if self.variable.is_some() => Shape::Lines,
            _ => Shape::Bytes,
        }
    }
}

/// As what a reply is compared.
enum Shape<'a> {
    Packets(Vec<Frame<'a>>),
    Lines,
    Bytes,
}

fn same_but_for_value_and_cas(wanted: &Frame<'_>, got: &Frame<'_>) -> bool {
    wanted.header[..8] == got.header[..8]
        && wanted.opaque() == got.opaque()
        && wanted.extras_and_key == got.extras_and_key
}

/// Whether all CAS numbers differ by the same amount, and zero (none) stays zero.
fn same_cas_counting(wanted: &[Frame<'_>], got: &[Frame<'_>]) -> bool {
    let pairs = || wanted.iter().zip(got).map(|(wanted, got)| (wanted.cas(), got.cas()));
    let mut shifts = pairs().filter(|&(wanted, _)| wanted != 0).map(|(wanted, got)| got.wrapping_sub(wanted));
    let first = shifts.next();
    shifts.all(|shift| Some(shift) == first) && pairs().all(|(wanted, got)| (wanted == 0) == (got == 0))
}

/// The end of a text: enough to tell a line that is the last from one that is not.
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
        vectors().iter().find(|it| it.name == name).expect("the vector is there")
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
    fn another_cas_number_fits_but_not_none() {
        assert_eq!(check(STORED, |reply| reply[23] += 1), Ok(()));
        assert!(check(STORED, |reply| reply[23] = 0).is_err());
    }

    #[test]
    fn another_status_opcode_or_opaque_does_not_fit() {
        for at in [0, 1, 7, 15] {
            assert!(check(STORED, |reply| reply[at] ^= 1).is_err(), "byte {at}");
            assert!(check(VARIABLE, |reply| reply[at] ^= 1).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_value_may_differ_only_where_it_varies() {
        assert_eq!(check(VARIABLE, |reply| reply[28] ^= 1), Ok(()));
        assert!(check("bin/get_hit", |reply| *reply.last_mut().unwrap() ^= 1).is_err());
    }

    #[test]
    fn more_or_fewer_bytes_do_not_fit() {
        assert!(check(STORED, |reply| reply.push(0)).is_err());
        assert!(check(STORED, |reply| reply.truncate(20)).is_err());
        assert!(check(STORED, Vec::clear).is_err());
    }

    #[test]
    fn cas_numbers_have_to_count_alike() {
        let two = |first: u64, second: u64| {
            let mut bytes = Vec::new();
            for cas in [first, second] {
                bytes.extend([0x81, 1]);
                bytes.extend([0; 14]);
                bytes.extend(cas.to_be_bytes());
            }
            bytes
        };
        let alike = |wanted: &[u8], got: &[u8]| same_cas_counting(&frames(wanted).0, &frames(got).0);
        assert!(alike(&two(1, 2), &two(7, 8)));
        assert!(!alike(&two(1, 2), &two(7, 9)));
        assert!(alike(&two(0, 2), &two(0, 1)));
        assert!(!alike(&two(0, 2), &two(1, 3)));
    }
}
