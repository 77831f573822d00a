//! Operations that write items: store, append and prepend, increment and decrement.

use bytes::Bytes;
use remcache_proto::{Reply, Status};

use super::{Item, ItemState, NewItem, Store};
use crate::arithmetic::{self, Direction};
use crate::expiry::Expiry;
use crate::prefix_stats::KeyUse;
use crate::watch::{Mutation, StoreCommand};

/// The condition under which a value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Set,
    Add,
    Replace,
    /// Only if the item has the CAS value of the request.
    Cas,
    /// Like [`Mode::Cas`], but if the CAS value of the request is older than the item's, the value is stored as stale.
    CasOrStale,
}

/// The side on which bytes are added to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extension {
    Append,
    Prepend,
}

/// An increment or decrement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arithmetic {
    pub(crate) direction: Direction,
    pub(crate) delta: u64,
    /// The number and expiry with which an absent counter is created.
    pub(crate) initial: Option<(u64, Expiry)>,
}

impl From<Mode> for StoreCommand {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Set => Self::Set,
            Mode::Add => Self::Add,
            Mode::Replace => Self::Replace,
            Mode::Cas | Mode::CasOrStale => Self::Cas,
        }
    }
}

impl From<Extension> for StoreCommand {
    fn from(extension: Extension) -> Self {
        match extension {
            Extension::Append => Self::Append,
            Extension::Prepend => Self::Prepend,
        }
    }
}

impl Store {
    /// Refuses to store a value. A refused set also removes the old item (`docs/protocol.md` of remcache 2.1).
    pub(crate) fn refuse(&mut self, mode: Option<Mode>, key: &[u8], status: Status) -> Reply {
        match status {
            Status::ValueTooLarge => self.counters.too_large += 1,
            _ => self.counters.no_memory += 1,
        }
        if mode == Some(Mode::Set) {
            self.remove(key);
        }
        Reply::new(status)
    }

    pub(crate) fn store(&mut self, mode: Mode, item: NewItem<'_>, cas: u64) -> Reply {
        let (key, length, expiry) = (item.key, item.value.len(), item.expiry);
        let reply = self.store_unlogged(mode, item, cas);
        self.log_mutation(key, &reply, mode.into(), expiry, length);
        reply
    }

    fn store_unlogged(&mut self, mode: Mode, item: NewItem<'_>, cas: u64) -> Reply {
        let NewItem { key, value, flags, expiry, mut state } = item;
        self.counters.sets += 1;
        self.prefix_stats.record(key, KeyUse::Set);
        if let Err(status) = self.make_room(self.size(key.len(), value.len(), flags)) {
            return self.refuse(Some(mode), key, status);
        }
        let cas = if self.limits.cas { cas } else { 0 };
        let present = self.find(key).map(|item| (item.cas, item.expiry, item.state));
        self.count_cas(cas, present.map(|(cas, ..)| cas));
        if let (Mode::CasOrStale, Some((present, expiry, old))) = (mode, present)
            && (1..present).contains(&cas)
        {
            // The item stays stale with its old expiry, and the client that won the right to recache it keeps that.
            (state.stale, state.win_sent) = (true, old.win_sent);
            return self.put(key, value.into_bytes(), flags, expiry, state);
        }
        match precondition(mode, cas, present.map(|(cas, ..)| cas)) {
            Some(status) => Reply::new(status),
            None => self.put(key, value.into_bytes(), flags, expiry, state),
        }
    }

    pub(crate) fn extend(&mut self, extension: Extension, key: &[u8], piece: &[u8], cas: u64) -> Reply {
        let reply = self.extend_unlogged(extension, key, piece, cas);
        let item = self.items.peek(key).map(|item| (item.expiry, item.value.len()));
        let (expiry, length) = item.filter(|_| reply.is_ok()).unwrap_or((Expiry::NEVER, piece.len()));
        self.log_mutation(key, &reply, extension.into(), expiry, length);
        reply
    }

    fn extend_unlogged(&mut self, extension: Extension, key: &[u8], piece: &[u8], cas: u64) -> Reply {
        self.counters.sets += 1;
        self.prefix_stats.record(key, KeyUse::Set);
        if let Err(status) = self.make_room(self.size(key.len(), piece.len(), 0)) {
            return self.refuse(None, key, status);
        }
        let cas = if self.limits.cas { cas } else { 0 };
        let present = self.find(key).map(|item| item.cas);
        self.count_cas(cas, present);
        let Some(item) = self.items.get(key) else { return Reply::new(Status::ItemNotStored) };
        if cas != 0 && cas != item.cas {
            return Reply::new(Status::KeyExists);
        }
        let value = match extension {
            Extension::Append => [&item.value, piece].concat(),
            Extension::Prepend => [piece, &item.value].concat(),
        };
        let (flags, expiry) = (item.flags, item.expiry);
        match self.make_room(self.size(key.len(), value.len(), flags)) {
            Ok(()) => self.put(key, value.into(), flags, expiry, ItemState::default()),
            Err(_) => Reply::new(Status::ItemNotStored),
        }
    }

    pub(crate) fn arithmetic(&mut self, key: &[u8], operation: Arithmetic, cas: u64) -> Reply {
        let Some(item) = self.find(key) else { return self.create_counter(key, operation) };
        if item.value.is_empty() {
            return Reply::new(Status::NonNumericValue);
        }
        if cas != 0 && cas != item.cas {
            return Reply::new(Status::KeyExists);
        }
        let Some(number) = arithmetic::parse(&item.value) else {
            return Reply::new(Status::NonNumericValue);
        };
        let number = operation.direction.apply(number, operation.delta);
        let length = item.value.len();
        let value = arithmetic::format_padded(number, length);
        // memcached updates a number in place unless it grows, and then keeps the item's flags.
        let state = if value.len() == length { item.state } else { ItemState::default() };
        let (flags, expiry) = (item.flags, item.expiry);
        *self.counters.arithmetic(operation.direction, true) += 1;
        let mut reply = self.put(key, value.into(), flags, expiry, state);
        reply.number = Some(number);
        reply
    }

    fn create_counter(&mut self, key: &[u8], operation: Arithmetic) -> Reply {
        *self.counters.arithmetic(operation.direction, false) += 1;
        let Some((number, expiry)) = operation.initial else {
            return Reply::new(Status::KeyNotFound);
        };
        let value = number.to_string().into_bytes();
        let length = value.len();
        if let Err(status) = self.make_room(self.size(key.len(), length, 0)) {
            return self.refuse(None, key, status);
        }
        let mut reply = self.put(key, value.into(), 0, expiry, ItemState::default());
        reply.number = Some(number);
        self.log_mutation(key, &reply, StoreCommand::Add, expiry, length);
        reply
    }

    /// Stores an item with a new CAS value. The caller has made room for it.
    pub(super) fn put(&mut self, key: &[u8], value: Bytes, flags: u32, expiry: Expiry, state: ItemState) -> Reply {
        let cas = self.next_cas();
        let expiry = if self.now <= self.flushed_until { Expiry::at_once(self.now) } else { expiry };
        let new = Item { value, flags, cas, expiry, stored_at: self.now, used_at: self.now, state };
        self.bytes += self.item_size(key, &new);
        match self.items.get_mut(key) {
            // Replacing in place saves a copy of the key.
            Some(item) => {
                let old = std::mem::replace(item, new);
                self.bytes -= self.item_size(key, &old);
            }
            None => {
                self.items.insert(key.into(), new);
            }
        }
        self.counters.stored += 1;
        let mut reply = Reply::new(Status::NoError);
        reply.cas = cas;
        reply
    }

    #[inline]
    fn log_mutation(&self, key: &[u8], reply: &Reply, command: StoreCommand, expiry: Expiry, length: usize) {
        if self.watchers.has_mutations() {
            let (ttl, class) = (expiry.remaining(self.now), self.class_of_key(key));
            self.watchers.log_mutation(key, &Mutation { command, status: reply.status, ttl, class, length });
        }
    }

    fn count_cas(&mut self, cas: u64, present: Option<u64>) {
        let counter = match present {
            _ if cas == 0 => return,
            None => &mut self.counters.cas_misses,
            Some(present) if present == cas => &mut self.counters.cas_hits,
            Some(_) => &mut self.counters.cas_mismatches,
        };
        *counter += 1;
    }
}

/// Returns the status with which a store is refused, or `None` if it is allowed. A CAS value of 0 matches no item.
pub(super) fn precondition(mode: Mode, cas: u64, present: Option<u64>) -> Option<Status> {
    match (mode, present) {
        (Mode::Add, Some(_)) => Some(Status::KeyExists),
        (Mode::Replace | Mode::Cas | Mode::CasOrStale, None) => Some(Status::KeyNotFound),
        (Mode::Cas | Mode::CasOrStale, Some(present)) => (cas == 0 || cas != present).then_some(Status::KeyExists),
        _ => None,
    }
}
