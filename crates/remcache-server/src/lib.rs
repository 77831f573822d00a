//! An embedded memcached server for tests: in memory, on its own port, with faults that a test injects.
//!
//! A test starts a server in microseconds, points the client under test at [`Server::address`] and drops the server at
//! its end. Nothing has to be installed, and tests that run at the same time do not share state. Unlike a real server,
//! it fails on request: replies that are delayed, lost, truncated, corrupted or mixed up, a server that refuses
//! connections, hangs or is restarted, and a clock that the test advances.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//!
//! use remcache_server::{Close, Fault, Server};
//!
//! /// The client under test: fetches the value of a key.
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
//! // The next reply ends in the middle of its header.
//! server.inject(Fault::Disconnect { after: 10, close: Close::Fin }.on_reply(1));
//! assert!(fetch(&server.address(), "Hello").is_err());
//!
//! // The server is down, and comes back at the same address.
//! runtime.block_on(server.stop());
//! assert!(fetch(&server.address(), "Hello").is_err());
//! runtime.block_on(server.restart())?;
//! assert_eq!(fetch(&server.address(), "Hello")?, b"Not found");
//! assert_eq!(server.requests(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! The server runs on the current Tokio runtime. One thread is enough, so it works in a plain `#[tokio::test]`. A
//! client that blocks its thread, like the one above, needs a multi-threaded runtime.
//!
//! # Where to start
//!
//! | to | see |
//! |---|---|
//! | choose the address, protocols, limits, version and users | [`Server::builder`] |
//! | inject faults | [`Fault`], [`Server::inject`], [`Server::clear_faults`] |
//! | stop and restart | [`Server::stop`], [`Server::restart`], [`Server::restart_with_items`] |
//! | advance time | [`ManualClock`] |
//! | count | [`Server::connections`], [`Server::accepted`], [`Server::requests`], [`Server::items`] |
//! | serve a client over a pipe or a simulated network | [`Server::serve`], [`Builder::without_listener`] |
//! | emulate a managed service | [`Builder::profile`], [`Profile`] |
//! | act as a cluster configuration endpoint | [`Builder::cluster`], [`Server::set_cluster`], [`ClusterNode`] |
//!
//! # What it implements
//!
//! memcached 1.6.18, or a newer version up to 1.6.45 with [`Builder::version`], in all its protocols. The first byte of
//! a connection selects the protocol, unless [`Builder::binding_protocol`] does.
//!
//! - **Binary**: get, set, add, replace, append, prepend, delete, increment, decrement, touch, get-and-touch, flush
//!   (also delayed), no-op, version, stat, quit, their quiet and with-key variants, and SASL PLAIN if there are
//!   [users](Builder::sasl_user).
//! - **Text**: the classic equivalents of these, `gat`, `touch` and `noreply`; `stats`, `flush_all`, `cache_memlimit`,
//!   `verbosity`, `lru_crawler metadump`, `watch`, and `shutdown` if it is [allowed](Builder::allow_shutdown);
//!   authentication by a first `set` if there are [users](Builder::text_user). Commands that tune slabs or LRU segments
//!   are answered but have no effect.
//! - **Meta**: `mg`, `ms`, `md`, `ma`, `me`, `mn` with all flags of the version: base64 keys, opaques, quiet mode,
//!   early recaching, and stale items with a single winner.
//! - **Clusters**: `config get cluster` as ElastiCache's configuration endpoint answers it, with a
//!   [list of nodes](Builder::cluster) that can be [changed](Server::set_cluster) while the server runs; opcode 0x60 in
//!   binary.
//!
//! It reproduces the bugs of memcached that clients must cope with: a set that is refused as too large deletes the old
//! item, an unknown opcode with a key desynchronizes the connection, the data block after an unknown command is parsed
//! as a command, and without CAS values an item that is stored in the same second after a flush is lost. It passes
//! `memccapable` completely and answers thousands of random commands exactly like a real memcached
//! (`tests/same_as_memcached.rs`).
//!
//! # Differences from memcached
//!
//! Of 652 exchanges recorded from a real server it reproduces 648 byte for byte, except for what varies from run to
//! run, 8 of them as 1.6.45 answers; `tests/vectors.rs` lists the others with reasons.
//!
//! | difference | reason |
//! |---|---|
//! | SASL offers PLAIN only | it is what clients use |
//! | statistics omit LRU segments, threads and buffers | they do not exist here |
//! | a delayed flush does not bring back items that an earlier flush removed | memcached forgets which items it has not removed yet |
//! | a `get` with a key that is too long keeps earlier replies | memcached discards replies that it has not sent |
//! | a `get` line is limited to 1 MiB of keys | bounded memory |
//! | base64 keys must be valid and padded | memcached skips invalid characters |
//! | a counter that shrinks is always padded | memcached does not pad while another thread reads the item |
//! | `lru_crawler disable` has no effect | there is no crawler |
//! | `watch` reports items only | not connections, raw commands, or values that are refused before they are read |
//!
//! It does not support UDP, and it is not a cache for production: all connections share one lock.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `tls` | `Builder::tls`, with a rustls configuration that brings its own cryptography provider |
// Marks items of features in the documentation of docs.rs, which is built by a nightly toolchain.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod arithmetic;
mod binary;
mod buffers;
mod builder;
mod clock;
mod cluster;
mod connection;
mod expiry;
mod fault;
mod fault_injector;
mod fault_registry;
mod listener;
mod prefix_stats;
mod profile;
mod reply_buffer;
mod request_buffer;
mod server;
mod session;
mod settings;
mod state;
mod stats;
mod step;
mod store;
mod stream;
mod text;
#[cfg(feature = "tls")]
mod tls;
mod uri_escape;
mod version;
mod watch;

pub use builder::Builder;
pub use clock::ManualClock;
pub use cluster::ClusterNode;
pub use fault::{Close, Fault, Injection, Scope};
pub use profile::Profile;
pub use server::Server;
pub use settings::BindingProtocol;
/// The version of rustls that [`Builder::tls`] uses.
#[cfg(feature = "tls")]
pub use tokio_rustls::rustls;

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
