//! Encoder for requests.

use crate::buffer::output::Output;
use crate::line::{self, WordBuffer};
use crate::types::error::InvalidRequest;
use crate::types::key::InvalidKey;
use crate::types::operation::Operation;
use crate::types::reply::Reply;
use crate::types::reply_shape::ReplyShape;
use crate::types::reply_shape::Shape;
use crate::types::request::Request;
use crate::types::ttl::Ttl;

/// Appends a request's bytes and returns the shape of its reply.
///
/// # Errors
/// [`InvalidRequest`] if the protocol cannot express the request; nothing is appended then.
pub fn encode(request: &Request<'_>, output: &mut Output) -> Result<ReplyShape, InvalidRequest> {
    if request.meta_options().is_some() || request.operation() == Operation::Debug {
        return Err(InvalidRequest::Unsupported("only the meta protocol supports this: use meta"));
    }
    match request.operation() {
        operation if operation.has_key() => encode_item(request, command(request), output),
        Operation::NoOp => {
            output.put(b"version\r\n");
            // The version was not requested.
            Ok(ReplyShape { shape: Shape::Bare, ..ReplyShape::new(Operation::Version) })
        }
        _ => encode_command(request, output),
    }
}

/// Like [`encode`], for a server that does not know `gets`.
pub(crate) fn encode_without_gets(request: &Request<'_>, output: &mut Output) -> Result<ReplyShape, InvalidRequest> {
    match request.operation() {
        Operation::Get if request.meta_options().is_none() => encode_item(request, b"get", output),
        _ => encode(request, output),
    }
}

/// Appends a request with a key.
fn encode_item(
    request: &Request<'_>,
    command: &'static [u8],
    output: &mut Output,
) -> Result<ReplyShape, InvalidRequest> {
    let operation = request.operation();
    check_condition(request)?;
    let key = line::checked_key(request.key()?.as_bytes())?;
    let (mut before, mut words) = (WordBuffer::new(), WordBuffer::new());
    match operation {
        Operation::GetAndTouch => before.number(line::seconds(request.ttl)?),
        Operation::Touch => words.number(line::seconds(request.ttl)?),
        Operation::Increment | Operation::Decrement => words.number(request.delta),
        _ if operation.has_value() => put_item(request, &mut words)?,
        _ => {}
    }
    words.end();
    output.put(command);
    output.put(before.as_slice());
    output.put(b" ");
    output.put(key);
    output.put(words.as_slice());
    if operation.has_value() {
        line::put_value(&request.value, output);
    }
    Ok(ReplyShape { returns_key: operation.is_fetch() && request.returns_key(), ..ReplyShape::new(operation) })
}

/// Returns the command of an operation on an item; a store with a CAS value is `cas`.
fn command(request: &Request<'_>) -> &'static [u8] {
    match request.operation() {
        Operation::GetAndTouch => b"gats",
        Operation::Set | Operation::Replace if request.cas != 0 => b"cas",
        Operation::Set => b"set",
        Operation::Add => b"add",
        Operation::Replace => b"replace",
        Operation::Append => b"append",
        Operation::Prepend => b"prepend",
        Operation::Delete => b"delete",
        Operation::Increment => b"incr",
        Operation::Decrement => b"decr",
        Operation::Touch => b"touch",
        _ => b"gets",
    }
}

/// Adds the command's name to the error of a server that does not know it.
pub(crate) fn name_unknown_command(operation: Operation, reply: &mut Reply) {
    let command = match operation {
        Operation::Get => "get",
        Operation::GetAndTouch => "gats",
        Operation::Touch => "touch",
        Operation::Delete => "delete",
        Operation::Increment => "incr",
        Operation::Decrement => "decr",
        Operation::Flush => "flush_all",
        Operation::Verbosity => "verbosity",
        Operation::Metadump => "lru_crawler metadump",
        Operation::Mgdump => "lru_crawler mgdump",
        Operation::Watch => "watch",
        Operation::Slabs => "slabs",
        Operation::Lru => "lru",
        Operation::LruCrawler => "lru_crawler",
        Operation::MemoryLimit => "cache_memlimit",
        Operation::ClusterConfig => "config get cluster",
        Operation::Shutdown => "shutdown",
        _ => return,
    };
    // A longer error may be more specific.
    if reply.value == "ERROR" {
        reply.value = format!("the server does not know the command {command}").into();
    }
}

/// Refuses CAS values that the protocol cannot express.
fn check_condition(request: &Request<'_>) -> Result<(), InvalidRequest> {
    let refusal = match request.operation() {
        Operation::Increment | Operation::Decrement if request.initial.is_some() => {
            "the text protocol cannot create counters: use meta or binary, or add the counter first"
        }
        _ if request.cas == 0 => return Ok(()),
        Operation::Add => "an add with a CAS value would ignore it: use set or replace with the CAS value",
        Operation::Append | Operation::Prepend | Operation::Delete | Operation::Increment | Operation::Decrement => {
            "on the text protocol only set and replace can have a CAS value: use meta or binary"
        }
        _ => return Ok(()),
    };
    Err(InvalidRequest::Unsupported(refusal))
}

/// Appends flags, TTL, length, and the CAS value.
fn put_item(request: &Request<'_>, words: &mut WordBuffer) -> Result<(), InvalidRequest> {
    let extends = matches!(request.operation(), Operation::Append | Operation::Prepend);
    let (flags, seconds) = if extends { (0, 0) } else { (request.flags, line::seconds(request.ttl)?) };
    words.number(u64::from(flags));
    words.number(seconds);
    words.number(request.value.len() as u64);
    if request.cas != 0 {
        words.number(request.cas);
    }
    Ok(())
}

/// Appends a request without a key, which is the same on the meta protocol.
pub(crate) fn encode_command(request: &Request<'_>, output: &mut Output) -> Result<ReplyShape, InvalidRequest> {
    let operation = request.operation();
    if request.meta_options().is_some() {
        return Err(InvalidRequest::Unsupported("meta options are for requests with a key"));
    }
    match operation {
        // A flush at a time before the server's start would have no effect.
        Operation::Flush if matches!(request.ttl, Ttl::Never | Ttl::Expired) => output.put(b"flush_all\r\n"),
        Operation::Flush => put_line(b"flush_all", Argument::Number(line::seconds(request.ttl)?), output),
        Operation::Version => output.put(b"version\r\n"),
        Operation::Verbosity => put_line(b"verbosity", Argument::Number(request.delta), output),
        Operation::Stat => put_line(b"stats", Argument::Words(statistics(request)?), output),
        Operation::Quit => output.put(b"quit\r\n"),
        Operation::Authenticate => put_credentials(request.value(), output)?,
        Operation::MemoryLimit => put_line(b"cache_memlimit", Argument::Number(request.delta), output),
        Operation::ClusterConfig => output.put(b"config get cluster\r\n"),
        Operation::Shutdown => output.put(b"shutdown\r\n"),
        _ => {
            let command = command_name(operation)?;
            put_line(command, Argument::Words(arguments(request)?), output);
        }
    }
    Ok(ReplyShape::new(operation))
}

/// Returns the command of an operation whose arguments are provided by the caller.
fn command_name(operation: Operation) -> Result<&'static [u8], InvalidRequest> {
    Ok(match operation {
        Operation::Metadump => b"lru_crawler metadump",
        Operation::Mgdump => b"lru_crawler mgdump",
        Operation::Watch => b"watch",
        Operation::Slabs => b"slabs",
        Operation::Lru => b"lru",
        Operation::LruCrawler => b"lru_crawler",
        _ => {
            return Err(InvalidRequest::Unsupported(
                "SASL is for the binary protocol: use binary, or a file of users on the text protocols",
            ));
        }
    })
}

fn arguments<'r>(request: &'r Request<'_>) -> Result<&'r [u8], InvalidRequest> {
    let words = line::checked_words(request.value())?;
    let first = line::words(words).next();
    if request.operation() == Operation::LruCrawler && matches!(first, Some(b"metadump" | b"mgdump")) {
        return Err(InvalidRequest::Unsupported("for dumps use Request::metadump or Request::mgdump"));
    }
    Ok(words)
}

enum Argument<'a> {
    Number(u64),
    Words(&'a [u8]),
}

fn put_line(command: &[u8], argument: Argument<'_>, output: &mut Output) {
    output.put(command);
    match argument {
        Argument::Number(number) => {
            output.put(b" ");
            output.put(line::Digits::of(number).as_slice());
        }
        Argument::Words([]) => {}
        Argument::Words(words) => {
            output.put(b" ");
            output.put(words);
        }
    }
    output.put(b"\r\n");
}

/// Checks a group of statistics; memcached 1.6.18 answers two of them without a last line.
fn statistics<'r>(request: &'r Request<'_>) -> Result<&'r [u8], InvalidRequest> {
    match request.key() {
        Err(InvalidKey::Empty) => Ok(&[]),
        Err(invalid) => Err(invalid.into()),
        Ok(group) if matches!(group.as_bytes(), b"sizes_enable" | b"sizes_disable") => {
            Err(InvalidRequest::Unsupported(
                "memcached does not terminate its reply for this group: start the server with -o track_sizes",
            ))
        }
        Ok(group) => line::checked_words(group.as_bytes()),
    }
}

/// Appends credentials, which are the value of a first `set` with any key; the server splits them at the first space
/// (docs/protocol.md 3.2).
fn put_credentials(credentials: &[u8], output: &mut Output) -> Result<(), InvalidRequest> {
    let (user, password) = line::split_word(credentials);
    let fits = !user.is_empty() && !password.is_empty() && credentials.len() <= MAX_CREDENTIALS;
    if !fits || credentials.iter().any(u8::is_ascii_control) {
        return Err(InvalidRequest::Unsupported(
            "a user has a name without spaces and a password, without control bytes and together at most 1024 bytes",
        ));
    }
    output.put(b"set auth 0 0 ");
    output.put(line::Digits::of(credentials.len() as u64).as_slice());
    output.put(b"\r\n");
    output.put(credentials);
    output.put(b"\r\n");
    Ok(())
}

/// Before authentication a server reads no more than 2,048 bytes of a request.
const MAX_CREDENTIALS: usize = 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Buf;

    use super::*;
    use crate::types::meta_options::MetaOptions;

    fn encoded_text(request: &Request<'_>) -> Result<String, InvalidRequest> {
        let mut output = Output::new();
        let encoded = encode(request, &mut output);
        let bytes = output.copy_to_bytes(output.remaining());
        assert_eq!(encoded.is_err(), bytes.is_empty(), "nothing of what is refused: {request:?}");
        encoded.map(|_| bytes.escape_ascii().to_string())
    }

    #[test]
    fn every_operation_has_its_command() {
        let ttl = Ttl::After(Duration::from_secs(60));
        for (request, expected) in [
            (Request::get("k"), r"gets k\r\n"),
            (Request::get("k").quiet().with_key(), r"gets k\r\n"),
            (Request::get_and_touch("k", ttl), r"gats 60 k\r\n"),
            (Request::touch("k", ttl), r"touch k 60\r\n"),
            (Request::set("k", "val").flags(5).ttl(ttl), r"set k 5 60 3\r\nval\r\n"),
            (Request::set("k", "val").cas(9).quiet(), r"cas k 0 0 3 9\r\nval\r\n"),
            (Request::replace("k", "val").cas(9), r"cas k 0 0 3 9\r\nval\r\n"),
            (Request::add("k", ""), r"add k 0 0 0\r\n\r\n"),
            (Request::replace("k", "v"), r"replace k 0 0 1\r\nv\r\n"),
            (Request::append("k", "v").flags(3), r"append k 0 0 1\r\nv\r\n"),
            (Request::prepend("k", "v"), r"prepend k 0 0 1\r\nv\r\n"),
            (Request::delete("k"), r"delete k\r\n"),
            (Request::increment("k", 5), r"incr k 5\r\n"),
            (Request::decrement("k", u64::MAX), r"decr k 18446744073709551615\r\n"),
            (Request::noop(), r"version\r\n"),
            (Request::version(), r"version\r\n"),
            (Request::verbosity(2), r"verbosity 2\r\n"),
            (Request::flush(), r"flush_all\r\n"),
            (Request::flush().ttl(ttl), r"flush_all 60\r\n"),
            (Request::stat(""), r"stats\r\n"),
            (Request::stat("cachedump 1 10"), r"stats cachedump 1 10\r\n"),
            (Request::quit(), r"quit\r\n"),
            (Request::authenticate("foo", "b a:r"), r"set auth 0 0 9\r\nfoo b a:r\r\n"),
            (Request::metadump("all"), r"lru_crawler metadump all\r\n"),
            (Request::mgdump("hash"), r"lru_crawler mgdump hash\r\n"),
            (Request::watch(""), r"watch\r\n"),
            (Request::watch("fetchers mutations"), r"watch fetchers mutations\r\n"),
            (Request::memory_limit(100), r"cache_memlimit 100\r\n"),
            (Request::slabs("automove 1"), r"slabs automove 1\r\n"),
            (Request::lru("mode flat"), r"lru mode flat\r\n"),
            (Request::lru_crawler("crawl all"), r"lru_crawler crawl all\r\n"),
            (Request::cluster_config(), r"config get cluster\r\n"),
            (Request::shutdown(), r"shutdown\r\n"),
        ] {
            assert_eq!(encoded_text(&request).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn inexpressible_requests_are_refused() {
        for request in [
            Request::get(""),
            Request::get("a b"),
            Request::get("a\r\nflush_all"),
            Request::set("\0", "v"),
            Request::set("a\x7f", "v"),
            Request::add("k", "v").cas(1),
            Request::append("k", "v").cas(1),
            Request::delete("k").cas(1),
            Request::increment("k", 1).cas(1),
            Request::increment("k", 1).initial(1),
            Request::get("k").meta(MetaOptions::default()),
            Request::debug("k"),
            Request::sasl_list(),
            Request::stat("sizes_disable"),
            Request::stat("items\r\nflush_all"),
            Request::slabs("automove 1\r\nflush_all"),
            Request::slabs("automove 1 noreply"),
            Request::lru_crawler("metadump all"),
            Request::watch("fetchers\n"),
            Request::authenticate("", "secret"),
            Request::authenticate("user", ""),
            Request::authenticate("user", "secret\r\nflush_all"),
        ] {
            encoded_text(&request).unwrap_err();
        }
    }
}
