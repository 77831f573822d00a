//! An asynchronous memcached client: many callers share one pipelined connection per server, and every request resolves
//! exactly once, within its deadline.
//!
//! Ambiguous outcomes are reported, never guessed, and requests are never retried unless you enable retries.
//!
//! ```
//! use std::time::Duration;
//! use remcache::Client;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), remcache::Error> {
//!     let client = Client::new(["cache1:11211", "cache2:11211"])?; // connects on first use
//! #   let one = remcache_server::Server::start().await.expect("a loopback port");
//! #   let two = remcache_server::Server::start().await.expect("a loopback port");
//! #   let client = Client::new([one.address(), two.address()])?;
//!
//!     client.set("greeting", "Hello").ttl(Duration::from_secs(600)).await?;
//!     match client.get("greeting").await {
//!         Ok(Some(item)) => println!("{}", item.value.escape_ascii()),
//!         Ok(None) => println!("cache miss"),
//!         Err(error) if error.is_unavailable() => println!("continuing without the cache: {error}"),
//!         Err(error) => return Err(error),
//!     }
//! #   assert_eq!(client.get("greeting").await?.map(|item| item.value), Some("Hello".into()));
//!     Ok(())
//! }
//! ```
//!
//! # Overview
//!
//! ```text
//! Client ──> Cluster ──> Server ──> ConnectionHandle <──> I/O loop <──> socket
//! (you)      servers,    one        protocol state,       one task,
//!            ring        address    slots of callers      moves bytes
//! ```
//!
//! - [`Client`] is a handle that is cheap to clone and shared by all tasks.
//!   Its methods build operations, which are futures with named options.
//! - [`ServerHandle`] is one server of a client, for operations without a key: its state, version, statistics, a flush.
//! - [`Request`] and [`Reply`] are the low-level interface: [`Client::call`] sends any request and returns its reply as
//!   data.
//! - [`Outcomes`] are the results of a multi-key call, one per key.
//! - [`Cache`] holds values of one Rust type under a namespace; [`value`] has its codecs, including the formats of
//!   other clients.
//! - [`recipes`] are multi-command operations: [`Client::fetch`] loads a missing value once for all callers;
//!   [`Client::lock`] and [`recipes::Limiter`] are locks and rate limits for the whole fleet.
//! - [`Config`] has the settings, each with its default and the cost of changing it.
//! - [`distribution`] places keys on servers; [`proto`] is the protocol without any I/O.
//! - [`discovery`] updates a client's server list; [`migration`] moves a cache from one placement to another.
//!
//! The cluster, its servers, their `ConnectionHandle`s and the I/O loops are private.
//! A `ConnectionHandle` holds the [state machine](proto::Connection) that attributes replies to requests, and a slot
//! for each waiting caller; the I/O loop is the task that moves bytes between the socket and the state machine.
//!
//! A client needs a Tokio runtime with I/O and time enabled.
//! Its connections run on the runtime of the first request, and move to another when that runtime shuts down;
//! [`Config`] can set a runtime or a dedicated thread. A client must not be used on both sides of a `fork`.
//!
//! # Behaviour
//!
//! **When a request is sent.**
//! Building an operation does nothing; it is queued when it is first polled.
//! The first request to a server opens its connection and waits for it.
//! Requests that are queued while the I/O loop is busy leave in one write: with many callers, many requests share one
//! system call, and no timer delays the first of them.
//!
//! **Order.**
//! Requests to one server are executed, and answered, in the order in which they were first polled.
//! There is no order between servers, nor on one server if [`Config::connections`] is above 1.
//!
//! **Dropping a future** does not cancel the request: its reply is read and discarded, and no other request is
//! affected. The request may have been executed.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = remcache_server::Server::start().await?;
//! # let client = remcache::Client::new([server.address()])?;
//! # use std::time::Duration;
//! # client.set("b", "value of b").await?;
//! let slow = client.get("a");
//! let _ = tokio::time::timeout(Duration::from_micros(1), slow).await; // may time out
//! let item = client.get("b").await?; // never the reply to `a`
//! assert_eq!(item.map(|item| item.value), Some("value of b".into()));
//! # Ok(()) }
//! ```
//!
//! **Timeouts.**
//! A request has one absolute deadline, set by [`Config::timeout`] (1 s) or `.timeout(…)` of the operation: it covers
//! queueing, connecting, sending and the reply. [`Config::connect_timeout`] (1 s) is separate, because callers share
//! connections: a caller with a short timeout must not abort an attempt that others wait for. The timeout of a
//! multi-key call, and of a stream of statistics, restarts with each reply: they take as long as replies keep arriving.
//! There is no setting for "no deadline"; a timeout of zero is refused.
//!
//! **Requests are never retried** unless [`Config::retries`] or related settings enable it, and never kept for later.
//! A request to a server that is known to be down fails immediately as [`Disconnected`](Status::Disconnected)
//! with [`NotSent`](Delivery::NotSent).
//!
//! **Limits.**
//! A connection accepts 16,384 unanswered requests and 8 MiB of output.
//! Beyond that a call waits for capacity until its deadline, or fails immediately as
//! [`Overloaded`](ErrorKind::Overloaded): [`Config::overload`].
//!
//! # Outcomes and errors
//!
//! A server's *decision* is a value; a *failure* is an [`Error`].
//!
//! | operation | returns |
//! |---|---|
//! | `get`, `get_and_touch` | `Option<`[`Item`]`>`: `None` if the server replied that the key does not exist |
//! | `add`, `replace`, `append`, `prepend`, `compare_and_swap`, `.cas(…)` | [`WriteOutcome`]: applied, or refused as `NotFound`, `Exists`, `NotStored`; ignoring it is a warning |
//! | `set`, `delete`, `touch` | [`UnconditionalOutcome`]: applied, or `NotFound`; it may be ignored |
//! | `fetch` | `Option<Bytes>`, or the loader's own error; an unavailable cache is not an error |
//! | `increment`, `decrement` | `Option<`[`Counter`]`>`: `None` if the key does not exist and there is no `initial` value |
//! | `call` | [`Reply`], with a [`Status`] for everything, including errors |
//!
//! An [`Error`] has a kind ([`Error::kind`]) and a server ([`Error::server`]), and answers the questions that decide
//! what to do next:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let client = remcache::Client::new(["127.0.0.1:1"])?;
//! match client.increment("visits", 1).initial(1).await {
//!     Ok(counter) => println!("{counter:?}"),
//!     // Part of it may have reached the server, so sending it again might count twice.
//!     Err(error) if error.may_have_executed() => println!("counted or not: {error}"),
//!     // Disconnected, timed out or overloaded, and certainly not executed.
//!     Err(error) if error.is_unavailable() => println!("not counted: {error}"),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(()) }
//! ```
//!
//! | [`ErrorKind`] | may have been executed | remedy |
//! |---|---|---|
//! | `InvalidKey`, `InvalidArguments`, `Unsupported` | no | change the request; most are detected before anything is sent |
//! | `ValueTooLarge`, `OutOfMemory` | no, **but a server that refuses a `set` deletes the old value** | use a smaller value, or a larger limit |
//! | `NonNumericValue`, `Conflict`, `Server` | no | read the server's error, which the message contains |
//! | `Tls`, `Auth` | no | continue without the cache, and check certificates, passwords and settings |
//! | `Disconnected(NotSent)`, `TimedOut(NotSent)`, `Overloaded` | no | continue without the cache, or retry later |
//! | `Disconnected(MaybeSent)`, `TimedOut(MaybeSent)` | **yes** | decide whether executing the request twice is harmless |
//! | `Config` | no | change the address, URL or setting |
//! | `Discovery` | no | check the source of the list: see [`discovery`] |
//!
//! The low-level interface returns all of this as one value, a [`Reply`].
//! [`Client::call_with`] takes a callback for requests with several replies, which is called until it returns
//! [`ControlFlow::Break`](std::ops::ControlFlow::Break); [`Client::send_no_reply`] does not wait for a reply.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = remcache_server::Server::start().await?;
//! # let client = remcache::Client::new([server.address()])?;
//! use std::ops::ControlFlow;
//! use remcache::{Request, Status};
//!
//! let reply = client.call(Request::get("Hello")).await;
//! assert_eq!(reply.status, Status::KeyNotFound);
//!
//! client.call_with(Request::stat(""), |reply| {
//!     println!("{} = {}", reply.key.escape_ascii(), reply.text());
//!     ControlFlow::Continue(())
//! });
//! assert!(client.send_no_reply(Request::delete("Hello")), "it was queued");
//! # Ok(()) }
//! ```
//!
//! # Many keys
//!
//! Every operation has a form for many keys: `get_many`, `set_many`, `delete_many`, `increment_many` and so on.
//! The keys are sent to their servers in pipelined batches, to all servers in parallel, with one result per key: a
//! server that is down fails only its own keys.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = remcache_server::Server::start().await?;
//! # let client = remcache::Client::new([server.address()])?;
//! client.set_many([("foo", "1"), ("bar", "2")]).await;
//! let many = client.get_many(["foo", "bar", "baz"]).await;
//! for (key, item) in many.found() {
//!     println!("{key} = {}", item.value.escape_ascii());
//! }
//! assert_eq!(many.missing().collect::<Vec<_>>(), [&"baz"]);
//! assert!(many.failed().next().is_none());
//! # Ok(()) }
//! ```
//!
//! - **Reads are not quiet**: a miss is the server's reply for that key, not the absence of one.
//!   Nor are increments and decrements, whose replies have the new values.
//! - **Writes are quiet**: the server reports only those that it refused, and a non-quiet request at the end of each
//!   batch confirms the others. Successful quiet writes have no CAS value: [`WriteOutcome::Applied`] has 0 then.
//! - Any number of keys may be given; some thousands are in flight at a time, and the call times out when no reply
//!   arrives for its timeout.
//!
//! # Several servers
//!
//! A key belongs to one server.
//! [`Distribution::KETAMA`](distribution::Distribution::KETAMA), the default, is libmemcached's weighted ring, point
//! for point: clients that use it find each other's items.
//! [`Distribution::REMCACHED`](distribution::Distribution::REMCACHED) is the placement of the Ruby gem remcached: the
//! key as a number, modulo the connected servers.
//! [Every widely used client](https://github.com/remcache/remcache/blob/main/docs/placement.md) has a
//! distribution by its name: `distribution=twemproxy`.
//!
//! **When a server goes down**, its keys fail as `Disconnected` immediately; other keys are not affected.
//! With ketama no key moves, so there are no stale values when the server returns; with `remcached` nearly all keys
//! move, as with the gem. The client reconnects automatically: once within 50 ms, and if that fails at random times up
//! to 5 s apart, so that many clients do not all reconnect at the same time. Requests are sent again only after
//! the server has answered a no-op: accepting connections is not enough.
//!
//! A server is marked down when it cannot be reached, after three consecutive timeouts ([`Config::breaker`]), or when
//! it violates the protocol.
//!
//! **Other settings for servers that are down**, each at a cost in staleness: the next server of the ring or a gutter
//! pool ([`Config::failover`]), replicas on several servers ([`Config::replicas`]), retries within a budget
//! ([`Config::retries`]), a second server for slow reads ([`Config::hedge`]). See [`policy`].
//!
//! [`Client::servers`] returns each server's state and [metrics](ServerHandle::metrics), [`Client::events`] the state
//! changes. [`ops::Command::routing_key`] keeps related keys together on one server.
//!
//! [`Client::set_servers`] replaces the list at run time: servers in both lists keep their connections, and requests to
//! removed servers complete normally. [`discovery`] does so when a file, DNS, a configuration endpoint or your own
//! stream provides another list; [`migration`] moves to another placement and keeps the cache warm. [`Client::locate`]
//! returns the server of a key, [`Client::is_usable`] whether any server may be available.
//!
//! # The protocol layer alone
//!
//! [`proto`] is a crate of its own, `remcache-proto`: requests, replies, the protocols in both directions, and the
//! [state machine](proto::Connection) that attributes replies. Its only dependency is `bytes`, and it opens no socket,
//! reads no clock and takes no lock.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::time::{Duration, Instant};
//! use bytes::{Buf, BufMut};
//! use remcache::proto::{Connection, Deadline, InputBuffer, Limits, Output, Request, Tag};
//!
//! # let runtime = tokio::runtime::Runtime::new()?;
//! # let server = runtime.block_on(remcache_server::Server::start())?;
//! # let address = server.address();
//! let mut socket = std::net::TcpStream::connect(address)?;
//! let mut connection = Connection::new(Limits::default(), 0, Instant::now());
//! let deadline = Deadline { at: Instant::now() + Duration::from_secs(1), extend_by: Duration::ZERO };
//! for (tag, request) in [Request::set("Hello", "World"), Request::get("Hello")].iter().enumerate() {
//!     connection.submit(request, Some(Tag(tag as u64)), deadline, Instant::now())?;
//! }
//!
//! let (mut output, mut input) = (Output::new(), InputBuffer::new());
//! connection.take_output(&mut output); // both requests, in one write
//! socket.write_all(&output.copy_to_bytes(output.remaining()))?;
//! while connection.in_flight() > 0 {
//!     let mut bytes = [0; 4096];
//!     let count = socket.read(&mut bytes)?;
//!     input.extend(&bytes[..count]);
//!     while let Some(event) = connection.poll_event(&mut input)? {
//!         println!("{:?}: {}", event.tag, event.reply.status);
//!     }
//! #   assert!(count > 0);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `dns` | no | lists of servers from DNS: `discovery::Dns` and `discovery::Srv` |
//! | `json`, `msgpack`, `postcard` | no | [codecs](value::Codec) for types with serde support |
//! | `zstd`, `lz4`, `deflate` | no | [compressions](value::Compression) of values; `deflate` is zlib and gzip |
//! | `local-cache` | no | an in-process cache for a [`Cache`]'s values |
//! | `spans`, `metrics` | no | ready-made [observers](observe): `tracing` spans, and the `metrics` facade |
//! | `blocking` | no | the client for programs without a runtime |
//! | `tls` | no | TLS, by rustls: `transport::Tls`, and `memcacheds://` |
//! | `ring` | yes | ring as the crypto provider of TLS, if no other is chosen |
//! | `aws-lc-rs` | no | aws-lc-rs as the crypto provider of TLS: with `default-features = false` in place of ring |
//! | `dangerous-tls` | no | TLS without certificate verification: for experiments |
//!
//! The client negotiates the best protocol each server supports; see [`config::ProtocolSetting`].
//!
//! # More
//!
//! [Ten recipes](cookbook): axum, sessions, rate limits, feature flags, locks, idempotency keys, warm deploys, big
//! values, tests with faults, shutdown ·
//! [guarantees, and the tests of each](https://github.com/remcache/remcache/blob/main/docs/guarantees.md) ·
//! [placement, and sharing a cache with other clients](https://github.com/remcache/remcache/blob/main/docs/placement.md) ·
//! [interoperability tests with other clients](https://github.com/remcache/remcache/blob/main/docs/interop.md) ·
//! [the protocols as servers implement them](https://github.com/remcache/remcache/blob/main/docs/protocol.md) ·
//! [TLS and passwords](https://github.com/remcache/remcache/blob/main/docs/security.md) ·
//! [observability: spans, metrics, dashboards and alerts](https://github.com/remcache/remcache/blob/main/docs/observability.md) ·
//! [values: flags, and what other clients write](https://github.com/remcache/remcache/blob/main/docs/values.md) ·
//! [features of each protocol](https://github.com/remcache/remcache/blob/main/docs/protocols.md) ·
//! [caching: fetch, locks and limiters, and what they guarantee](https://github.com/remcache/remcache/blob/main/docs/caching.md)
// Marks items of features in the documentation of docs.rs, which is built by a nightly toolchain.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod address;
#[cfg(feature = "blocking")]
pub mod blocking;
pub mod cache;
mod client;
pub mod config;
// Its examples are run by tools/guides, which has their dependencies.
#[cfg(not(doctest))]
#[doc = include_str!("../docs/cookbook.md")]
pub mod cookbook {}
mod connection;
mod connection_failure;
pub mod discovery;
mod error;
pub mod health;
mod journal_file;
pub mod migration;
pub mod observe;
pub mod ops;
mod percent_encoding;
pub mod policy;
mod reason;
pub mod recipes;
mod result;
mod routing;
mod sentinel;
pub mod server;
mod server_list;
mod singleflight;
mod time;
pub mod transport;
pub mod value;

pub use remcache_distribution as distribution;
pub use remcache_proto as proto;

pub use cache::Cache;
pub use client::Client;
pub use config::Config;
pub use error::{Error, ErrorKind};
pub use ops::Outcomes;
pub use proto::{Delivery, Key, Reply, Request, Status, Ttl};
pub use result::{Counter, Item, UnconditionalOutcome, WriteOutcome};
pub use server::ServerHandle;

/// Compiles and runs the examples of the guides and READMEs as doc tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../../README.md")]
    struct Readme;

    #[doc = include_str!("../README.md")]
    struct CrateReadme;

    #[doc = include_str!("../../remcache-server/README.md")]
    struct ServerReadme;

    #[doc = include_str!("../../../docs/caching.md")]
    struct Caching;

    #[doc = include_str!("../../../docs/guarantees.md")]
    struct Guarantees;

    #[doc = include_str!("../../../docs/observability.md")]
    struct Observability;

    #[doc = include_str!("../../../docs/placement.md")]
    struct Placement;

    #[doc = include_str!("../../../docs/protocol.md")]
    struct Protocol;

    #[doc = include_str!("../../../docs/protocols.md")]
    struct Protocols;

    // Its examples need TLS.
    #[cfg(feature = "tls")]
    #[doc = include_str!("../../../docs/security.md")]
    struct Security;

    #[doc = include_str!("../../../docs/values.md")]
    struct Values;
}
