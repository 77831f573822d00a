//! Faults on order: what goes wrong, and where.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

/// Something that goes wrong, on order.
///
/// A fault is plain data. [`Server::inject`](crate::Server::inject) takes it as it is, and then it
/// concerns every connection, those that are open too; or with a place, by [`Fault::on_reply`] and
/// [`Fault::on_connection`]. Several faults act together, in the order of injection.
///
/// What changes replies acts on whole replies as they are produced. On the binary wire a reply is a
/// packet, and each packet of a `stat` is one. On the text wire it is everything that answers one
/// command: a line, a line with its value, a fetch's values with their `END`, a group of statistics, a
/// dump. The lines of `watch` are no replies.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// A reply leaves so much later; requests are executed at once, and replies keep their order.
    Delay(Duration),
    /// A reply is left out; the request is executed.
    Drop,
    /// The connection is closed after so many bytes of replies, counted from the injection (or
    /// from the beginning of the reply that is the fault's place).
    Cut {
        /// How many bytes are still delivered.
        after: usize,
        /// How the connection is closed.
        close: Close,
    },
    /// Each byte is written by itself.
    ByteByByte,
    /// Replies are written in pieces of random length.
    Split {
        /// The same seed splits alike.
        seed: u64,
    },
    /// Random bytes take a reply's place; the first is never a reply's.
    Garbage {
        /// The same seed gives the same bytes.
        seed: u64,
    },
    /// A reply begins with this byte instead of 0x81, or instead of its first letter.
    WrongMagic(u8),
    /// A reply has this opcode; the second byte of a text reply is this one.
    WrongOpcode(u8),
    /// These bits of a reply's opaque are turned; of an opaque of a meta reply that is no decimal
    /// number, those of its last byte. A reply without an opaque stays as it is.
    WrongOpaque {
        /// The bits; with 1 it is likely to become another request's.
        xor: u32,
    },
    /// A reply changes places with the next one of its connection; it waits until there is one.
    Swap,
    /// A reply is sent twice.
    Repeat,
    /// A reply announces a body, or on the text wire its first value, of 4 GiB, less one byte.
    HugeLength,
    /// Replies are written at this speed.
    Drip {
        /// Bytes a second; 0 is taken as 1.
        bytes_per_second: u32,
    },
    /// The server does not listen: new connections are refused, open ones stay. The place does not
    /// matter.
    Refuse,
    /// What comes is read and thrown away, and nothing is answered. Such a connection is closed
    /// when the faults are cleared.
    NeverAnswer,
    /// Nothing more is read, so a client that goes on writing fills its buffers and waits.
    StopReading,
    /// These bytes are written at once, and the connection is closed: see
    /// [`Fault::too_many_connections`], [`Fault::http`], [`Fault::tls_alert`]. Of the connections,
    /// new ones are concerned; with a reply as its place, it takes that reply's.
    Greet(Bytes),
}

/// How a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "TCP has two ways")]
pub enum Close {
    /// In order, after what was written: the peer reads an end.
    Fin,
    /// With a reset: the peer's read fails, and what it has not read yet may be lost. A Unix
    /// socket has no resets and closes in order.
    Rst,
}

/// Where a fault happens. Numbers count from the injection, and the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// On every connection.
    Everywhere,
    /// On the n-th connection that is accepted from now on, as long as it lives.
    NextConnection(u64),
    /// On the n-th reply from now on, whatever its connection.
    NextReply(u64),
}

/// A fault with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "what, and where")]
pub struct Injection {
    /// What goes wrong.
    pub fault: Fault,
    /// Where it does.
    pub place: Place,
}

impl Fault {
    /// What a server without room for another connection says, in text even to binary clients.
    pub const TOO_MANY_CONNECTIONS: &'static [u8] = b"ERROR Too many open connections\r\n";

    /// The fault on the n-th connection that is accepted from now on; the first is 1.
    #[must_use]
    pub fn on_connection(self, n: u64) -> Injection {
        Injection { fault: self, place: Place::NextConnection(n) }
    }

    /// The fault on the n-th reply from now on, whatever its connection; the first is 1.
    #[must_use]
    pub fn on_reply(self, n: u64) -> Injection {
        Injection { fault: self, place: Place::NextReply(n) }
    }

    /// Greets like a memcached without room for another connection.
    pub fn too_many_connections() -> Self {
        Self::Greet(Bytes::from_static(Self::TOO_MANY_CONNECTIONS))
    }

    /// Greets like an HTTP server that was not asked in HTTP.
    pub fn http() -> Self {
        Self::Greet(Bytes::from_static(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
    }

    /// Greets like a TLS server that was not asked in TLS: a fatal alert, "protocol version".
    pub fn tls_alert() -> Self {
        Self::Greet(Bytes::from_static(&[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46]))
    }
}

impl From<Fault> for Injection {
    fn from(fault: Fault) -> Self {
        Self { fault, place: Place::Everywhere }
    }
}

/// The faults of a server that wait for their place, and those that are everywhere.
#[derive(Debug)]
pub(crate) struct Faults {
    orders: Mutex<Orders>,
    /// Whether a reply may be a fault's place: looked at before each batch of replies.
    on_replies: AtomicBool,
    /// Tells connections that what is everywhere has changed.
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Orders {
    everywhere: Vec<Fault>,
    connections: Vec<Countdown>,
    replies: Vec<Countdown>,
    /// How often everything was cleared.
    clearings: u64,
}

#[derive(Debug)]
struct Countdown {
    left: u64,
    fault: Fault,
}

/// The faults that are everywhere, for a connection that knows some of them already.
#[derive(Debug)]
pub(crate) struct Everywhere<'a> {
    pub(crate) faults: &'a [Fault],
    pub(crate) clearings: u64,
}

impl Faults {
    pub(crate) fn new() -> Self {
        Self { orders: Mutex::default(), on_replies: AtomicBool::new(false), changes: watch::Sender::new(()) }
    }

    pub(crate) fn inject(&self, Injection { fault, place }: Injection) {
        let mut orders = self.orders();
        match place {
            Place::Everywhere => orders.everywhere.push(fault),
            Place::NextConnection(n) => orders.connections.push(Countdown { left: n.max(1), fault }),
            Place::NextReply(n) => {
                orders.replies.push(Countdown { left: n.max(1), fault });
                self.on_replies.store(true, Ordering::Release);
            }
        }
        drop(orders);
        self.changes.send_replace(());
    }

    pub(crate) fn clear(&self) {
        let mut orders = self.orders();
        *orders = Orders { clearings: orders.clearings + 1, ..Orders::default() };
        self.on_replies.store(false, Ordering::Release);
        drop(orders);
        self.changes.send_replace(());
    }

    /// What tells a connection of changes; the first look finds one.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        let mut changes = self.changes.subscribe();
        changes.mark_changed();
        changes
    }

    /// Shows what is everywhere.
    pub(crate) fn with_everywhere(&self, show: impl FnOnce(Everywhere<'_>)) {
        let orders = self.orders();
        show(Everywhere { faults: &orders.everywhere, clearings: orders.clearings });
    }

    /// The faults of a connection that is just accepted, and how many clearings it does not know of.
    pub(crate) fn of_connection(&self) -> (Vec<Fault>, u64) {
        let mut orders = self.orders();
        (count_down(&mut orders.connections), orders.clearings)
    }

    /// Whether a reply may be a fault's place.
    #[inline]
    pub(crate) fn may_concern_replies(&self) -> bool {
        self.on_replies.load(Ordering::Acquire)
    }

    /// The faults of a reply that was just produced.
    pub(crate) fn of_reply(&self) -> Vec<Fault> {
        if !self.may_concern_replies() {
            return Vec::new();
        }
        let mut orders = self.orders();
        let due = count_down(&mut orders.replies);
        self.on_replies.store(!orders.replies.is_empty(), Ordering::Release);
        due
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        // What the lock guards is consistent between any two statements.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one connection or reply, and takes the faults whose place it is.
fn count_down(orders: &mut Vec<Countdown>) -> Vec<Fault> {
    for order in orders.iter_mut() {
        order.left -= 1;
    }
    orders.extract_if(.., |order| order.left == 0).map(|order| order.fault).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_from_the_injection() {
        let faults = Faults::new();
        faults.inject(Fault::Drop.on_reply(2));
        assert_eq!(faults.of_reply(), []);
        faults.inject(Fault::Repeat.on_reply(1));
        assert!(faults.may_concern_replies());
        assert_eq!(faults.of_reply(), [Fault::Drop, Fault::Repeat]);
        assert!(!faults.may_concern_replies());
        assert_eq!(faults.of_reply(), []);
    }

    #[test]
    fn connections_and_replies_are_counted_apart() {
        let faults = Faults::new();
        faults.inject(Fault::StopReading.on_connection(1));
        assert_eq!(faults.of_reply(), []);
        assert_eq!(faults.of_connection(), (vec![Fault::StopReading], 0));
        assert_eq!(faults.of_connection(), (vec![], 0));
    }

    #[test]
    fn clearing_forgets_all_and_tells() {
        let faults = Faults::new();
        let mut changes = faults.subscribe();
        changes.mark_unchanged();
        faults.inject(Fault::Drop.on_reply(1));
        faults.inject(Fault::Drop.on_connection(1));
        faults.inject(Fault::ByteByByte.into());
        faults.clear();
        assert!(changes.has_changed().unwrap());
        assert_eq!((faults.of_reply(), faults.of_connection()), (vec![], (vec![], 1)));
        faults.with_everywhere(|everywhere| assert_eq!((everywhere.faults, everywhere.clearings), (&[][..], 1)));
    }

    #[test]
    fn zero_is_taken_as_the_first() {
        let faults = Faults::new();
        faults.inject(Fault::Drop.on_reply(0));
        assert_eq!(faults.of_reply(), [Fault::Drop]);
    }
}
