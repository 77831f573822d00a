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
//! A memcached as 1.6.18 is one, on the binary wire: get, set, add, replace, append, prepend,
//! delete, increment, decrement, touch, get-and-touch, flush (later too), no-op, version, stat, quit,
//! their quiet and with-key forms, and SASL's PLAIN if it has [users](Builder::user); flags, CAS
//! values, expiration, limits for an item and for the memory, eviction of what was not used for
//! longest. It makes memcached's own mistakes where clients have to live with them: a set that is
//! refused as too large deletes the old item, an unknown opcode with a key loses step.
//!
//! Of 300 exchanges that were recorded from a real server it repeats 294, byte for byte but for what
//! varies from run to run, and 7 of those as 1.6.45 does; `tests/vectors.rs` lists the others with
//! the reasons. It passes `memccapable -b`.
//!
//! # What it is not
//!
//! A cache for production: all connections share one lock, and its statistics leave out what means
//! nothing here (slab classes, LRU segments, threads). It does not speak text, UDP or TLS.
//!
//! # Where to look
//!
//! | to | see |
//! |---|---|
//! | choose port, Unix socket, limits, version, users | [`Server::builder`] |
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
mod watch;
mod wire;

pub use builder::Builder;
pub use clock::ManualClock;
pub use cluster::ClusterNode;
pub use fault::{Close, Fault, Injection, Place};
pub use server::Server;
pub use state::Wires;
