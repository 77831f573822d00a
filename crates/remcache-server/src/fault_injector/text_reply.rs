//! Faults that change fields of text replies.

use bytes::Bytes;

/// The length that is announced instead of the real one.
const HUGE: &[u8] = b"4294967295";

/// Returns whether a reply belongs to the text protocol.
pub(super) fn is_text(reply: &[u8]) -> bool {
    reply.first() != Some(&0x81)
}

/// Returns the reply with a huge length in its first line. A reply that announces no length is unchanged.
pub(super) fn with_huge_length(reply: Bytes) -> Bytes {
    let length_index = match () {
        () if reply.starts_with(b"VALUE ") => 3,
        () if reply.starts_with(b"CONFIG ") => 3,
        () if reply.starts_with(b"VA ") => 1,
        () => return reply,
    };
    replace_word(&reply, |index, _| (index == length_index).then(|| HUGE.to_vec())).unwrap_or(reply)
}

/// Returns the reply with bits of its opaque flipped: of a decimal opaque as a number, of any other in its last byte.
/// A reply without an opaque is unchanged.
pub(super) fn with_wrong_opaque(reply: Bytes, xor: u32) -> Bytes {
    // Only meta replies have opaques. They start with a code of two letters.
    if !matches!(reply.get(2), Some(b' ')) {
        return reply;
    }
    let flip = |token: &[u8]| [b"O", &flip_bits(token, xor)[..]].concat();
    replace_word(&reply, |index, word| word.strip_prefix(b"O").filter(|_| index > 0).map(flip)).unwrap_or(reply)
}

fn flip_bits(token: &[u8], xor: u32) -> Vec<u8> {
    let number = std::str::from_utf8(token).ok().and_then(|digits| digits.parse::<u64>().ok());
    if let Some(number) = number {
        return (number ^ u64::from(xor)).to_string().into_bytes();
    }
    let [low, ..] = xor.to_le_bytes();
    let mut token = token.to_vec();
    match token.last_mut() {
        // A space or control byte would end the opaque.
        Some(last) if low != 0 && (*last ^ low).is_ascii_graphic() => *last ^= low,
        Some(last) => *last = if *last == b'x' { b'y' } else { b'x' },
        None => token.push(b'x'),
    }
    token
}

/// Replaces the first word of the first line for which `replacement` returns one. It is passed the word's index and
/// the word.
fn replace_word(reply: &[u8], replacement: impl Fn(usize, &[u8]) -> Option<Vec<u8>>) -> Option<Bytes> {
    let end = reply.windows(2).position(|pair| pair == b"\r\n")?;
    let (line, rest) = reply.split_at(end);
    let words = line.split(|byte| *byte == b' ').collect::<Vec<_>>();
    let (at, new) = words.iter().enumerate().find_map(|(at, word)| Some((at, replacement(at, word)?)))?;
    let changed = words.iter().enumerate().map(|(index, word)| if index == at { &new[..] } else { word });
    Some([&changed.collect::<Vec<_>>().join(&b' ')[..], rest].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl Fn(Bytes) -> Bytes, cases: &[(&'static str, &str)]) {
        for (reply, expected) in cases {
            let changed = change(Bytes::from_static(reply.as_bytes()));
            assert_eq!(changed.escape_ascii().to_string(), expected.as_bytes().escape_ascii().to_string(), "{reply:?}");
        }
    }

    #[test]
    fn lengths_become_huge() {
        let cases = [
            ("VALUE k 0 3\r\nval\r\nEND\r\n", "VALUE k 0 4294967295\r\nval\r\nEND\r\n"),
            ("VALUE k 0 3 7\r\nval\r\nEND\r\n", "VALUE k 0 4294967295 7\r\nval\r\nEND\r\n"),
            ("VA 3 t1\r\nval\r\n", "VA 4294967295 t1\r\nval\r\n"),
            ("CONFIG cluster 0 3\r\n1\na\r\nEND\r\n", "CONFIG cluster 0 4294967295\r\n1\na\r\nEND\r\n"),
            ("HD t1\r\n", "HD t1\r\n"),
            ("END\r\n", "END\r\n"),
        ];
        check(with_huge_length, &cases);
    }

    #[test]
    fn opaques_are_changed() {
        let cases = [
            ("HD O7 t1\r\n", "HD O6 t1\r\n"),
            ("VA 3 kO O10\r\nO1\r\r\n", "VA 3 kO O11\r\nO1\r\r\n"),
            ("EN Oabc\r\n", "EN Oabb\r\n"),
            ("EN O\r\n", "EN Ox\r\n"),
            ("EN O~~!\r\n", "EN O~~x\r\n"),
            ("HD\r\n", "HD\r\n"),
            ("VALUE Ok 0 1\r\nx\r\nEND\r\n", "VALUE Ok 0 1\r\nx\r\nEND\r\n"),
        ];
        check(|reply| with_wrong_opaque(reply, 1), &cases);
    }
}
