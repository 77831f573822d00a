//! Faults that a test can inject, and the scope of each.

use std::time::Duration;

use bytes::Bytes;

/// A fault that [`Server::inject`](crate::Server::inject) causes.
///
/// Injected as it is, a fault affects all connections, open ones too. [`Fault::on_connection`] and [`Fault::on_reply`]
/// limit it to one connection or reply. Several faults act together, in the order of injection.
///
/// Faults that change replies act on whole replies as they are produced. In the binary protocol a reply is a packet,
/// and each packet of a `stat` is one. In the text protocol it is everything that answers one command: a line, a line
/// with its value, the values of a `get` with their `END`, a group of statistics, a dump. The lines of `watch` are not
/// replies.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Delays replies by this time. Requests are executed at once, and replies keep their order.
    Delay(Duration),
    /// Executes the request but drops its reply.
    Drop,
    /// Closes the connection after this number of reply bytes, counted from the injection, or from the start of the
    /// reply if the fault is limited to one.
    Disconnect {
        /// The number of bytes that are still delivered.
        after: usize,
        /// How the connection is closed.
        close: Close,
    },
    /// Writes each byte by itself.
    ByteByByte,
    /// Writes replies in pieces of random length.
    Split {
        /// The same seed splits in the same places.
        seed: u64,
    },
    /// Replaces a reply with random bytes. The first one is never a valid first byte of a reply.
    Garbage {
        /// The same seed produces the same bytes.
        seed: u64,
    },
    /// Starts a reply with this byte instead of 0x81, or instead of the first letter of a text reply.
    WrongMagic(u8),
    /// Puts this opcode into a reply. In a text reply it replaces the second byte.
    WrongOpcode(u8),
    /// Flips bits of a reply's opaque. If the opaque of a meta reply is not a decimal number, bits of its last byte are
    /// flipped. Replies without an opaque are unchanged.
    WrongOpaque {
        /// The bits to flip; with 1 the opaque is likely to become that of another request.
        xor: u32,
    },
    /// Swaps a reply with the next one on its connection. It is held back until there is one.
    Swap,
    /// Sends a reply twice.
    Duplicate,
    /// Announces a body of 4 GiB minus one byte. In a text reply the length of the first value is changed.
    HugeLength,
    /// Limits the speed at which replies are written.
    Throttle {
        /// Bytes per second; 0 means 1.
        bytes_per_second: u32,
    },
    /// Stops listening: new connections are refused, open ones stay. The scope has no effect.
    RefuseConnections,
    /// Reads and discards requests without executing or answering them. Affected connections are closed when the faults
    /// are cleared.
    BlackHole,
    /// Stops reading, so that the buffers of a client that keeps writing fill up.
    StopReading,
    /// Writes these bytes and closes the connection: on new connections at once, or in place of a reply if the fault is
    /// limited to one. See [`Fault::too_many_connections`], [`Fault::http`] and [`Fault::tls_alert`].
    SendAndClose(Bytes),
}

/// The way in which a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Close {
    /// In order: the peer reads everything that was written, then the end of the stream.
    Fin,
    /// With a reset: the peer's read fails, and data that it has not read yet may be lost. Streams other than TCP have
    /// no resets and are closed in order.
    Rst,
}

/// The part of the traffic that a fault affects. Numbers count from the injection and start at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// All connections, including open ones.
    AllConnections,
    /// The n-th connection that is accepted from now on, for its lifetime.
    NthConnection(u64),
    /// The n-th reply from now on, on any connection.
    NthReply(u64),
}

/// A fault with its scope.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Injection {
    /// The fault.
    pub fault: Fault,
    /// Where it goes wrong.
    pub scope: Scope,
}

impl Fault {
    /// The line that memcached sends when its connection limit is reached, even to binary clients.
    pub const TOO_MANY_CONNECTIONS: &'static [u8] = b"ERROR Too many open connections\r\n";

    /// Limits the fault to the n-th connection that is accepted from now on. The first is 1.
    #[must_use]
    pub fn on_connection(self, n: u64) -> Injection {
        Injection { fault: self, scope: Scope::NthConnection(n) }
    }

    /// Limits the fault to the n-th reply from now on, on any connection. The first is 1.
    #[must_use]
    pub fn on_reply(self, n: u64) -> Injection {
        Injection { fault: self, scope: Scope::NthReply(n) }
    }

    /// Rejects connections like a memcached whose connection limit is reached.
    pub fn too_many_connections() -> Self {
        Self::SendAndClose(Bytes::from_static(Self::TOO_MANY_CONNECTIONS))
    }

    /// Answers like an HTTP server that received a request in another protocol.
    pub fn http() -> Self {
        Self::SendAndClose(Bytes::from_static(
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ))
    }

    /// Answers like a TLS server that received plain text: with the fatal alert "protocol version".
    pub fn tls_alert() -> Self {
        Self::SendAndClose(Bytes::from_static(&[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46]))
    }
}

impl From<Fault> for Injection {
    fn from(fault: Fault) -> Self {
        Self { fault, scope: Scope::AllConnections }
    }
}
