//! An embedded memcached for tests: in memory, on a port of its own, with faults on order.
//!
//! A test starts a server in microseconds, points the client that it tests at [`Server::address`],
//! and drops the server at its end. Nothing has to be installed, and tests that run at the same
//! time do not meet. What cannot be had from a real server can be ordered here: a reply that is
//! late, lost, cut, garbled or another's; a server that refuses, hangs or is away for a while; time
//! that passes when the test says so.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//!
//! use remcache_server::{Fault, Server};
//!
//! /// The client that is tested: asks for one key, and gives the value.
//! fn fetch(address: &str, key: &str) -> std::io::Result<Vec<u8>> {
//!     let mut stream = TcpStream::connect(address)?;
//!     let length = u8::try_from(key.len()).expect("a short key");
//!     let mut request = [0; 24];
//!     (request[0], request[3], request[11]) = (0x80, length, length);
//!     stream.write_all(&[&request, key.as_bytes()].concat())?;
//!     let mut header = [0; 24];
//!     stream.read_exact(&mut header)?;
//!     let mut body = vec![0; usize::from(header[11])];
//!     stream.read_exact(&mut body)?;
//!     Ok(body)
//! }
//!
//! # fn main() -> std::io::Result<()> {
//! let runtime = tokio::runtime::Runtime::new()?;
//! let server = runtime.block_on(Server::start())?;
//! assert_eq!(fetch(&server.address(), "Hello")?, b"Not found");
//!
//! // The next reply is cut in the middle of its header.
//! server.inject(Fault::Cut { after: 10, close: remcache_server::Close::Fin }.on_reply(1));
//! assert!(fetch(&server.address(), "Hello").is_err());
//!
//! // The server is away, and comes back at the same address.
//! runtime.block_on(server.stop());
//! assert!(fetch(&server.address(), "Hello").is_err());
//! runtime.block_on(server.restart())?;
//! assert_eq!(fetch(&server.address(), "Hello")?, b"Not found");
//! assert_eq!(server.requests(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! The server runs on tokio's current runtime and needs no more than one thread, so it works under
//! `#[tokio::test]` as it is. A client that blocks its thread, as the one above, needs a runtime with
//! threads of its own.
//!
//! # What it is
//!
//! A memcached as 1.6.18 is one, or a newer one up to 1.6.45 by [`Builder::version`], on all its wires;
//! the first byte of a connection chooses, or [`Builder::wire`] does.
//!
//! - **Binary**: get, set, add, replace, append, prepend, delete, increment, decrement, touch,
//!   get-and-touch, flush (later too), no-op, version, stat, quit, their quiet and with-key forms, and
//!   SASL's PLAIN if it has [users](Builder::user).
//! - **Text**: the same as `get` to `decr`, `gat`, `touch` and `noreply`; `stats`, `flush_all`,
//!   `cache_memlimit`, `verbosity`, `lru_crawler metadump`, `watch`, `shutdown` if it is
//!   [allowed](Builder::shutdown); a first `set` that says who it is if it has
//!   [users](Builder::text_user). What moves slabs or LRU segments is answered and does nothing.
//! - **Meta**: `mg`, `ms`, `md`, `ma`, `me`, `mn` with the flags of 1.6.18: base64 keys, opaques, quiet
//!   forms, early recaching and stale items with one winner.
//! - **Clusters**: `config get cluster` as ElastiCache's configuration endpoint answers it, with a
//!   [list of nodes](Builder::cluster), opcode 0x60 on the binary wire; the list
//!   [changes](Server::set_cluster) while the server runs.
//!
//! It makes memcached's own mistakes where clients have to live with them: a set that is refused as
//! too large deletes the old item, an unknown opcode with a key loses step, a line that is no command
//! leaves its data block to be read as one. It passes `memccapable` whole, and answers thousands of
//! random commands as the memcached beside it does (`tests/same_as_memcached.rs`).
//!
//! # What it does otherwise
//!
//! Of 652 exchanges that were recorded from a real server it repeats 648, byte for byte but for what
//! varies from run to run, and 8 of those as 1.6.45 does; `tests/vectors.rs` lists them with the reasons.
//!
//! | is different | because |
//! |---|---|
//! | SASL offers PLAIN alone | it is what clients use |
//! | statistics leave out LRU segments, threads and buffers | they mean nothing here |
//! | a flush that is put off brings nothing back that an earlier one removed | memcached forgets what it has not removed yet |
//! | a fetch with too long a key leaves earlier replies alone | memcached throws away what has not left |
//! | a fetch has at most a megabyte of keys | memory stays bounded |
//! | a base64 key has padding and nothing else | memcached skips what is no base64 |
//! | a counter that shrinks is always padded | memcached pads unless somebody looks at it |
//! | `lru_crawler disable` disables nothing | nothing crawls |
//! | `watch` tells nothing of connections, of raw commands, and of values that are refused unread | only items are watched |
//!
//! # What it is not
//!
//! A cache for production: all connections share one lock. It does not speak UDP or TLS.
//!
//! # Where to look
//!
//! | to | see |
//! |---|---|
//! | choose port, Unix socket, wires, limits, version, users | [`Server::builder`] |
//! | be a configuration endpoint | [`Builder::cluster`], [`Server::set_cluster`], [`ClusterNode`] |
//! | let things go wrong | [`Fault`], [`Server::inject`], [`Server::clear_faults`] |
//! | stop and start | [`Server::stop`], [`Server::restart`], [`Server::restart_with_items`] |
//! | let time pass | [`ManualClock`] |
//! | count | [`Server::connections`], [`Server::accepted`], [`Server::requests`], [`Server::items`] |

mod binary;
mod builder;
mod clock;
mod cluster;
mod connection;
mod conversation;
mod counter;
mod door;
mod expiry;
mod fault;
mod input;
mod login;
mod prefix;
mod replies;
mod server;
mod state;
mod stats;
mod store;
mod stream;
mod text;
mod version;
mod watch;
mod wire;

pub use builder::Builder;
pub use clock::ManualClock;
pub use cluster::ClusterNode;
pub use fault::{Close, Fault, Injection, Place};
pub use server::Server;
pub use state::Wires;
