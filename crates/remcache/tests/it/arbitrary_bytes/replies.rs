//! Arbitrary bytes as binary replies: the decoder never panics, and its result does not depend on how the input is
//! split.

use remcache::proto::binary::decode;
use remcache::proto::{InputBuffer, ProtocolError};

/// Decoded frames as text, and the error that ended decoding.
type Decoded = (Vec<String>, Option<ProtocolError>);

/// Decodes bytes; the first determines the length of the pieces.
pub(crate) fn run(data: &[u8]) {
    let Some((&piece, bytes)) = data.split_first() else { return };
    let whole = decode_in_pieces(bytes, bytes.len().max(1));
    let split = decode_in_pieces(bytes, usize::from(piece) + 1);
    assert_eq!(whole, split, "in pieces of {piece} + 1 bytes");
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

/// Fills the buffer as reads from a socket do: into its spare capacity.
fn fill(input: &mut InputBuffer, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let spare = input.spare_capacity();
        let room = spare.capacity() - spare.len();
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        spare.extend_from_slice(now);
        input.record_read(now.len());
        bytes = later;
    }
}

const MAX_BODY: usize = 1 << 16;
