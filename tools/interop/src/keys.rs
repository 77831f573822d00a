//! Random keys with all bytes that a client supports.

use std::collections::HashSet;

use fastrand::Rng;

use crate::KeyBytes;

/// Returns `count` different keys of 1 to 250 bytes.
#[must_use]
pub fn random(kind: KeyBytes, count: usize, random: &mut Rng) -> Vec<Vec<u8>> {
    let mut seen = HashSet::new();
    std::iter::repeat_with(|| key(kind, random)).filter(|key| seen.insert(key.clone())).take(count).collect()
}

/// Returns a key: most are short, some have the maximum length.
fn key(kind: KeyBytes, random: &mut Rng) -> Vec<u8> {
    let longest = if kind == KeyBytes::Short { SHORT } else { LONGEST };
    let length = match random.u8(..) {
        0..8 => longest,
        8..64 => random.usize(1..=longest),
        64.. => random.usize(1..=32),
    };
    match kind {
        KeyBytes::Any => bytes(length, |_| true, random),
        KeyBytes::Line => bytes(length, |byte| byte != b'\n', random),
        KeyBytes::Visible => bytes(length, is_visible, random),
        KeyBytes::Tagged => with_braces(bytes(length, is_visible, random), random),
        KeyBytes::Ascii | KeyBytes::Short => bytes(length, |byte| is_visible(byte) && byte.is_ascii(), random),
        KeyBytes::Text => text(length, random).into_bytes(),
        KeyBytes::Dollarless => text(length, random).replace('$', "S").into_bytes(),
    }
}

fn bytes(length: usize, allowed: fn(u8) -> bool, random: &mut Rng) -> Vec<u8> {
    std::iter::repeat_with(|| random.u8(..)).filter(|&byte| allowed(byte)).take(length).collect()
}

/// Replaces up to four bytes of a key with braces.
fn with_braces(mut key: Vec<u8>, random: &mut Rng) -> Vec<u8> {
    for _ in 0..random.usize(..=4) {
        let index = random.usize(..key.len());
        key[index] = if random.bool() { b'{' } else { b'}' };
    }
    key
}

fn is_visible(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f
}

/// Returns text of at most `length` bytes; half of the texts are ASCII only.
fn text(length: usize, random: &mut Rng) -> String {
    let scripts = if random.bool() { &SCRIPTS[..1] } else { SCRIPTS };
    let mut text = String::new();
    loop {
        let script = &scripts[random.usize(..scripts.len())];
        let character = random.char(script.clone());
        if !text.is_empty() && text.len() + character.len_utf8() > length {
            return text;
        }
        text.push(character);
    }
}

/// Characters of one, two, three and four bytes; none of them is a space or a control character.
const SCRIPTS: &[std::ops::RangeInclusive<char>] =
    &['!'..='~', 'à'..='ÿ', 'Α'..='Ρ', '一'..='鿌', '\u{1f300}'..='\u{1f64f}'];
const LONGEST: usize = 250;
const SHORT: usize = 186;

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [KeyBytes; 8] = [
        KeyBytes::Any,
        KeyBytes::Line,
        KeyBytes::Visible,
        KeyBytes::Tagged,
        KeyBytes::Text,
        KeyBytes::Dollarless,
        KeyBytes::Ascii,
        KeyBytes::Short,
    ];

    #[test]
    fn keys_have_the_lengths_and_the_bytes_of_their_kind() {
        for kind in KINDS {
            let keys = random(kind, 5000, &mut Rng::with_seed(1));
            assert_eq!(keys.len(), 5000);
            for key in &keys {
                assert!((1..=LONGEST).contains(&key.len()));
                assert!(kind == KeyBytes::Any || kind == KeyBytes::Line || key.iter().copied().all(is_visible));
                assert!(kind != KeyBytes::Text || std::str::from_utf8(key).is_ok());
                assert!(kind != KeyBytes::Dollarless || std::str::from_utf8(key).is_ok_and(|text| !text.contains('$')));
            }
            let longest = if kind == KeyBytes::Short { SHORT } else { LONGEST };
            assert!(keys.iter().any(|key| key.len() == 1));
            assert_eq!(keys.iter().map(Vec::len).max(), Some(longest));
            let is_ascii = keys.iter().all(|key| key.is_ascii());
            assert_eq!(is_ascii, kind == KeyBytes::Ascii || kind == KeyBytes::Short);
        }
    }
}
