//! Any bytes as replies: however they are split, the decoder gives the same, and never panics.

use remcache::proto::binary::decode;
use remcache::proto::{InputBuffer, ProtocolError};

/// What the decoder made of the bytes: the frames as text, and how it ended.
type Decoded = (Vec<String>, Option<ProtocolError>);

/// The first byte says in which pieces the others come.
pub(crate) fn run(data: &[u8]) {
    let Some((&piece, bytes)) = data.split_first() else { return };
    let whole = decode_in_pieces(bytes, bytes.len().max(1));
    let split = decode_in_pieces(bytes, usize::from(piece) + 1);
    assert_eq!(whole, split, "in pieces of {piece} and one bytes");
}

fn decode_in_pieces(bytes: &[u8], length: usize) -> Decoded {
    let mut input = InputBuffer::new();
    let mut frames = Vec::new();
    for piece in bytes.chunks(length) {
        fill(&mut input, piece);
        loop {
            match decode(&mut input, MAX_BODY) {
                Ok(Some(frame)) => frames.push(format!("{frame:?}")),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// Puts bytes in as a socket does: into the room that the buffer offers.
fn fill(input: &mut InputBuffer, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let spare = input.spare();
        let room = spare.capacity() - spare.len();
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        spare.extend_from_slice(now);
        input.filled(now.len());
        bytes = later;
    }
}

const MAX_BODY: usize = 1 << 16;
