//! Test vectors of the meta and text protocols, recorded from real servers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Buf;
use remcache::Status;
use remcache::proto::{
    InputBuffer, MetaOptions, Operation, Output, ProtocolError, Reply, ReplyShape, Request, ServerVersion, Ttl, meta,
    text,
};
use remcache_testkit::vectors::{Protocol, Vector, vectors};

fn line_vectors() -> impl Iterator<Item = &'static Vector> {
    vectors().iter().filter(|it| it.protocol != Protocol::Binary)
}

/// A command of a request: the tokens of its line, and the data after it.
#[derive(Debug)]
struct Command {
    tokens: Vec<String>,
    data: Option<Vec<u8>>,
    /// The bytes of the command.
    bytes: Vec<u8>,
}

/// Splits a request into commands, as a server does; bytes that are not text are decoded as Latin-1.
fn commands(mut bytes: &[u8]) -> Vec<Command> {
    let mut commands = Vec::new();
    while !bytes.is_empty() {
        let line = bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |end| end + 1);
        let (text, rest) = bytes.split_at(line);
        let latin1: String = text.iter().map(|&byte| char::from(byte)).collect();
        let tokens: Vec<String> =
            latin1.trim_end().split(' ').filter(|token| !token.is_empty()).map(str::to_owned).collect();
        let at = match tokens.first().map(String::as_str) {
            Some("ms") => Some(2),
            Some("set" | "add" | "replace" | "append" | "prepend" | "cas") => Some(4),
            _ => None,
        };
        let length = at.and_then(|at| tokens.get(at)).and_then(|token| token.parse::<usize>().ok());
        let data = length.and_then(|length| rest.get(..length)).map(<[u8]>::to_vec);
        let whole = line + data.as_ref().map_or(0, |data| data.len() + 2).min(rest.len());
        commands.push(Command { tokens, data, bytes: bytes[..whole].to_vec() });
        bytes = &bytes[whole..];
    }
    commands
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).expect("latin1")).collect()
}

impl Command {
    fn name(&self) -> &str {
        self.tokens.first().map_or("", String::as_str)
    }

    fn operation(&self) -> Operation {
        let has = |flag: &str| self.tokens.iter().skip(2).any(|token| token == flag);
        match self.name() {
            "mn" => Operation::NoOp,
            "mg" | "get" | "gets" | "bget" => Operation::Get,
            "gat" | "gats" => Operation::GetAndTouch,
            "ms" if has("ME") => Operation::Add,
            "ms" if has("MR") => Operation::Replace,
            "ms" if has("MA") => Operation::Append,
            "ms" if has("MP") => Operation::Prepend,
            "ms" | "set" | "cas" => Operation::Set,
            "md" | "delete" => Operation::Delete,
            "ma" if has("MD") || has("M-") => Operation::Decrement,
            "ma" | "incr" => Operation::Increment,
            "me" => Operation::Debug,
            "add" => Operation::Add,
            "replace" => Operation::Replace,
            "append" => Operation::Append,
            "prepend" => Operation::Prepend,
            "decr" => Operation::Decrement,
            "touch" => Operation::Touch,
            "version" => Operation::Version,
            "verbosity" => Operation::Verbosity,
            "flush_all" => Operation::Flush,
            "stats" => Operation::Stat,
            "quit" => Operation::Quit,
            "cache_memlimit" => Operation::MemoryLimit,
            "lru_crawler" => match self.tokens.get(1).map(String::as_str) {
                Some("metadump") => Operation::Metadump,
                Some("mgdump") => Operation::Mgdump,
                _ => Operation::LruCrawler,
            },
            "lru" => Operation::Lru,
            "slabs" => Operation::Slabs,
            "watch" => Operation::Watch,
            "config" => Operation::ClusterConfig,
            "shutdown" => Operation::Shutdown,
            // Anything is refused alike.
            _ => Operation::Verbosity,
        }
    }

    fn is_quiet(&self) -> bool {
        let is_meta = matches!(self.name(), "mg" | "ms" | "md" | "ma");
        let quiet = if is_meta { "q" } else { "noreply" };
        self.tokens.iter().skip(2).any(|token| token == quiet)
            || self.tokens.last().is_some_and(|token| token == "noreply")
    }
}

// ---- Requests ----

/// Returns the request of a command, if it can be represented; parsed independently of the codec.
fn request(command: &Command) -> Option<Request<'static>> {
    let tokens: Vec<&str> = command.tokens.iter().map(String::as_str).collect();
    let data = || command.data.clone();
    let seconds = |token: &str| token.parse().ok().map(Ttl::from_seconds);
    Some(match *tokens.as_slice() {
        ["set", key, flags, exp, _] => stored(Request::set(latin1(key), data()?), flags, seconds(exp)?)?,
        ["add", key, flags, exp, _] => stored(Request::add(latin1(key), data()?), flags, seconds(exp)?)?,
        ["replace", key, flags, exp, _] => stored(Request::replace(latin1(key), data()?), flags, seconds(exp)?)?,
        ["append", key, "0", "0", _] => Request::append(latin1(key), data()?),
        ["prepend", key, "0", "0", _] => Request::prepend(latin1(key), data()?),
        ["cas", key, flags, exp, _, cas] => {
            stored(Request::set(latin1(key), data()?), flags, seconds(exp)?)?.cas(cas.parse().ok()?)
        }
        ["gets", key] => Request::get(latin1(key)),
        ["gats", exp, key] => Request::get_and_touch(latin1(key), seconds(exp)?),
        ["touch", key, exp] => Request::touch(latin1(key), seconds(exp)?),
        ["delete", key] => Request::delete(latin1(key)),
        ["incr", key, delta] => Request::increment(latin1(key), delta.parse().ok()?),
        ["decr", key, delta] => Request::decrement(latin1(key), delta.parse().ok()?),
        ["version"] => Request::version(),
        ["verbosity", level] => Request::verbosity(level.parse().ok()?),
        ["flush_all"] => Request::flush(),
        ["flush_all", exp] if exp != "0" => Request::flush().ttl(seconds(exp)?),
        ["stats", ref group @ ..] => Request::stat(group.join(" ")),
        ["quit"] => Request::quit(),
        ["cache_memlimit", limit] => Request::memory_limit(limit.parse().ok()?),
        ["lru_crawler", "metadump", classes] => Request::metadump(classes.to_owned()),
        ["lru_crawler", "mgdump", classes] => Request::mgdump(classes.to_owned()),
        ["lru_crawler", ref rest @ ..] => Request::lru_crawler(rest.join(" ")),
        ["lru", ref rest @ ..] => Request::lru(rest.join(" ")),
        ["slabs", ref rest @ ..] => Request::slabs(rest.join(" ")),
        ["watch", ref rest @ ..] => Request::watch(rest.join(" ")),
        ["config", "get", "cluster"] => Request::cluster_config(),
        ["shutdown"] => Request::shutdown(),
        _ => return None,
    })
}

fn stored(request: Request<'static>, flags: &str, ttl: Ttl) -> Option<Request<'static>> {
    Some(request.flags(flags.parse().ok()?).ttl(ttl))
}

fn encoded(encode: impl FnOnce(&mut Output) -> bool) -> Option<Vec<u8>> {
    let mut output = Output::new();
    encode(&mut output).then(|| output.copy_to_bytes(output.remaining()).to_vec())
}

#[test]
fn text_commands_encode_to_the_same_bytes() {
    let (mut encoded_count, mut refused) = (0, Vec::new());
    for vector in line_vectors() {
        for command in vector.setup.iter().chain([&vector.request]).flat_map(|bytes| commands(bytes)) {
            let Some(request) = request(&command) else { continue };
            match encoded(|output| text::encode(&request, output).is_ok()) {
                Some(bytes) => {
                    let seen = command.bytes.escape_ascii().to_string();
                    // Skip vectors whose data does not match the announced length.
                    let is_whole = command.data.is_none() || command.bytes.ends_with(b"\r\n");
                    // A flush with a past time is immediate, which needs no expiration.
                    let is_whole = is_whole && vector.name != "text/flush_all_past_abs";
                    assert!(
                        !is_whole || bytes == command.bytes,
                        "{}: {seen} became {}",
                        vector.name,
                        bytes.escape_ascii()
                    );
                    encoded_count += 1;
                }
                None => refused.push(vector.name.as_str()),
            }
        }
    }
    let expected = ["text/set_key_251", "text/stats_sizes_enable", "text/lru_crawler_bare"];
    for name in refused {
        assert!(expected.contains(&name) || name.contains("251"), "{name}");
    }
    assert!(encoded_count >= 130, "{encoded_count}");
}

/// Sets an option that has no value.
type SetFlag = fn(MetaOptions) -> MetaOptions;

/// Returns the request of a meta command, if it can be represented, including flags that the encoder always sends.
fn meta_request(command: &Command) -> Option<Request<'static>> {
    if !matches!(command.name(), "mg" | "ms" | "md" | "ma") {
        return None;
    }
    let flags_at = if command.name() == "ms" { 3 } else { 2 };
    let flags = command.tokens.get(flags_at..)?;
    let token = |letter: char| flags.iter().find_map(|flag| flag.strip_prefix(letter));
    let has = |flag: &str| flags.iter().any(|it| it == flag);
    let ttl = |text: &str| text.parse().ok().map(Ttl::from_seconds);
    if flags.iter().any(|flag| !"bkOqvsctfhluTNRCFIMDJ".contains(flag.chars().next().unwrap_or('!'))) || has("b") {
        return None;
    }
    let letters: BTreeSet<Option<char>> = flags.iter().map(|flag| flag.chars().next()).collect();
    if letters.len() < flags.len() {
        return None;
    }
    if token('M').is_some_and(|mode| !matches!(mode, "S" | "E" | "R" | "A" | "P" | "I" | "D" | "+" | "-")) {
        return None;
    }
    let key = Some(latin1(command.tokens.get(1)?)).filter(|key| !key.iter().any(u8::is_ascii_control))?;
    let data = command.data.clone();
    let request = match command.operation() {
        Operation::Get if token('T').is_some() => Request::get_and_touch(key, ttl(token('T')?)?),
        Operation::Get => Request::get(key),
        Operation::Set => Request::set(key, data?),
        Operation::Add => Request::add(key, data?),
        Operation::Replace => Request::replace(key, data?),
        Operation::Append => Request::append(key, data?),
        Operation::Prepend => Request::prepend(key, data?),
        Operation::Delete => Request::delete(key),
        Operation::Increment => Request::increment(key, token('D').unwrap_or("1").parse().ok()?),
        Operation::Decrement => Request::decrement(key, token('D').unwrap_or("1").parse().ok()?),
        _ => return None,
    };
    let operation = request.operation();
    let is_fetch = operation.is_fetch();
    let counts = matches!(operation, Operation::Increment | Operation::Decrement);
    let flags: [(bool, SetFlag); 7] = [
        (is_fetch && !has("v"), MetaOptions::without_value),
        (has("u"), MetaOptions::no_bump),
        (has("t"), MetaOptions::return_ttl),
        (has("l"), MetaOptions::return_last_access),
        (has("h"), MetaOptions::return_fetched),
        (has("s"), MetaOptions::return_size),
        (has("I"), MetaOptions::stale),
    ];
    let flags = flags.into_iter().filter(|(is_set, _)| *is_set);
    let mut options = flags.fold(MetaOptions::new(), |options, (_, set)| set(options));
    if let Some(seconds) = token('R').and_then(|text| text.parse().ok()) {
        options = options.recache(Duration::from_secs(seconds));
    }
    if let Some(cas) = token('C').filter(|_| is_fetch).and_then(|text| text.parse().ok()) {
        options = options.omit_value_if_cas(cas);
    }
    let mut request = request;
    match token('N') {
        Some(time) if counts => request = request.initial(token('J').unwrap_or("0").parse().ok()?).ttl(ttl(time)?),
        Some(time) => options = options.vivify(ttl(time)?),
        None if token('J').is_some() => return None,
        None => {}
    }
    match token('T') {
        Some(time) if matches!(operation, Operation::Set | Operation::Add | Operation::Replace) => {
            request = request.ttl(ttl(time)?)
        }
        Some(time) if !is_fetch => options = options.update_ttl(ttl(time)?),
        _ => {}
    }
    if let Some(flags) = token('F') {
        request = request.flags(flags.parse().ok()?);
    }
    match token('C') {
        Some("0") => return None,
        Some(cas) if !is_fetch => request = request.cas(cas.parse().ok()?),
        _ => {}
    }
    request = if has("k") { request.with_key() } else { request };
    request = if has("q") { request.quiet() } else { request };
    Some(if options == MetaOptions::new() { request } else { request.meta(options) })
}

/// Returns whether a token of a command is the default, or its opaque, which the connection generates.
fn is_optional(token: &str, command: &Command) -> bool {
    let is_store = command.name() == "ms";
    token.starts_with('O')
        || matches!(token, "MS" | "MI" | "M+" | "M-" | "F0" | "T0" | "D1" | "J0")
        || (token == "k" && (is_store || matches!(command.name(), "md" | "ma")))
        || (token == "v" && command.name() == "md")
}

#[test]
fn meta_commands_encode_to_the_same_tokens() {
    let newest = ServerVersion::parse("1.6.45");
    let mut encoded_count = 0;
    for vector in line_vectors() {
        for command in vector.setup.iter().chain([&vector.request]).flat_map(|bytes| commands(bytes)) {
            let Some(request) = meta_request(&command) else { continue };
            let bytes = encoded(|output| meta::encode(&request, 7, newest, output).is_ok());
            let Some(bytes) = bytes else { continue };
            let again = &commands(&bytes)[0];
            let lacks = |token: &&String| !again.tokens.contains(token) && !is_optional(token, &command);
            let missing: Vec<_> = command.tokens.iter().filter(lacks).collect();
            assert!(
                missing.is_empty(),
                "{}: {missing:?} of {:?} is not in {:?}",
                vector.name,
                command.tokens,
                again.tokens
            );
            assert_eq!(again.data, command.data, "{}", vector.name);
            encoded_count += 1;
        }
    }
    assert!(encoded_count >= 230, "{encoded_count}");
}

// ---- Replies ----

/// The first reply of `bytes`, parsed according to the specification, independently of the codecs.
struct ParsedReply {
    token: String,
    value: Option<Vec<u8>>,
}

fn seen(bytes: &[u8]) -> ParsedReply {
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let line: String = bytes[..end].iter().map(|&byte| char::from(byte)).collect();
    let tokens: Vec<&str> = line.trim_end().split(' ').filter(|token| !token.is_empty()).collect();
    let at = match tokens.first() {
        Some(&"VA") => Some(1),
        Some(&"VALUE") => Some(3),
        _ => None,
    };
    let length = at.and_then(|at| tokens[at].parse::<usize>().ok());
    let value = length.map(|length| bytes[end + 1..end + 1 + length].to_vec());
    ParsedReply { token: tokens.first().map_or("", |token| *token).to_owned(), value }
}

fn status(token: &str, operation: Operation) -> Option<Status> {
    Some(match (token, operation) {
        ("HD" | "VA" | "VALUE" | "STORED" | "DELETED" | "TOUCHED" | "MN" | "VERSION" | "OK" | "ME" | "STAT", _) => {
            Status::NoError
        }
        ("EN", Operation::Get | Operation::Debug) => Status::KeyNotFound,
        ("END", Operation::Get | Operation::GetAndTouch) => Status::KeyNotFound,
        ("NF" | "NOT_FOUND", _) => Status::KeyNotFound,
        ("EX" | "EXISTS", _) => Status::KeyExists,
        ("NS" | "NOT_STORED", Operation::Add) => Status::KeyExists,
        ("NS" | "NOT_STORED", Operation::Replace) => Status::KeyNotFound,
        ("NS" | "NOT_STORED", _) => Status::ItemNotStored,
        _ => return None,
    })
}

fn check(vector: &Vector, before: &[u8], operation: Operation, reply: &Reply) {
    let seen = seen(before);
    let name = &vector.name;
    if let Some(status) = status(&seen.token, operation) {
        assert_eq!(reply.status, status, "{name}");
    } else if seen.token.ends_with("ERROR") {
        assert!(!reply.is_ok(), "{name}");
    }
    match (operation, seen.value) {
        (Operation::Increment | Operation::Decrement, Some(digits)) => {
            assert_eq!(reply.number.map(|number| number.to_string().into_bytes()), Some(digits), "{name}");
        }
        (_, Some(value)) => assert_eq!(reply.value, value, "{name}"),
        _ => {}
    }
}

/// Decodes a server's replies to the commands of a vector. Returns their number; the error describes the failure.
fn decode_all(vector: &Vector, bytes: &[u8]) -> Result<usize, String> {
    let mut input = InputBuffer::new();
    input.extend(bytes);
    let mut replies = 0;
    for command in commands(&vector.request) {
        loop {
            let before = input.as_slice().to_vec();
            let expected = ReplyShape::new(command.operation()).with_or_without_value();
            match decode(&command, &mut input, expected) {
                Ok(Some((reply, last))) => {
                    check(vector, &before, command.operation(), &reply);
                    replies += 1;
                    if last {
                        break;
                    }
                }
                Ok(None) => break,
                // A quiet request without a reply: the input is the reply to the next command.
                Err(_) if command.is_quiet() && input.as_slice() == before => break,
                Err(error) => return Err(format!("{error}")),
            }
        }
    }
    match input.as_slice() {
        [] => Ok(replies),
        rest => Err(format!("left over: {}", rest.escape_ascii())),
    }
}

fn decode(
    command: &Command,
    input: &mut InputBuffer,
    expected: ReplyShape,
) -> Result<Option<(Reply, bool)>, ProtocolError> {
    let is_classic = matches!(command.operation(), Operation::Get | Operation::GetAndTouch) && command.name() != "mg";
    if is_classic {
        let frame = text::decode(input, expected, 1 << 20)?;
        return Ok(frame.map(|frame| (frame.reply, frame.last)));
    }
    let frame = match meta::decode(input, expected, 1 << 20) {
        // The opaque of the vector differs from the client's format.
        Err(ProtocolError::UnexpectedLine(_)) if command.tokens.iter().any(|token| token.starts_with('O')) => {
            let plain = without_opaque(input.as_slice());
            let mut stripped = InputBuffer::new();
            stripped.extend(&plain);
            let frame = meta::decode(&mut stripped, expected, 1 << 20)?;
            let rest = stripped.as_slice().to_vec();
            *input = InputBuffer::new();
            input.extend(&rest);
            frame
        }
        other => other?,
    };
    Ok(frame.map(|frame| (frame.reply, frame.last)))
}

/// Returns the bytes without the opaque of the first line.
fn without_opaque(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.windows(2).position(|window| window == b"\r\n").unwrap_or(bytes.len());
    let (line, rest) = bytes.split_at(end);
    let tokens: Vec<&[u8]> = line.split(|&byte| byte == b' ').filter(|token| token.first() != Some(&b'O')).collect();
    [&tokens.join(&b' '), rest].concat()
}

/// Replies that the client does not support, with the reason and the vectors.
const UNSUPPORTED_REPLIES: &[(&str, &[&str])] = &[
    (
        "after the error one of the versions reads the data as a command: the connection is closed",
        &[
            "meta/ms_invalid_flag",
            "meta/ms_key_251",
            "text/cas_bad_number",
            "text/set_data_too_long_noreply",
            "text/set_flags_negative",
            "text/set_key_251",
        ],
    ),
    ("an empty line follows the error: the connection is closed", &["text/get_key_251"]),
    ("several keys in one get, which is never sent", &["text/get_multi", "text/gets_multi", "text/get_same_key_twice"]),
    ("a group whose reply has no end, which is refused", &["text/stats_sizes_enable"]),
];

#[test]
fn replies_of_both_versions_decode() {
    let mut exceptions = BTreeMap::new();
    let mut replies = 0;
    for vector in line_vectors().filter(|vector| vector.protocol != Protocol::TextAuth) {
        for bytes in [&vector.reply].into_iter().chain(vector.newer.as_ref().map(|newer| &newer.reply)) {
            match decode_all(vector, bytes) {
                Ok(count) => replies += count,
                Err(why) => drop(exceptions.insert(vector.name.clone(), why)),
            }
        }
    }
    let expected: Vec<&str> = UNSUPPORTED_REPLIES.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let unexpected: Vec<_> = exceptions.iter().filter(|(name, _)| !expected.contains(&name.as_str())).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    let outdated: Vec<_> = expected.iter().filter(|name| !exceptions.contains_key(**name)).collect();
    assert!(outdated.is_empty(), "no exceptions any more: {outdated:?}");
    assert_eq!(replies, 678);
}

#[test]
fn replies_to_authentication_decode() {
    for vector in line_vectors().filter(|vector| vector.protocol == Protocol::TextAuth) {
        for bytes in [&vector.reply].into_iter().chain(vector.newer.as_ref().map(|newer| &newer.reply)) {
            let mut input = InputBuffer::new();
            input.extend(bytes);
            let frame = text::decode(&mut input, ReplyShape::new(Operation::Authenticate), 1 << 20).unwrap();
            let status = frame.map(|frame| frame.reply.status);
            let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
            let expected = match text.as_str() {
                "" => None,
                text if text.starts_with("STORED") => Some(Status::NoError),
                text if text.contains("bad command line termination") => Some(Status::InvalidArguments),
                _ => Some(Status::AuthError),
            };
            assert_eq!(status, expected, "{}: {text}", vector.name);
        }
    }
}

#[test]
fn all_line_vectors_are_checked() {
    assert_eq!(line_vectors().count(), 209 + 119 + 24);
}
