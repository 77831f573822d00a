//! Replies of the text wire, changed on order.

use bytes::Bytes;

/// The length that is announced instead of the true one.
const HUGE: &[u8] = b"4294967295";

/// Whether a reply is one of the text wire.
pub(super) fn is_text(reply: &[u8]) -> bool {
    reply.first() != Some(&0x81)
}

/// The reply with another length in its first line; one that announces none stays as it is.
pub(super) fn with_huge_length(reply: Bytes) -> Bytes {
    let place = match () {
        () if reply.starts_with(b"VALUE ") => 3,
        () if reply.starts_with(b"CONFIG ") => 3,
        () if reply.starts_with(b"VA ") => 1,
        () => return reply,
    };
    replaced(&reply, |at, _| (at == place).then(|| HUGE.to_vec())).unwrap_or(reply)
}

/// The reply with these bits of its opaque turned, as far as an opaque stays one: of a decimal
/// number as a number, of another one in its last byte. A reply without an opaque stays as it is.
pub(super) fn with_wrong_opaque(reply: Bytes, xor: u32) -> Bytes {
    // Only meta's replies begin with two letters and have opaques.
    if !matches!(reply.get(2), Some(b' ')) {
        return reply;
    }
    let turned = |token: &[u8]| [b"O", &turned(token, xor)[..]].concat();
    replaced(&reply, |at, word| word.strip_prefix(b"O").filter(|_| at > 0).map(turned)).unwrap_or(reply)
}

fn turned(token: &[u8], xor: u32) -> Vec<u8> {
    let number = std::str::from_utf8(token).ok().and_then(|digits| digits.parse::<u64>().ok());
    if let Some(number) = number {
        return (number ^ u64::from(xor)).to_string().into_bytes();
    }
    let [low, ..] = xor.to_le_bytes();
    let mut token = token.to_vec();
    match token.last_mut() {
        // Neither a space nor a control byte, which would end the opaque.
        Some(last) if low != 0 && (*last ^ low).is_ascii_graphic() => *last ^= low,
        Some(last) => *last = if *last == b'x' { b'y' } else { b'x' },
        None => token.push(b'x'),
    }
    token
}

/// The reply with the first word of its first line replaced for which there is another.
fn replaced(reply: &[u8], other: impl Fn(usize, &[u8]) -> Option<Vec<u8>>) -> Option<Bytes> {
    let end = reply.windows(2).position(|pair| pair == b"\r\n")?;
    let (line, rest) = reply.split_at(end);
    let words = line.split(|byte| *byte == b' ').collect::<Vec<_>>();
    let (at, new) = words.iter().enumerate().find_map(|(at, word)| Some((at, other(at, word)?)))?;
    let changed = words.iter().enumerate().map(|(place, word)| if place == at { &new[..] } else { word });
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
    fn opaques_become_others() {
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
