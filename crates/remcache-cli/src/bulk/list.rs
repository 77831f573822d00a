//! Lists the items of servers in batches, all servers at once.
//!
//! While memcached waits for the reader of its list, it holds a lock on some of its items, and other clients that
//! ask for these items wait as well (docs/protocol.md 4.9). So a separate thread reads the lists as fast as they
//! come, and batches that cannot be processed yet wait in a [`Spool`].

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use remcache::ServerHandle;
use remcache::proto::text::MetadumpItem;
use remcache::{Error, Ttl};
use tokio::runtime::Builder;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::BATCH_BYTES;
use super::spool::Spool;
use crate::exit::Failure;
use crate::selection::{self, Selection};

/// The items that a command processes: a selection within a namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyScope {
    namespace: Arc<[u8]>,
    selection: Arc<Selection>,
}

/// Some items of a server.
#[derive(Debug)]
pub(crate) struct ListedBatch {
    /// The index of the server.
    pub(crate) server: usize,
    /// The selected items.
    pub(crate) items: Vec<MetadumpItem>,
    /// The number of listed items, including those that were not selected.
    pub(crate) seen: u64,
}

/// An event of listing.
#[derive(Debug)]
pub(crate) enum ListEvent {
    Batch(ListedBatch),
    /// A server, given by its index, failed to list its items, or all of them.
    Failed(usize, Error),
    /// The batches that wait cannot be stored.
    NoRoom(io::Error),
}

impl ListEvent {
    /// Returns the batch, if it is one. The failure of a server is passed on, and is not the end of the others.
    pub(crate) fn batch(self, listing_failed: impl FnOnce(&Error)) -> Result<Option<ListedBatch>, Failure> {
        match self {
            Self::Batch(batch) => Ok(Some(batch)),
            Self::Failed(_, error) => {
                listing_failed(&error);
                Ok(None)
            }
            Self::NoRoom(error) => Err(Failure::Io("a temporary file for the list".into(), error)),
        }
    }
}

impl ListEvent {
    /// Returns the number of selected items.
    pub(crate) fn items(&self) -> usize {
        match self {
            Self::Batch(batch) => batch.items.len(),
            Self::Failed(..) | Self::NoRoom(_) => 0,
        }
    }
}

impl KeyScope {
    pub(crate) fn new(namespace: &[u8], selection: &Selection) -> Self {
        Self { namespace: namespace.into(), selection: Arc::new(selection.clone()) }
    }

    /// Returns a key without the namespace; `None` if it is outside.
    pub(crate) fn name<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        key.strip_prefix(&*self.namespace).filter(|name| !name.is_empty())
    }

    /// Returns the key of a selected item without the namespace.
    pub(crate) fn name_of<'i>(&self, item: &'i MetadumpItem) -> &'i [u8] {
        self.name(&item.key).unwrap_or(&item.key)
    }

    fn fits(&self, item: &MetadumpItem, now: u64) -> bool {
        self.name(&item.key).is_some_and(|key| self.selection.fits(key, item, now))
    }
}

/// Returns whether an item has expired at this time, in seconds of Unix time.
pub(crate) fn is_expired(item: &MetadumpItem, now: u64) -> bool {
    item.expires == Ttl::Expired || selection::expiry(item).is_some_and(|at| at <= now)
}

/// Lists all servers at once, in batches of this size.
pub(crate) fn list(
    servers: &[ServerHandle],
    scope: &KeyScope,
    size: usize,
) -> Result<mpsc::Receiver<ListEvent>, Failure> {
    let fail = |error| Failure::Io("a thread for the lists".into(), error);
    let (sender, receiver) = mpsc::channel(WAITING);
    let runtime = Builder::new_current_thread().enable_all().build().map_err(fail)?;
    let (servers, scope) = (servers.to_vec(), scope.clone());
    let listing = move || runtime.block_on(list_all(servers, scope, size, sender));
    thread::Builder::new().name("listing".into()).spawn(listing).map_err(fail)?;
    Ok(receiver)
}

async fn list_all(servers: Vec<ServerHandle>, scope: KeyScope, size: usize, sender: mpsc::Sender<ListEvent>) {
    let queue = Arc::new(Queue { spool: Mutex::default(), has_more: Notify::new(), sender });
    let mut lists = JoinSet::new();
    for (index, server) in servers.into_iter().enumerate() {
        lists.spawn(list_server(index, server, scope.clone(), size, Arc::clone(&queue)));
    }
    let mut is_listing = true;
    while is_listing || !queue.is_empty() {
        tokio::select! {
            sent = queue.send_next() => if !sent { return },
            ended = lists.join_next(), if is_listing => is_listing = ended.is_some(),
        }
    }
}

/// Batches that wait to be processed.
struct Queue {
    spool: Mutex<Spool>,
    has_more: Notify,
    sender: mpsc::Sender<ListEvent>,
}

impl Queue {
    /// Queues a batch without waiting; returns false if the receiver is gone.
    fn push(&self, batch: ListedBatch) -> bool {
        let mut spool = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
        let permit =
            if spool.is_empty() { self.sender.try_reserve() } else { Err(mpsc::error::TrySendError::Full(())) };
        match permit {
            Ok(permit) => permit.send(ListEvent::Batch(batch)),
            Err(mpsc::error::TrySendError::Closed(())) => return false,
            Err(mpsc::error::TrySendError::Full(())) => {
                spool.push(batch);
                self.has_more.notify_one();
            }
        }
        !self.sender.is_closed()
    }

    fn is_empty(&self) -> bool {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Sends the oldest batch when there is one and the receiver is ready; returns false if the receiver is gone.
    async fn send_next(&self) -> bool {
        while self.is_empty() {
            self.has_more.notified().await;
        }
        let Ok(permit) = self.sender.reserve().await else { return false };
        match self.spool.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            Some(Ok(batch)) => permit.send(ListEvent::Batch(batch)),
            Some(Err(error)) => permit.send(ListEvent::NoRoom(error)),
            None => {}
        }
        true
    }
}

async fn list_server(index: usize, server: ServerHandle, scope: KeyScope, size: usize, queue: Arc<Queue>) {
    let mut listing = server.metadump();
    let empty = || ListedBatch { server: index, items: Vec::with_capacity(size), seen: 0 };
    let (mut batch, mut bytes, mut now) = (empty(), 0, selection::now());
    while let Some(item) = listing.next().await {
        let item = match item {
            Ok(item) => item,
            Err(error) => {
                // An empty batch would mean that the server has no items.
                if batch.seen > 0 {
                    queue.push(batch);
                }
                // If the receiver is gone, the command has ended.
                let _ = queue.sender.send(ListEvent::Failed(index, error)).await;
                return;
            }
        };
        batch.seen += 1;
        if scope.fits(&item, now) {
            bytes += item.size;
            batch.items.push(item);
        }
        if batch.items.len() >= size || bytes >= BATCH_BYTES || batch.seen >= MAX_SEEN {
            if !queue.push(std::mem::replace(&mut batch, empty())) {
                return;
            }
            (bytes, now) = (0, selection::now());
        }
    }
    queue.push(batch);
}

/// The number of batches in memory that wait to be processed.
const WAITING: usize = 8;

/// A batch is sent after this many listed items even if few of them are selected, so that the progress moves.
const MAX_SEEN: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn item(line: &str) -> MetadumpItem {
        MetadumpItem::parse(line.as_bytes()).unwrap()
    }

    #[test]
    fn a_namespace_excludes_other_keys() {
        let scope = KeyScope::new(b"shop:", &Selection::default());
        let fits = |key: &str| scope.fits(&item(&format!("key={key} exp=-1")), 0);
        assert!(fits("shop:a"));
        assert!(!fits("shop:") && !fits("shoq:a") && !fits("a"));
        assert_eq!(scope.name(b"shop:a"), Some(&b"a"[..]));
    }

    #[test]
    fn items_expire_at_their_time() {
        for (exp, now, expected) in [("100", 99, false), ("100", 100, true), ("-1", 100, false), ("-5", 1, true)] {
            assert_eq!(is_expired(&item(&format!("key=k exp={exp}")), now), expected, "{exp} at {now}");
        }
    }
}
