//! Any bytes as replies of the protocols of lines: however they are split, the decoders give the same,
//! and never panic.

use remcache::proto::{Expected, InputBuffer, Operation, ProtocolError, meta, text};

/// What the decoder made of the bytes: the frames as text, and how it ended.
type Decoded = (Vec<String>, Option<ProtocolError>);

/// The first byte says what is expected, the second in which pieces the others come.
pub(crate) fn run(data: &[u8]) {
    let [choice, piece, bytes @ ..] = data else { return };
    let operation = OPERATIONS[usize::from(*choice) % OPERATIONS.len()];
    let expected = Expected::new(operation);
    let expected = if *choice > 127 { expected.with_or_without_value() } else { expected };
    for decode in [decode_meta, decode_text] {
        let whole = decode_in_pieces(bytes, bytes.len().max(1), expected, decode);
        let split = decode_in_pieces(bytes, usize::from(*piece) + 1, expected, decode);
        assert_eq!(whole, split, "{operation:?} in pieces of {piece} and one bytes");
    }
}

type Decode = fn(&mut InputBuffer, Expected) -> Result<Option<String>, ProtocolError>;

fn decode_meta(input: &mut InputBuffer, expected: Expected) -> Result<Option<String>, ProtocolError> {
    Ok(meta::decode(input, expected, MAX_VALUE)?.map(|frame| format!("{frame:?}")))
}

fn decode_text(input: &mut InputBuffer, expected: Expected) -> Result<Option<String>, ProtocolError> {
    let frame = text::decode(input, expected, MAX_VALUE)?;
    if let Some(frame) = &frame {
        // What is listed is cut further.
        let _ = text::MetadumpItem::parse(&frame.reply.value);
        let _ = text::LogLine::parse(&frame.reply.value).fields().count();
    }
    Ok(frame.map(|frame| format!("{frame:?}")))
}

fn decode_in_pieces(bytes: &[u8], length: usize, expected: Expected, decode: Decode) -> Decoded {
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
