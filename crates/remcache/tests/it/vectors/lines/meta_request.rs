//! The requests of meta commands, parsed independently of the codec.

use std::collections::BTreeSet;
use std::time::Duration;

use remcache::proto::{MetaOptions, Operation, Request, Ttl};

use super::command::{Command, latin1};

/// The flags of a meta command: a letter each, with a token after some.
struct Flags<'a>(&'a [String]);

impl Flags<'_> {
    fn has(&self, flag: &str) -> bool {
        self.0.iter().any(|other| other == flag)
    }

    /// Returns the token after a letter.
    fn token(&self, letter: char) -> Option<&str> {
        self.0.iter().find_map(|flag| flag.strip_prefix(letter))
    }

    /// Returns whether a request can have these flags: each is known and given once.
    fn are_representable(&self) -> bool {
        let letters: BTreeSet<Option<char>> = self.0.iter().map(|flag| flag.chars().next()).collect();
        let are_known = letters.iter().all(|letter| letter.is_some_and(|letter| KNOWN.contains(letter)));
        let has_known_mode =
            self.token('M').is_none_or(|mode| matches!(mode, "S" | "E" | "R" | "A" | "P" | "I" | "D" | "+" | "-"));
        are_known && letters.len() == self.0.len() && has_known_mode && !self.has("b")
    }
}

/// Returns the request of a meta command, if it can be represented, including flags that the encoder always sends.
pub(super) fn meta_request(command: &Command) -> Option<Request<'static>> {
    if !matches!(command.name(), "mg" | "ms" | "md" | "ma") {
        return None;
    }
    let flags = Flags(command.tokens.get(if command.name() == "ms" { 3 } else { 2 }..)?);
    if !flags.are_representable() {
        return None;
    }
    let request = with_flags(request_without_flags(command, &flags)?, &flags)?;
    let options = options(request.operation(), &flags)?;
    Some(if options == MetaOptions::new() { request } else { request.meta(options) })
}

fn request_without_flags(command: &Command, flags: &Flags<'_>) -> Option<Request<'static>> {
    let key = Some(latin1(command.tokens.get(1)?)).filter(|key| !key.iter().any(u8::is_ascii_control))?;
    let data = command.data.clone();
    let delta = || flags.token('D').unwrap_or("1").parse().ok();
    Some(match command.operation() {
        Operation::Get if flags.token('T').is_some() => Request::get_and_touch(key, ttl(flags.token('T')?)?),
        Operation::Get => Request::get(key),
        Operation::Set => Request::set(key, data?),
        Operation::Add => Request::add(key, data?),
        Operation::Replace => Request::replace(key, data?),
        Operation::Append => Request::append(key, data?),
        Operation::Prepend => Request::prepend(key, data?),
        Operation::Delete => Request::delete(key),
        Operation::Increment => Request::increment(key, delta()?),
        Operation::Decrement => Request::decrement(key, delta()?),
        _ => return None,
    })
}

/// Applies the flags that a request has on every protocol, and those for a key in the reply and a quiet request.
fn with_flags(mut request: Request<'static>, flags: &Flags<'_>) -> Option<Request<'static>> {
    match flags.token('N') {
        Some(time) if is_counter(request.operation()) => {
            request = request.initial(flags.token('J').unwrap_or("0").parse().ok()?).ttl(ttl(time)?);
        }
        None if flags.token('J').is_some() => return None,
        _ => {}
    }
    if let Some(time) = flags.token('T').filter(|_| is_store(request.operation())) {
        request = request.ttl(ttl(time)?);
    }
    if let Some(flags) = flags.token('F') {
        request = request.flags(flags.parse().ok()?);
    }
    match flags.token('C') {
        Some("0") => return None,
        Some(cas) if !request.operation().is_fetch() => request = request.cas(cas.parse().ok()?),
        _ => {}
    }
    request = if flags.has("k") { request.with_key() } else { request };
    Some(if flags.has("q") { request.quiet() } else { request })
}

/// Returns the options that only the meta protocol has.
fn options(operation: Operation, flags: &Flags<'_>) -> Option<MetaOptions> {
    let is_fetch = operation.is_fetch();
    let set_options: [(bool, SetOption); 7] = [
        (is_fetch && !flags.has("v"), MetaOptions::without_value),
        (flags.has("u"), MetaOptions::no_bump),
        (flags.has("t"), MetaOptions::return_ttl),
        (flags.has("l"), MetaOptions::return_last_access),
        (flags.has("h"), MetaOptions::return_fetched),
        (flags.has("s"), MetaOptions::return_size),
        (flags.has("I"), MetaOptions::stale),
    ];
    let set_options = set_options.into_iter().filter(|(is_set, _)| *is_set);
    let mut options = set_options.fold(MetaOptions::new(), |options, (_, set)| set(options));
    if let Some(seconds) = flags.token('R').and_then(|text| text.parse().ok()) {
        options = options.recache(Duration::from_secs(seconds));
    }
    if let Some(cas) = flags.token('C').filter(|_| is_fetch).and_then(|text| text.parse().ok()) {
        options = options.omit_value_if_cas(cas);
    }
    if let Some(time) = flags.token('N').filter(|_| !is_counter(operation)) {
        options = options.vivify(ttl(time)?);
    }
    if let Some(time) = flags.token('T').filter(|_| !is_store(operation) && !is_fetch) {
        options = options.update_ttl(ttl(time)?);
    }
    Some(options)
}

/// Sets an option that has no value.
type SetOption = fn(MetaOptions) -> MetaOptions;

fn is_counter(operation: Operation) -> bool {
    matches!(operation, Operation::Increment | Operation::Decrement)
}

fn is_store(operation: Operation) -> bool {
    matches!(operation, Operation::Set | Operation::Add | Operation::Replace)
}

fn ttl(text: &str) -> Option<Ttl> {
    text.parse().ok().map(Ttl::from_seconds)
}

/// The letters of all flags.
const KNOWN: &str = "bkOqvsctfhluTNRCFIMDJ";
