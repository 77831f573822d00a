//! The classic text commands.

use std::io::Write;

use remcache_proto::text::server::{
    Arithmetic as ArithmeticRequest, BAD_FORMAT, BAD_TTL, Command, Get as GetRequest, Store as StoreRequest,
    StoreOperation,
};
use remcache_proto::{CowBytes, Feature, Key, Reply, Status};

use super::messages::{NO_MEMORY, NOT_NUMERIC, OK, TOO_LARGE};
use crate::arithmetic::Direction;
use crate::cluster;
use crate::expiry::Expiry;
use crate::reply_buffer::ReplyBuffer;
use crate::state::ServerState;
use crate::store::{Arithmetic, Extension, ItemState, Mode, NewItem, Store};

const NO_DELAYED_FLUSH: &str = "CLIENT_ERROR delayed flush_all not supported";
const NO_FLUSH: &str = "CLIENT_ERROR flush_all not allowed";

pub(super) fn execute(
    command: &Command<'_>,
    value: Option<CowBytes<'_>>,
    store: &mut Store,
    state: &ServerState,
    replies: &mut ReplyBuffer,
) {
    let (line, quiet) = match command {
        Command::Get(request) => return get(request, store, state, replies),
        Command::Store(request) => (store_value(request, value, store), request.quiet),
        Command::Arithmetic(request) => return arithmetic(request, store, replies),
        Command::Touch(request) => {
            let expiry = store.expiry_from_text(request.ttl);
            let found = store.touch(request.key, expiry).is_ok();
            (if found { "TOUCHED" } else { "NOT_FOUND" }, request.quiet)
        }
        Command::Delete(request) => {
            let found = store.delete(request.key, 0).is_ok();
            (if found { "DELETED" } else { "NOT_FOUND" }, request.quiet)
        }
        Command::FlushAll(request) => (flush(request.delay, store, state), request.quiet),
        _ => return,
    };
    if !quiet {
        replies.push_line(line);
    }
}

fn get(request: &GetRequest<'_>, store: &mut Store, state: &ServerState, replies: &mut ReplyBuffer) {
    if request.keys.clone().any(|key| key.len() > Key::MAX_LEN) {
        return refuse_get(request, store, state, replies);
    }
    let mut header = Vec::new();
    for key in request.keys.clone() {
        let reply = match key == cluster::LEGACY_KEY {
            true => get_cluster(state).unwrap_or_else(|| fetch(request, key, store)),
            false => fetch(request, key, store),
        };
        if !reply.is_ok() {
            continue;
        }
        replies.put(b"VALUE ");
        replies.put(key);
        header.clear();
        // Writing to a vector does not fail.
        let _ = match request.with_cas {
            true => write!(header, " {} {} {}\r\n", reply.flags, reply.value.len(), reply.cas),
            false => write!(header, " {} {}\r\n", reply.flags, reply.value.len()),
        };
        replies.put(&header);
        replies.put_value(reply.value);
        replies.put(b"\r\n");
    }
    replies.push_line("END");
}

/// Answers a fetch that has a key that is too long.
fn refuse_get(request: &GetRequest<'_>, store: &mut Store, state: &ServerState, replies: &mut ReplyBuffer) {
    // memcached fetches the keys before it, which counts and bumps them, and discards their values.
    for key in request.keys.clone().take_while(|key| key.len() <= Key::MAX_LEN) {
        fetch(request, key, store);
    }
    replies.put(BAD_FORMAT.as_bytes());
    if state.settings.version.has_feature(Feature::StrictLines) {
        // Newer versions send a second line end.
        replies.put(b"\r\n");
    }
    replies.push_line("");
}

fn fetch(request: &GetRequest<'_>, key: &[u8], store: &mut Store) -> Reply {
    match request.touch {
        Some(ttl) => {
            let expiry = store.expiry_from_text(ttl);
            store.get_and_touch(key, expiry)
        }
        None => store.get(key),
    }
}

/// Returns the cluster configuration for clients that do not know the `config` command.
fn get_cluster(state: &ServerState) -> Option<Reply> {
    state.cluster().as_ref().map(|cluster| Reply::with_text(Status::NoError, cluster.text().to_owned()))
}

/// Returns the mode of a command that stores a whole value, or the side on which it extends one.
pub(super) fn mode(operation: StoreOperation) -> Result<Mode, Extension> {
    match operation {
        StoreOperation::Set => Ok(Mode::Set),
        StoreOperation::Add => Ok(Mode::Add),
        StoreOperation::Replace => Ok(Mode::Replace),
        StoreOperation::Cas => Ok(Mode::Cas),
        StoreOperation::Append => Err(Extension::Append),
        StoreOperation::Prepend => Err(Extension::Prepend),
    }
}

fn store_value(request: &StoreRequest<'_>, value: Option<CowBytes<'_>>, store: &mut Store) -> &'static str {
    let value = value.unwrap_or_else(|| CowBytes::from(&b""[..]));
    let expiry = store.expiry_from_text(request.ttl);
    let reply = match mode(request.operation) {
        Ok(mode) => {
            let state = ItemState::default();
            let item = NewItem { key: request.key, value, flags: request.flags, expiry, state };
            store.store(mode, item, request.cas)
        }
        Err(extension) => store.extend(extension, request.key, value.as_slice(), 0),
    };
    match (reply.status, request.operation) {
        (Status::NoError, _) => "STORED",
        (Status::ValueTooLarge, _) => TOO_LARGE,
        (Status::OutOfMemory, _) => NO_MEMORY,
        (Status::KeyExists, StoreOperation::Cas) => "EXISTS",
        (Status::KeyNotFound, StoreOperation::Cas) => "NOT_FOUND",
        _ => "NOT_STORED",
    }
}

fn arithmetic(request: &ArithmeticRequest<'_>, store: &mut Store, replies: &mut ReplyBuffer) {
    let direction = if request.is_increment { Direction::Increment } else { Direction::Decrement };
    let operation = Arithmetic { direction, delta: request.delta, initial: None };
    let reply = store.arithmetic(request.key, operation, 0);
    match (reply.status, reply.number) {
        _ if request.quiet => {}
        (Status::NoError, Some(number)) => replies.push_line(&number.to_string()),
        (Status::NonNumericValue, _) => replies.push_line(NOT_NUMERIC),
        _ => replies.push_line("NOT_FOUND"),
    }
}

fn flush(delay: Option<i32>, store: &mut Store, state: &ServerState) -> &'static str {
    if !store.limits().flush {
        return NO_FLUSH;
    }
    let Some(delay) = delay else { return BAD_TTL };
    if delay != 0 && state.settings.restrictions.no_delayed_flush {
        return NO_DELAYED_FLUSH;
    }
    // A negative time means now.
    let at = u32::try_from(delay).map_or(Expiry::NEVER, |seconds| Expiry::from_binary(seconds, store.now()));
    store.flush(at);
    OK
}
