//! Arbitrary bytes as replies of the meta and text protocols: the decoders never panic, and their result does not
//! depend on how the input is split.

use remcache::proto::{InputBuffer, Operation, ProtocolError, ReplyShape, meta, text};

/// Decoded frames as text, and the error that ended decoding.
type Decoded = (Vec<String>, Option<ProtocolError>);

/// Decodes bytes: the first selects the operation, the second the length of the pieces of the rest.
pub(crate) fn run(data: &[u8]) {
    let [choice, piece, bytes @ ..] = data else { return };
    let operation = OPERATIONS[usize::from(*choice) % OPERATIONS.len()];
    let expected = ReplyShape::new(operation);
    let expected = if *choice > 127 { expected.with_or_without_value() } else { expected };
    for decode in [decode_meta, decode_text] {
        let whole = decode_in_pieces(bytes, bytes.len().max(1), expected, decode);
        let split = decode_in_pieces(bytes, usize::from(*piece) + 1, expected, decode);
        assert_eq!(whole, split, "{operation:?} in pieces of {piece} + 1 bytes");
    }
}

type Decode = fn(&mut InputBuffer, ReplyShape) -> Result<Option<String>, ProtocolError>;

fn decode_meta(input: &mut InputBuffer, expected: ReplyShape) -> Result<Option<String>, ProtocolError> {
    Ok(meta::decode(input, expected, MAX_VALUE)?.map(|frame| format!("{frame:?}")))
}

fn decode_text(input: &mut InputBuffer, expected: ReplyShape) -> Result<Option<String>, ProtocolError> {
    let frame = text::decode(input, expected, MAX_VALUE)?;
    if let Some(frame) = &frame {
        // Listed items and log lines are parsed further.
        let _ = text::MetadumpItem::parse(&frame.reply.value);
        let _ = text::LogLine::parse(&frame.reply.value).fields().count();
    }
    Ok(frame.map(|frame| format!("{frame:?}")))
}

fn decode_in_pieces(bytes: &[u8], length: usize, expected: ReplyShape, decode: Decode) -> Decoded {
    let mut input = InputBuffer::new();
    let mut frames = Vec::new();
    for piece in bytes.chunks(length) {
        input.extend(piece);
        loop {
            match decode(&mut input, expected) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

const OPERATIONS: &[Operation] = &[
    Operation::Get,
    Operation::GetAndTouch,
    Operation::Set,
    Operation::Add,
    Operation::Append,
    Operation::Delete,
    Operation::Increment,
    Operation::Touch,
    Operation::NoOp,
    Operation::Version,
    Operation::Stat,
    Operation::Debug,
    Operation::Metadump,
    Operation::Mgdump,
    Operation::Watch,
    Operation::ClusterConfig,
    Operation::Authenticate,
    Operation::Slabs,
];

const MAX_VALUE: usize = 1 << 16;
