//! The classic commands.

use std::io::Write;

use remcache_proto::text::server::{BAD_FORMAT, BAD_TTL, Command, Count, Get, Store as Asked, Verb};
use remcache_proto::{CowBytes, Feature, Key, Reply, Status};

use super::{NO_MEMORY, TOO_LARGE};
use crate::cluster;
use crate::counter::Direction;
use crate::expiry::Expiry;
use crate::replies::Replies;
use crate::state::State;
use crate::store::{self, End, Marks, Mode, NewItem, Store};

const NOT_NUMERIC: &str = "CLIENT_ERROR cannot increment or decrement non-numeric value";
const NO_FLUSH: &str = "CLIENT_ERROR flush_all not allowed";

pub(super) fn execute(
    command: &Command<'_>,
    value: Option<CowBytes<'_>>,
    store: &mut Store,
    state: &State,
    replies: &mut Replies,
) {
    let (said, quiet) = match command {
        Command::Get(asked) => return get(asked, store, state, replies),
        Command::Store(asked) => (put(asked, value, store), asked.quiet),
        Command::Count(asked) => return count(asked, store, replies),
        Command::Touch(asked) => {
            let expiry = store.expiry(asked.ttl);
            let found = store.touch(asked.key, expiry).is_ok();
            (if found { "TOUCHED" } else { "NOT_FOUND" }, asked.quiet)
        }
        Command::Delete(asked) => {
            let found = store.delete(asked.key, 0).is_ok();
            (if found { "DELETED" } else { "NOT_FOUND" }, asked.quiet)
        }
        Command::FlushAll(asked) => (flush(asked.delay, store), asked.quiet),
        _ => return,
    };
    if !quiet {
        replies.push_line(said);
    }
}

fn get(asked: &Get<'_>, store: &mut Store, state: &State, replies: &mut Replies) {
    if asked.keys.clone().any(|key| key.len() > Key::MAX_LEN) {
        // The keys before it were looked up, and nothing of them is told.
        for key in asked.keys.clone().take_while(|key| key.len() <= Key::MAX_LEN) {
            fetch(asked, key, store);
        }
        if state.settings.version.dialect().has(Feature::StrictLines) {
            // The stray end of a line is newer memcached's.
            replies.put(BAD_FORMAT.as_bytes());
            replies.put(b"\r\n");
            return replies.push_line("");
        }
        return replies.push_line(BAD_FORMAT);
    }
    let mut line = Vec::new();
    for key in asked.keys.clone() {
        let reply = match key == cluster::OLD_KEY {
            true => of_cluster(state).unwrap_or_else(|| fetch(asked, key, store)),
            false => fetch(asked, key, store),
        };
        if !reply.is_ok() {
            continue;
        }
        replies.put(b"VALUE ");
        replies.put(key);
        line.clear();
        // Writing to a vector does not fail.
        let _ = match asked.with_cas {
            true => write!(line, " {} {} {}\r\n", reply.flags, reply.value.len(), reply.cas),
            false => write!(line, " {} {}\r\n", reply.flags, reply.value.len()),
        };
        replies.put(&line);
        replies.put_value(reply.value);
        replies.put(b"\r\n");
    }
    replies.push_line("END");
}

fn fetch(asked: &Get<'_>, key: &[u8], store: &mut Store) -> Reply {
    match asked.touch {
        Some(ttl) => {
            let expiry = store.expiry(ttl);
            store.get_and_touch(key, expiry)
        }
        None => store.get(key),
    }
}

/// The configuration as clients ask for it that do not know `config`.
fn of_cluster(state: &State) -> Option<Reply> {
    state.cluster().as_ref().map(|cluster| Reply::with_text(Status::NoError, cluster.text().to_owned()))
}

/// How a verb stores, or which end it extends.
pub(super) fn mode(verb: Verb) -> Result<Mode, End> {
    match verb {
        Verb::Set => Ok(Mode::Set),
        Verb::Add => Ok(Mode::Add),
        Verb::Replace => Ok(Mode::Replace),
        Verb::Cas => Ok(Mode::Cas),
        Verb::Append => Err(End::Back),
        Verb::Prepend => Err(End::Front),
    }
}

fn put(asked: &Asked<'_>, value: Option<CowBytes<'_>>, store: &mut Store) -> &'static str {
    let value = value.unwrap_or_else(|| CowBytes::from(&b""[..]));
    let expiry = store.expiry(asked.ttl);
    let reply = match mode(asked.verb) {
        Ok(mode) => {
            let item = NewItem { key: asked.key, value, flags: asked.flags, expiry, marks: Marks::default() };
            store.store(mode, item, asked.cas)
        }
        Err(end) => store.extend(end, asked.key, value.as_slice(), 0),
    };
    match (reply.status, asked.verb) {
        (Status::NoError, _) => "STORED",
        (Status::ValueTooLarge, _) => TOO_LARGE,
        (Status::OutOfMemory, _) => NO_MEMORY,
        (Status::KeyExists, Verb::Cas) => "EXISTS",
        (Status::KeyNotFound, Verb::Cas) => "NOT_FOUND",
        _ => "NOT_STORED",
    }
}

fn count(asked: &Count<'_>, store: &mut Store, replies: &mut Replies) {
    let direction = if asked.up { Direction::Up } else { Direction::Down };
    let count = store::Count { direction, delta: asked.delta, initial: None };
    let reply = store.count(asked.key, count, 0);
    match (reply.status, reply.number) {
        _ if asked.quiet => {}
        (Status::NoError, Some(number)) => replies.push_line(&number.to_string()),
        (Status::NonNumericValue, _) => replies.push_line(NOT_NUMERIC),
        _ => replies.push_line("NOT_FOUND"),
    }
}

fn flush(delay: Option<i32>, store: &mut Store) -> &'static str {
    if !store.limits().flush {
        return NO_FLUSH;
    }
    let Some(delay) = delay else { return BAD_TTL };
    // A negative time is now.
    let at = u32::try_from(delay).map_or(Expiry::NEVER, |seconds| Expiry::from_wire(seconds, store.now()));
    store.flush(at);
    "OK"
}
