//! A server's item settings: the size limit of an item, and whether items have CAS values.
//!
//! memcached deletes the stored item when it refuses a larger one for the same key (docs/protocol.md 2.1). A large
//! value is therefore compared with the server's limit before it is sent: a write that is refused here changes nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};

use crate::observe::Parent;
use crate::proto::{Operation, Protocol, Reply, Request, Status};
use crate::result::NO_CAS;
use crate::server::Server;
use crate::server::reply_stream::ReplyStream;

/// A server's item settings; `None` for those that it does not report, as many proxies do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ItemSettings {
    /// The size limit of an item in bytes, including its header (`-I`).
    limit: Option<u64>,
    /// Whether items have CAS values, which `-C` turns off.
    has_cas: Option<bool>,
    /// Whether items have a formatted suffix, as in memcached before 1.5.
    has_suffix: Option<bool>,
}

impl ItemSettings {
    fn read(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"item_size_max" => self.limit = std::str::from_utf8(value).ok().and_then(|limit| limit.parse().ok()),
            b"cas_enabled" => self.has_cas = Some(value != b"no"),
            b"inline_ascii_response" => self.has_suffix = Some(value != b"no"),
            // Only versions without the suffix report this.
            b"dump_enabled" => self.has_suffix = self.has_suffix.or(Some(false)),
            _ => {}
        }
    }

    /// Returns whether the server is known to have no CAS values.
    pub(crate) fn lacks_cas(&self) -> bool {
        self.has_cas == Some(false)
    }

    /// Returns whether the server refuses an item of this size.
    pub(crate) fn is_too_large(&self, key: usize, value: usize, flags: u32) -> bool {
        self.limit.is_some_and(|limit| self.size(key, value, flags) > limit)
    }

    /// Returns the size of an item with these lengths.
    fn size(&self, key: usize, value: usize, flags: u32) -> u64 {
        let cas = if self.lacks_cas() { 0 } else { CAS };
        let flags = if flags == 0 { 0 } else { FLAGS };
        let suffix = if self.has_suffix.unwrap_or(true) { MAX_SUFFIX } else { 0 };
        (HEADER + cas + flags + suffix + key + value) as u64
    }

    /// Returns the error reply if the server would not take the request, or would execute it whatever its condition.
    pub(crate) fn refuse(&self, request: &Request<'_>) -> Option<Reply> {
        if request.expected_cas() != 0 && self.lacks_cas() {
            return Some(Reply::with_text(Status::Unsupported, NO_CAS));
        }
        let limit = self.limit?;
        let key = request.key().map_or(0, |key| key.as_bytes().len());
        let size = self.size(key, request.value().len(), request.item_flags());
        (size > limit).then(|| {
            let text = format!(
                "the item takes {size} bytes, its key and header included, and the server takes {limit} at most: \
                 start the server with a larger -I"
            );
            Reply::with_text(Status::ValueTooLarge, text)
        })
    }
}

/// The fixed parts of a memcached item: its header, the key's terminator and the value's line end; then a CAS value
/// and, unless they are 0, flags.
const HEADER: usize = 51;
const CAS: usize = 8;
const FLAGS: usize = 4;
/// Flags and length as text, as older servers store them: " 4294967295 1073741824".
const MAX_SUFFIX: usize = 22;

/// The cached item settings of one server.
#[derive(Debug)]
pub(crate) struct ItemLimit {
    known: Mutex<Option<CachedLimit>>,
    /// The shortest value length that is compared with the limit.
    checked_from: AtomicUsize,
}

#[derive(Clone, Copy, Debug)]
struct CachedLimit {
    settings: ItemSettings,
    /// The number of connections established before: a restarted server may have other settings.
    connects: u64,
}

impl ItemLimit {
    pub(crate) fn new(checked_from: usize) -> Self {
        Self { known: Mutex::default(), checked_from: AtomicUsize::new(checked_from) }
    }
}

/// memcached's lowest limit is 1 KiB, and key and header take less than half of it.
const NEVER_REFUSED: usize = 512;

impl Server {
    /// Returns whether a request has to be compared with the server's item settings before it is sent.
    #[inline]
    pub(crate) fn is_checked(&self, request: &Request<'_>) -> bool {
        let is_large = request.value().len() >= self.item_limit.checked_from.load(Ordering::Relaxed);
        (is_large && stores(request)) || may_ignore_condition(request)
    }

    /// Records that a value of this length was refused for its size: if it had not been compared with the limit,
    /// shorter ones are compared from now on.
    #[cold]
    pub(crate) fn record_size_refusal(&self, length: usize) {
        if length < self.config().check_item_size_from {
            self.item_limit.checked_from.fetch_min(NEVER_REFUSED, Ordering::Relaxed);
        }
    }

    /// Returns the cached item settings.
    pub(crate) fn known_item_settings(&self) -> Option<ItemSettings> {
        let known = *self.item_limit.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.filter(|known| known.connects == self.connects()).map(|known| known.settings)
    }

    /// Returns the server's item settings, requesting them if needed; those of a server that does not answer within
    /// half of the remaining time are unknown.
    pub(crate) async fn item_settings(self: &Arc<Self>, deadline: Instant) -> ItemSettings {
        if let Some(known) = self.known_item_settings() {
            return known;
        }
        let now = Instant::now();
        let extend_by = now + deadline.saturating_duration_since(now) / 2;
        let settings = match self.connection(0).protocol() {
            // A proxy without `stats` may close the connection, which would fail other callers' requests.
            Some(Protocol::Text) => timeout_at(extend_by, self.request_settings_on_new_connection()).await,
            _ => timeout_at(extend_by, self.request_settings_pipelined()).await,
        };
        let settings = settings.ok().flatten().unwrap_or_default();
        let known = CachedLimit { settings, connects: self.connects() };
        *self.item_limit.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        settings
    }

    async fn request_settings_pipelined(self: &Arc<Self>) -> Option<ItemSettings> {
        let mut settings = ItemSettings::default();
        let mut replies = ReplyStream::of_server(Ok(Arc::clone(self)), Request::stat("settings"), Parent::Internal);
        while let Some(reply) = replies.next().await {
            if !reply.is_ok() {
                return None;
            }
            settings.read(&reply.key, &reply.value);
        }
        Some(settings)
    }

    async fn request_settings_on_new_connection(&self) -> Option<ItemSettings> {
        let mut settings = ItemSettings::default();
        let mut stream = self.connect_text().await.ok()?;
        stream.write_all(b"stats settings\r\n").await.ok()?;
        stream.flush().await.ok()?;
        let mut text = Vec::new();
        while !text.ends_with(b"END\r\n") {
            if stream.read_buf(&mut text).await.ok()? == 0 || text.len() > MAX_LIST || !text.starts_with(b"S") {
                return None;
            }
        }
        for line in text.split(|&byte| byte == b'\n') {
            let mut words = line.trim_ascii().split(|&byte| byte == b' ').skip(1);
            if let (Some(name), Some(value)) = (words.next(), words.next()) {
                settings.read(name, value);
            }
        }
        Some(settings)
    }
}

const MAX_LIST: usize = 64 << 10;

/// Returns whether memcached without CAS values executes the request although it has a condition.
///
/// On the binary protocol it does so for sets too. These are not checked: their CAS values come from reads of the same
/// server, and a server without CAS values returns none. Asking for its settings first would add a round trip, whose
/// loss would keep a lease from being released.
#[inline]
fn may_ignore_condition(request: &Request<'_>) -> bool {
    matches!(request.operation(), Operation::Append | Operation::Prepend) && request.expected_cas() != 0
}

/// Returns whether a request stores a value.
pub(crate) fn stores(request: &Request<'_>) -> bool {
    use Operation::{Add, Append, Prepend, Replace, Set};
    matches!(request.operation(), Set | Add | Replace | Append | Prepend)
}
