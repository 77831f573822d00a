//! Encoder for requests.

use crate::buffer::output::Output;
use crate::line::base64;
use crate::line::{self, WordBuffer};
use crate::text;
use crate::types::error::InvalidRequest;
use crate::types::key::InvalidKey;
use crate::types::meta_options::MetaOptions;
use crate::types::operation::Operation;
use crate::types::reply_shape::ReplyShape;
use crate::types::reply_shape::Shape;
use crate::types::request::Request;
use crate::types::version::ServerVersion;

/// Appends a request's bytes and returns the shape of its reply.
///
/// # Errors
/// [`InvalidRequest`] if the protocol cannot express the request; nothing is appended then.
#[inline]
pub fn encode(
    request: &Request<'_>,
    opaque: u32,
    server_version: ServerVersion,
    output: &mut Output,
) -> Result<ReplyShape, InvalidRequest> {
    if let Some(options) = request.meta_options() {
        options.check(request.operation(), server_version)?;
    }
    match request.operation() {
        Operation::NoOp => {
            output.put(b"mn\r\n");
            Ok(ReplyShape::NOOP)
        }
        operation => match verb(operation) {
            Some(verb) => encode_item(verb, request, opaque, output),
            None => text::encode_command(request, output),
        },
    }
}

/// The command of an operation on an item, and its mode.
struct Verb {
    name: &'static [u8],
    mode: Option<u8>,
}

#[inline]
fn verb(operation: Operation) -> Option<Verb> {
    let (name, mode): (&[u8], _) = match operation {
        Operation::Get | Operation::GetAndTouch | Operation::Touch => (b"mg ", None),
        Operation::Set => (b"ms ", None),
        Operation::Add => (b"ms ", Some(b'E')),
        Operation::Replace => (b"ms ", Some(b'R')),
        Operation::Append => (b"ms ", Some(b'A')),
        Operation::Prepend => (b"ms ", Some(b'P')),
        Operation::Delete => (b"md ", None),
        Operation::Increment => (b"ma ", None),
        Operation::Decrement => (b"ma ", Some(b'D')),
        Operation::Debug => (b"me ", None),
        _ => return None,
    };
    Some(Verb { name, mode })
}

#[inline]
fn encode_item(
    verb: Verb,
    request: &Request<'_>,
    opaque: u32,
    output: &mut Output,
) -> Result<ReplyShape, InvalidRequest> {
    let operation = request.operation();
    let key = request.key()?.as_bytes();
    let encoded = encoded_key(key)?;
    let mut words = WordBuffer::new();
    if operation.has_value() {
        words.number(request.value.len() as u64);
    }
    if encoded.is_some() {
        words.flag(b'b');
    }
    if let Some(mode) = verb.mode {
        words.flag(b'M');
        words.letter(mode);
    }
    let expected = put_flags(request, opaque, &mut words, encoded.is_some())?;
    output.put(verb.name);
    output.put(encoded.as_ref().map_or(key, base64::EncodedKey::as_slice));
    output.put(words.as_slice());
    if operation.has_value() {
        line::put_value(&request.value, output);
    }
    Ok(expected)
}

/// Returns whether the reply to a fetch needs its key, but the server cannot return it reliably: it encodes the key of
/// an item in base64 only if the item was stored so, and not if it was stored on the binary protocol
/// (docs/protocol.md 4.3).
#[inline]
pub(crate) fn cannot_return_key(request: &Request<'_>) -> bool {
    request.returns_key()
        && request.operation().is_fetch()
        && request.key().is_ok_and(|key| !line::is_printable(key.as_bytes()))
}

/// Encodes the key in base64, if necessary.
#[inline]
fn encoded_key(key: &[u8]) -> Result<Option<base64::EncodedKey>, InvalidRequest> {
    if line::is_printable(key) {
        return Ok(None);
    }
    match base64::EncodedKey::of(key) {
        Some(encoded) => Ok(Some(encoded)),
        None => Err(InvalidKey::TooLongEncoded(key.len()).into()),
    }
}

/// Appends a command's flags and line end; they request the same reply fields as on the binary protocol.
fn put_flags(
    request: &Request<'_>,
    opaque: u32,
    words: &mut WordBuffer,
    in_base64: bool,
) -> Result<ReplyShape, InvalidRequest> {
    let operation = request.operation();
    let options = request.meta_options();
    let mut expected = ReplyShape::new(operation);
    match operation {
        Operation::Get => put_fetch(options, words, &mut expected),
        Operation::GetAndTouch => {
            words.numbered(b'T', line::seconds(request.ttl)?);
            put_fetch(options, words, &mut expected);
        }
        Operation::Touch => {
            words.numbered(b'T', line::seconds(request.ttl)?);
            words.flag(b'f');
            words.flag(b'c');
        }
        Operation::Set | Operation::Add | Operation::Replace => put_store(request, words)?,
        Operation::Append | Operation::Prepend => put_condition(request, words),
        Operation::Delete => put_condition(request, words),
        Operation::Increment | Operation::Decrement => put_counter(request, words)?,
        // Debug takes a single flag, which some versions expect twice (docs/protocol.md 4.4).
        _ => {
            if in_base64 {
                words.flag(b'b');
            }
            words.end();
            return Ok(expected);
        }
    }
    if operation != Operation::Delete && !operation.is_fetch() && operation != Operation::Touch {
        words.flag(b'c');
    }
    if let Some(options) = options {
        put_options(options, words)?;
    }
    if operation.is_fetch() && request.returns_key() {
        // A key in base64 is restored from the pending request instead.
        if !in_base64 {
            words.flag(b'k');
        }
        expected.returns_key = true;
    }
    // As on the binary protocol, a touch has no quiet form.
    if request.is_quiet() && operation != Operation::Touch {
        words.flag(b'q');
        expected.quiet = true;
    }
    words.end_with_opaque(opaque);
    Ok(expected)
}

fn put_fetch(options: Option<&MetaOptions>, words: &mut WordBuffer, expected: &mut ReplyShape) {
    expected.shape = match options {
        Some(options) if options.without_value => Shape::Bare,
        Some(options) if options.omit_value_if_cas.is_some() => Shape::Either,
        _ => Shape::Value,
    };
    words.words(if expected.shape == Shape::Bare { b" f c" } else { b" v f c" });
}

fn put_store(request: &Request<'_>, words: &mut WordBuffer) -> Result<(), InvalidRequest> {
    if request.operation() == Operation::Add && request.cas != 0 {
        return Err(InvalidRequest::Unsupported(
            "an add with a CAS value would ignore it: use set or replace with the CAS value",
        ));
    }
    if request.flags != 0 {
        words.numbered(b'F', u64::from(request.flags));
    }
    match line::seconds(request.ttl)? {
        0 => {}
        seconds => words.numbered(b'T', seconds),
    }
    put_condition(request, words);
    Ok(())
}

/// Appends the CAS value of a conditional request; 0 means no condition, but would be one to the server.
fn put_condition(request: &Request<'_>, words: &mut WordBuffer) {
    if request.cas != 0 {
        words.numbered(b'C', request.cas);
    }
}

fn put_counter(request: &Request<'_>, words: &mut WordBuffer) -> Result<(), InvalidRequest> {
    words.numbered(b'D', request.delta);
    if let Some(initial) = request.initial {
        words.numbered(b'N', line::seconds(request.ttl)?);
        words.numbered(b'J', initial);
    }
    put_condition(request, words);
    words.flag(b'v');
    Ok(())
}

/// Appends the options. Flags take effect in order, so the one that changes the TTL comes before the one that returns
/// it.
fn put_options(options: &MetaOptions, words: &mut WordBuffer) -> Result<(), InvalidRequest> {
    let times = [(b'N', options.vivify), (b'T', options.update_ttl)];
    for (letter, ttl) in times {
        if let Some(ttl) = ttl {
            words.numbered(letter, line::seconds(ttl)?);
        }
    }
    if let Some(recache) = options.recache {
        words.numbered(b'R', recache.as_secs().min(i32::MAX as u64));
    }
    for (letter, cas) in [(b'E', options.new_cas), (b'C', options.omit_value_if_cas)] {
        if let Some(cas) = cas {
            words.numbered(letter, cas);
        }
    }
    for (letter, is_asked) in [
        (b'I', options.stale),
        (b'x', options.remove_value),
        (b'u', options.no_bump),
        (b't', options.return_ttl),
        (b'l', options.return_last_access),
        (b'h', options.return_fetched),
        (b's', options.return_size),
    ] {
        if is_asked {
            words.flag(letter);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::{Buf, Bytes};

    use super::*;
    use crate::types::ttl::Ttl;

    fn encoded_text(request: &Request<'_>) -> Result<String, InvalidRequest> {
        let mut output = Output::new();
        encode(request, 7, ServerVersion::parse("1.6.45"), &mut output)?;
        Ok(output.copy_to_bytes(output.remaining()).escape_ascii().to_string())
    }

    #[track_caller]
    fn check(request: &Request<'_>, expected: &str) {
        assert_eq!(encoded_text(request).unwrap(), expected.replace("O7", "O00000007"));
    }

    fn with(change: impl FnOnce(&mut MetaOptions)) -> MetaOptions {
        let mut options = MetaOptions::default();
        change(&mut options);
        options
    }

    #[test]
    fn meta_requests_ask_for_the_fields_of_binary_replies() {
        let ttl = Ttl::After(Duration::from_secs(60));
        check(&Request::get("k"), "mg k v f c O7\\r\\n");
        check(&Request::get("k").quiet().with_key(), "mg k v f c k q O7\\r\\n");
        check(&Request::get_and_touch("k", ttl), "mg k T60 v f c O7\\r\\n");
        check(&Request::touch("k", ttl).quiet(), "mg k T60 f c O7\\r\\n");
        check(&Request::set("k", "val"), "ms k 3 c O7\\r\\nval\\r\\n");
        check(&Request::set("k", "").flags(5).ttl(ttl).cas(9).quiet(), "ms k 0 F5 T60 C9 c q O7\\r\\n\\r\\n");
        check(&Request::add("k", "v"), "ms k 1 ME c O7\\r\\nv\\r\\n");
        check(&Request::replace("k", "v"), "ms k 1 MR c O7\\r\\nv\\r\\n");
        check(&Request::append("k", "v").cas(9), "ms k 1 MA C9 c O7\\r\\nv\\r\\n");
        check(&Request::prepend("k", "v"), "ms k 1 MP c O7\\r\\nv\\r\\n");
        check(&Request::delete("k").cas(9).quiet(), "md k C9 q O7\\r\\n");
        check(&Request::increment("k", 2), "ma k D2 v c O7\\r\\n");
        check(&Request::decrement("k", 2).initial(5).ttl(ttl), "ma k MD D2 N60 J5 v c O7\\r\\n");
        check(&Request::noop(), "mn\\r\\n");
        check(&Request::version(), "version\\r\\n");
    }

    #[test]
    fn keys_that_are_not_words_are_sent_in_base64() {
        check(&Request::get(b"\x00\x01\xff bin"), "mg AAH/IGJpbg== b v f c O7\\r\\n");
        check(&Request::set("a b", "v"), "ms YSBi 1 b c O7\\r\\nv\\r\\n");
        check(&Request::get("a b").with_key(), "mg YSBi b v f c O7\\r\\n");
        check(&Request::debug("a b"), "me YSBi b b\\r\\n");
        check(&Request::get("\u{43a}"), r"mg \xd0\xba v f c O7\r\n");
        assert!(encoded_text(&Request::get(vec![b' '; 186])).is_ok());
        let error = encoded_text(&Request::get(vec![b' '; 187])).unwrap_err();
        assert_eq!(error, InvalidRequest::Key(InvalidKey::TooLongEncoded(187)));
        assert!(encoded_text(&Request::get(vec![b'k'; 250])).is_ok());
    }

    #[test]
    fn optional_flags_follow_the_fixed_ones() {
        let lease =
            with(|it| (it.vivify, it.recache) = (Some(Duration::from_secs(30).into()), Some(Duration::from_secs(5))));
        check(&Request::get("k").meta(lease), "mg k v f c N30 R5 O7\\r\\n");
        check(&Request::inspect("k"), "mg k f c u t l h s O7\\r\\n");
        let stale = with(|it| (it.stale, it.update_ttl) = (true, Some(Duration::from_secs(30).into())));
        check(&Request::delete("k").meta(stale), "md k T30 I O7\\r\\n");
        check(&Request::set("k", "v").cas(3).meta(with(|it| it.stale = true)), "ms k 1 C3 c I O7\\r\\nv\\r\\n");
        let vivify = with(|it| it.vivify = Some(Ttl::Never));
        check(&Request::append("k", "v").meta(vivify), "ms k 1 MA c N0 O7\\r\\nv\\r\\n");
        let options = with(|it| (it.update_ttl, it.return_ttl) = (Some(Duration::from_secs(9).into()), true));
        check(&Request::increment("k", 1).meta(options), "ma k D1 v c T9 t O7\\r\\n");
    }

    #[test]
    fn inexpressible_requests_are_refused_and_append_nothing() {
        for request in [
            Request::get(""),
            Request::add("k", "v").cas(1),
            Request::set("k", "v").ttl(Duration::ZERO),
            Request::sasl_list(),
            Request::sasl_auth("PLAIN", "x"),
            Request::stat("sizes_enable"),
            Request::delete("k").meta(with(|it| it.without_value = true)),
            Request::version().meta(MetaOptions::default()),
        ] {
            let mut output = Output::new();
            encode(&request, 7, ServerVersion::default(), &mut output).unwrap_err();
            assert_eq!(output.remaining(), 0, "{request:?}");
        }
    }

    #[test]
    fn the_longest_flags_have_room() {
        let far = Ttl::At(std::time::UNIX_EPOCH + Duration::from_secs(i32::MAX as u64));
        let all = MetaOptions {
            vivify: Some(far),
            recache: Some(Duration::MAX),
            new_cas: Some(u64::MAX),
            omit_value_if_cas: Some(u64::MAX),
            ..MetaOptions::inspection()
        };
        let fetch =
            Request::get_and_touch("a b", far).quiet().with_key().meta(MetaOptions { without_value: false, ..all });
        assert!(encoded_text(&fetch).unwrap().ends_with("q O00000007\\r\\n"));
        let counter =
            MetaOptions { update_ttl: Some(far), return_ttl: true, new_cas: Some(u64::MAX), ..MetaOptions::default() };
        let count = Request::decrement("a b", u64::MAX).initial(u64::MAX).ttl(far).cas(u64::MAX).quiet().meta(counter);
        assert!(encoded_text(&count).unwrap().ends_with("q O00000007\\r\\n"));
    }

    #[test]
    fn large_values_are_not_copied() {
        let value = Bytes::from(vec![b'v'; Output::MIN_SHARED_LEN]);
        let mut output = Output::new();
        encode(&Request::set("k", &value), 7, ServerVersion::default(), &mut output).unwrap();
        assert_eq!(output.small(), b"ms k 4096 c O00000007\r\n\r\n");
    }
}
