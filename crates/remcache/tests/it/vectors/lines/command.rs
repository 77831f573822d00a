//! The commands of a request in a text protocol, parsed independently of the codec.

use remcache::proto::{Operation, Request, Ttl};

/// A command of a request: the tokens of its line, and the data after it.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) tokens: Vec<String>,
    pub(super) data: Option<Vec<u8>>,
    /// The bytes of the command.
    pub(super) bytes: Vec<u8>,
}

/// Splits a request into commands, as a server does; bytes that are not text are decoded as Latin-1.
pub(super) fn commands(mut bytes: &[u8]) -> Vec<Command> {
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

/// Encodes text as Latin-1, from which [`commands`] decoded it.
pub(super) fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).expect("latin1")).collect()
}

impl Command {
    pub(super) fn name(&self) -> &str {
        self.tokens.first().map_or("", String::as_str)
    }

    pub(super) fn operation(&self) -> Operation {
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

    pub(super) fn is_quiet(&self) -> bool {
        let is_meta = matches!(self.name(), "mg" | "ms" | "md" | "ma");
        let quiet = if is_meta { "q" } else { "noreply" };
        self.tokens.iter().skip(2).any(|token| token == quiet)
            || self.tokens.last().is_some_and(|token| token == "noreply")
    }
}

/// Returns the request of a command, if it can be represented; parsed independently of the codec.
pub(super) fn request(command: &Command) -> Option<Request<'static>> {
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

/// Sets the flags and the TTL of a request that stores an item.
fn stored(request: Request<'static>, flags: &str, ttl: Ttl) -> Option<Request<'static>> {
    Some(request.flags(flags.parse().ok()?).ttl(ttl))
}
