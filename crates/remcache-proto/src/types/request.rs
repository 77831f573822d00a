//! Requests, the same for every protocol.

use std::time::SystemTime;

use crate::types::cow_bytes::{CowBytes, IntoCowBytes};
use crate::types::key::{InvalidKey, Key};
use crate::types::meta_options::MetaOptions;
use crate::types::operation::Operation;
use crate::types::ttl::Ttl;

/// A request: an operation with named options.
///
/// Building one never fails; a request with an invalid key is refused before anything is sent.
///
/// ```
/// use std::time::Duration;
/// use remcache_proto::{Operation, Request};
///
/// let request = Request::set("Hello", "World").ttl(Duration::from_secs(600)).flags(7);
/// assert_eq!(request.operation(), Operation::Set);
/// assert_eq!(request.key()?.as_bytes(), b"Hello");
/// # Ok::<(), remcache_proto::InvalidKey>(())
/// ```
#[derive(Clone, Debug)]
pub struct Request<'a> {
    operation: Operation,
    key: Result<Key<'a>, InvalidKey>,
    pub(crate) value: CowBytes<'a>,
    pub(crate) flags: u32,
    pub(crate) cas: u64,
    pub(crate) ttl: Ttl,
    pub(crate) delta: u64,
    pub(crate) initial: Option<u64>,
    pub(crate) quiet: bool,
    pub(crate) with_key: bool,
    /// Options that few requests have, boxed so that they cost the others one word.
    pub(crate) meta: Option<Box<MetaOptions>>,
}

impl<'a> Request<'a> {
    fn new(operation: Operation) -> Self {
        Self {
            operation,
            key: Err(InvalidKey::Empty),
            value: CowBytes::EMPTY,
            flags: 0,
            cas: 0,
            ttl: Ttl::Never,
            delta: 0,
            initial: None,
            quiet: false,
            with_key: false,
            meta: None,
        }
    }

    #[inline]
    fn with_operation_and_key(operation: Operation, key: impl IntoCowBytes<'a>) -> Self {
        Self { key: Key::new(key), ..Self::new(operation) }
    }

    fn storing(operation: Operation, key: impl IntoCowBytes<'a>, value: impl IntoCowBytes<'a>) -> Self {
        Self { value: value.into_cow_bytes(), ..Self::with_operation_and_key(operation, key) }
    }

    fn counting(operation: Operation, key: impl IntoCowBytes<'a>, delta: u64) -> Self {
        Self { delta, ..Self::with_operation_and_key(operation, key) }
    }

    /// Fetches an item.
    #[inline]
    pub fn get(key: impl IntoCowBytes<'a>) -> Self {
        Self::with_operation_and_key(Operation::Get, key)
    }

    /// Fetches an item and sets its TTL.
    pub fn get_and_touch(key: impl IntoCowBytes<'a>, ttl: impl Into<Ttl>) -> Self {
        Self::with_operation_and_key(Operation::GetAndTouch, key).ttl(ttl)
    }

    /// Stores an item, whether or not it exists.
    #[inline]
    pub fn set(key: impl IntoCowBytes<'a>, value: impl IntoCowBytes<'a>) -> Self {
        Self::storing(Operation::Set, key, value)
    }

    /// Stores an item if it does not exist: [`KeyExists`](crate::types::status::Status::KeyExists) otherwise.
    pub fn add(key: impl IntoCowBytes<'a>, value: impl IntoCowBytes<'a>) -> Self {
        Self::storing(Operation::Add, key, value)
    }

    /// Stores an item if it exists: [`KeyNotFound`](crate::types::status::Status::KeyNotFound) otherwise.
    pub fn replace(key: impl IntoCowBytes<'a>, value: impl IntoCowBytes<'a>) -> Self {
        Self::storing(Operation::Replace, key, value)
    }

    /// Appends bytes to the value of an item; flags and TTL do not change.
    pub fn append(key: impl IntoCowBytes<'a>, value: impl IntoCowBytes<'a>) -> Self {
        Self::storing(Operation::Append, key, value)
    }

    /// Prepends bytes to the value of an item; flags and TTL do not change.
    pub fn prepend(key: impl IntoCowBytes<'a>, value: impl IntoCowBytes<'a>) -> Self {
        Self::storing(Operation::Prepend, key, value)
    }

    /// Deletes an item.
    pub fn delete(key: impl IntoCowBytes<'a>) -> Self {
        Self::with_operation_and_key(Operation::Delete, key)
    }

    /// Increments a counter by `delta`; it wraps at 2^64.
    pub fn increment(key: impl IntoCowBytes<'a>, delta: u64) -> Self {
        Self::counting(Operation::Increment, key, delta)
    }

    /// Decrements a counter by `delta`; it stops at 0.
    pub fn decrement(key: impl IntoCowBytes<'a>, delta: u64) -> Self {
        Self::counting(Operation::Decrement, key, delta)
    }

    /// Sets the TTL of an item.
    pub fn touch(key: impl IntoCowBytes<'a>, ttl: impl Into<Ttl>) -> Self {
        Self::with_operation_and_key(Operation::Touch, key).ttl(ttl)
    }

    /// Removes all items of a server, at once or, with [`Request::ttl`], at a later time.
    pub fn flush() -> Self {
        Self::new(Operation::Flush)
    }

    /// Does nothing, but has a reply.
    pub fn noop() -> Self {
        Self::new(Operation::NoOp)
    }

    /// Fetches the server's version.
    pub fn version() -> Self {
        Self::new(Operation::Version)
    }

    /// Sets the server's log level.
    ///
    /// memcached does not implement it on the binary protocol and would lose synchronization, so there it is refused
    /// before it is sent.
    pub fn verbosity(level: u32) -> Self {
        Self { delta: u64::from(level), ..Self::new(Operation::Verbosity) }
    }

    /// Fetches statistics; `group` is empty for the general ones, or `items`, `slabs`, `settings`, `sizes`, …
    pub fn stat(group: impl IntoCowBytes<'a>) -> Self {
        Self::with_operation_and_key(Operation::Stat, group)
    }

    /// Closes the connection.
    pub fn quit() -> Self {
        Self::new(Operation::Quit)
    }

    /// Lists the authentication mechanisms.
    pub fn sasl_list() -> Self {
        Self::new(Operation::SaslList)
    }

    /// Starts authentication with a mechanism such as `PLAIN`.
    pub fn sasl_auth(mechanism: impl IntoCowBytes<'a>, data: impl IntoCowBytes<'a>) -> Self {
        Self::storing(Operation::SaslAuth, mechanism, data)
    }

    /// Continues authentication.
    pub fn sasl_step(mechanism: impl IntoCowBytes<'a>, data: impl IntoCowBytes<'a>) -> Self {
        Self::storing(Operation::SaslStep, mechanism, data)
    }

    /// Authenticates on the meta and text protocols, with a server that has a password file.
    ///
    /// It must be the first request of a connection, and be answered before the next one is sent.
    pub fn authenticate(user: &str, password: &str) -> Self {
        Self { value: [user, " ", password].concat().into(), ..Self::new(Operation::Authenticate) }
    }

    /// Fetches an item's metadata, without its value and without counting as an access: see
    /// [`Reply::info`](crate::types::reply::Reply::info). Meta protocol only.
    pub fn inspect(key: impl IntoCowBytes<'a>) -> Self {
        Self::get(key).meta(MetaOptions::inspection())
    }

    /// Fetches an item's metadata as a line of text. Meta protocol only.
    pub fn debug(key: impl IntoCowBytes<'a>) -> Self {
        Self::with_operation_and_key(Operation::Debug, key)
    }

    /// Lists items of slab classes (`all`, `hash`, or comma-separated numbers), each in a reply whose value
    /// [`MetadumpItem`](crate::text::MetadumpItem) parses. Needs an idle connection; not on the binary protocol.
    pub fn metadump(classes: impl IntoCowBytes<'a>) -> Self {
        Self { value: classes.into_cow_bytes(), ..Self::new(Operation::Metadump) }
    }

    /// Lists the keys of items of slab classes (`all` or `hash`), each in a reply. Needs an idle
    /// connection, and memcached 1.6.19; not on the binary protocol.
    pub fn mgdump(classes: impl IntoCowBytes<'a>) -> Self {
        Self { value: classes.into_cow_bytes(), ..Self::new(Operation::Mgdump) }
    }

    /// Streams the server's log: `fetchers`, `mutations` and others.
    ///
    /// The first reply is empty; each later one has a line that [`LogLine`](crate::text::LogLine) parses. Needs an
    /// idle connection, which cannot be used for other requests afterwards; not on the binary protocol.
    pub fn watch(streams: impl IntoCowBytes<'a>) -> Self {
        Self { value: streams.into_cow_bytes(), ..Self::new(Operation::Watch) }
    }

    /// Sets the server's memory limit for items, in mebibytes. Not on the binary protocol.
    pub fn memory_limit(mebibytes: u32) -> Self {
        Self { delta: u64::from(mebibytes), ..Self::new(Operation::MemoryLimit) }
    }

    /// Configures the slab classes: `automove 1`, `reassign 1 2`. Not on the binary protocol.
    pub fn slabs(command: impl IntoCowBytes<'a>) -> Self {
        Self { value: command.into_cow_bytes(), ..Self::new(Operation::Slabs) }
    }

    /// Configures the LRU: `mode segmented`, `tune 10 25 0.1 2.0`. Not on the binary protocol.
    pub fn lru(command: impl IntoCowBytes<'a>) -> Self {
        Self { value: command.into_cow_bytes(), ..Self::new(Operation::Lru) }
    }

    /// Controls the LRU crawler: `crawl all`, `sleep 100`; for dumps see [`metadump`](Request::metadump) and
    /// [`mgdump`](Request::mgdump). Not on the binary protocol.
    pub fn lru_crawler(command: impl IntoCowBytes<'a>) -> Self {
        Self { value: command.into_cow_bytes(), ..Self::new(Operation::LruCrawler) }
    }

    /// Fetches the nodes of a managed cluster (`config get cluster`). Not on the binary protocol, on which a server
    /// that does not know it would lose synchronization.
    pub fn cluster_config() -> Self {
        Self::new(Operation::ClusterConfig)
    }

    /// Shuts the server down, if it was started with `-A`. Not on the binary protocol.
    pub fn shutdown() -> Self {
        Self::new(Operation::Shutdown)
    }

    /// Sets the item's flags: a number that the server stores with the value.
    #[must_use]
    pub fn flags(self, flags: u32) -> Self {
        Self { flags, ..self }
    }

    /// Sets the item's TTL; for a flush, its delay.
    #[must_use]
    pub fn ttl(self, ttl: impl Into<Ttl>) -> Self {
        Self { ttl: ttl.into(), ..self }
    }

    /// Makes the request conditional on the item's CAS value; 0 means no condition.
    #[must_use]
    pub fn cas(self, cas: u64) -> Self {
        Self { cas, ..self }
    }

    /// Sets the initial value of a counter that does not exist.
    ///
    /// Without it an absent counter is [`KeyNotFound`](crate::types::status::Status::KeyNotFound).
    #[must_use]
    pub fn initial(self, initial: u64) -> Self {
        Self { initial: Some(initial), ..self }
    }

    /// Makes the request quiet: the server sends no reply to the usual outcome, which is a miss of a fetch, and the
    /// success of anything else.
    ///
    /// The request completes nevertheless: the reply to a later request implies the outcome.
    #[must_use]
    pub fn quiet(self) -> Self {
        Self { quiet: true, ..self }
    }

    /// Requests the key with a fetched item.
    #[must_use]
    pub fn with_key(self) -> Self {
        Self { with_key: true, ..self }
    }

    /// Sets options that only the meta protocol supports.
    #[must_use]
    pub fn meta(self, options: MetaOptions) -> Self {
        Self { meta: Some(Box::new(options)), ..self }
    }

    /// Returns the meta options, if there are any.
    pub fn meta_options(&self) -> Option<&MetaOptions> {
        self.meta.as_deref()
    }

    /// Returns the operation.
    #[inline]
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Returns the key.
    ///
    /// # Errors
    /// [`InvalidKey`] if it is missing or invalid.
    #[inline]
    pub fn key(&self) -> Result<&Key<'a>, InvalidKey> {
        self.key.as_ref().map_err(|&invalid| invalid)
    }

    /// Returns whether the request is quiet.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Returns whether the key is requested with the item.
    pub fn returns_key(&self) -> bool {
        self.with_key
    }

    /// Returns the item's flags.
    pub fn item_flags(&self) -> u32 {
        self.flags
    }

    /// Returns the CAS value that the request is conditional on; 0 means no condition.
    pub fn expected_cas(&self) -> u64 {
        self.cas
    }

    /// Returns the item's TTL.
    pub fn time_to_live(&self) -> Ttl {
        self.ttl
    }

    /// Returns the delta of a counter.
    pub fn delta(&self) -> u64 {
        self.delta
    }

    /// Returns the initial value of a counter that does not exist.
    pub fn initial_value(&self) -> Option<u64> {
        self.initial
    }

    /// Returns the value.
    pub fn value(&self) -> &[u8] {
        self.value.as_slice()
    }

    /// Returns whether the TTL exceeds the relative times of the protocol.
    #[inline]
    pub fn needs_clock(&self) -> bool {
        matches!(self.ttl, Ttl::After(duration) if Ttl::After(duration).seconds() == Err(crate::types::ttl::InvalidTtl::Unresolved))
    }

    /// Converts a long TTL to an absolute one: see [`Ttl::resolve`].
    #[must_use]
    pub fn resolve_ttl(self, now: impl FnOnce() -> SystemTime) -> Self {
        Self { ttl: self.ttl.resolve(now), ..self }
    }

    /// Prefixes the key, if there is one.
    #[must_use]
    pub fn prefix_key(self, prefix: &[u8]) -> Self {
        match &self.key {
            Ok(key) if self.operation.has_key() && !prefix.is_empty() => {
                let key = Key::new([prefix, key.as_bytes()].concat());
                Self { key, ..self }
            }
            _ => self,
        }
    }

    /// Converts into an owned request; borrowed bytes are copied.
    pub fn into_owned(self) -> Request<'static> {
        Request {
            operation: self.operation,
            key: self.key.map(Key::into_owned),
            value: self.value.into_owned(),
            flags: self.flags,
            cas: self.cas,
            ttl: self.ttl,
            delta: self.delta,
            initial: self.initial,
            quiet: self.quiet,
            with_key: self.with_key,
            meta: self.meta,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_request_options_cost_one_word() {
        #[expect(dead_code, reason = "only its size matters")]
        struct CommonRequest<'a>(
            Operation,
            Result<Key<'a>, InvalidKey>,
            CowBytes<'a>,
            u32,
            u64,
            Ttl,
            u64,
            Option<u64>,
            [bool; 2],
        );
        assert!(size_of::<Request<'_>>() <= size_of::<CommonRequest<'_>>() + size_of::<usize>());
    }
}
