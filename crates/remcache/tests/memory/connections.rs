//! Memory use of connections: an announced length allocates nothing, and no load exceeds the limits.

use std::alloc::System;
use std::future::{Future, pending};
use std::task::{Context, Waker};
use std::time::Duration;

use remcache::config::{Address, Overload};
use remcache::proto::binary::{Header, Opcode};
use remcache::transport::{Connect, ConnectFuture, Stream, TransportSettings};
use remcache::{Client, Config, Request, Status};
use stats_alloc::Region;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep};

use crate::protocol_mode::ProtocolMode;
use crate::{ALLOCATOR, take_turn};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime")
}

/// Returns the growth of allocated bytes since the start of the region.
fn growth(region: &Region<'_, System>) -> usize {
    let change = region.change();
    change.bytes_allocated.saturating_sub(change.bytes_deallocated)
}

/// A server that answers the first request with these bytes, and nothing else.
#[derive(Debug)]
struct FixedReply {
    mode: ProtocolMode,
    answer: Vec<u8>,
}

impl Connect for FixedReply {
    fn connect<'a>(&'a self, _: &'a Address, _: &'a TransportSettings) -> ConnectFuture<'a> {
        let (mode, answer) = (self.mode, self.answer.clone());
        Box::pin(async move {
            let (client, mut server) = duplex(4096);
            tokio::spawn(async move {
                if mode == ProtocolMode::Text {
                    let mut probe = *b"version\r\n";
                    let _ = server.read_exact(&mut probe).await;
                    let _ = server.write_all(b"VERSION 1.6.18\r\n").await;
                }
                if !answer.is_empty() {
                    let _ = server.read_u8().await;
                    let _ = server.write_all(&answer).await;
                }
                pending::<()>().await;
            });
            Ok(Box::new(client) as Box<dyn Stream>)
        })
    }
}

/// Returns the first bytes of a reply to a get, announcing a value of this length.
fn reply_head(mode: ProtocolMode, length: u32) -> Vec<u8> {
    match mode {
        ProtocolMode::Binary => {
            let body_length = length.saturating_add(4);
            let header = Header { body_length, extras_length: 4, ..Header::response(Opcode::GET, Status::NoError) };
            header.to_bytes().to_vec()
        }
        ProtocolMode::MetaUnbatched => format!("VA {length} f0 c1 O00000000\r\n").into_bytes(),
        ProtocolMode::Meta | ProtocolMode::Text => format!("VALUE key 0 {length} 1\r\n").into_bytes(),
    }
}

/// Returns how many bytes are allocated for a reply that announces this length and ends there.
fn bytes_allocated_for(mode: ProtocolMode, length: u32) -> usize {
    let runtime = runtime();
    let config = mode.config(Config::new()).connector(FixedReply { mode, answer: reply_head(mode, length) });
    let client = Client::with_config(["server"], config).expect("a valid configuration");
    let region = Region::new(ALLOCATOR);
    let error = runtime.block_on(async { client.get("key").await }).expect_err("the reply is incomplete");
    assert!(error.is_unavailable(), "{error:?}");
    region.change().bytes_allocated
}

#[test]
fn an_announced_length_above_the_limit_allocates_nothing() {
    let _turn = take_turn();
    for mode in ProtocolMode::ALL {
        for length in [u32::MAX, 1 << 30, (1 << 20) + 1025] {
            let cost = bytes_allocated_for(mode, length);
            assert!(cost < 64 << 10, "{mode:?}: {cost} bytes were allocated for an announced length of {length}");
        }
    }
}

#[test]
fn an_announced_length_within_the_limit_allocates_at_most_the_limit() {
    let _turn = take_turn();
    for mode in ProtocolMode::ALL {
        let cost = bytes_allocated_for(mode, 1 << 20);
        assert!(cost < (1 << 20) + (64 << 10), "{mode:?}: {cost} bytes were allocated");
    }
}

const REQUESTS: usize = 4_096;
const BYTES: usize = 8 << 20;
/// Memory per request in addition to its bytes: its queue entry and its caller's slot.
const BOOKKEEPING: usize = 256;

/// Maximum memory according to the limits of a connection.
const LIMIT: usize = (BYTES + REQUESTS * BOOKKEEPING) / 10 * 11;

/// Lengths of values: with the first the limit of requests is reached, with the others the limit of bytes.
const LENGTHS: [usize; 4] = [100, 2_100, 4_000, 100_000];

/// Returns every length with each protocol mode.
fn all_cases() -> impl Iterator<Item = (ProtocolMode, usize)> {
    ProtocolMode::ALL.into_iter().flat_map(|mode| LENGTHS.map(|length| (mode, length)))
}

/// Returns a client of a server that never reads.
fn client_of_a_black_hole(mode: ProtocolMode) -> Client {
    let config = mode.config(Config::new()).max_in_flight(REQUESTS).max_output(BYTES).overload(Overload::Fail);
    Client::with_config(["server"], config.connector(FixedReply { mode, answer: Vec::new() }))
        .expect("a valid configuration")
}

/// Submits requests every ten milliseconds for a minute, and returns the largest growth.
async fn flood(region: &Region<'_, System>, mut submit: impl FnMut()) -> usize {
    let start = Instant::now();
    let mut most = 0;
    while start.elapsed() < Duration::from_secs(60) {
        submit();
        sleep(Duration::from_millis(10)).await;
        most = most.max(growth(region));
    }
    most
}

#[test]
fn requests_without_reply_to_a_server_that_does_not_read_use_bounded_memory() {
    let _turn = take_turn();
    for (mode, length) in all_cases() {
        let (runtime, client) = (runtime(), client_of_a_black_hole(mode));
        let value = vec![0_u8; length];
        let region = Region::new(ALLOCATOR);
        let submit = || {
            for _ in 0..100 {
                // Most are refused.
                let _ = client.send_no_reply(Request::set("key", &value));
            }
        };
        let most = runtime.block_on(flood(&region, submit));
        assert!(most <= LIMIT, "{most} bytes are allocated for {mode:?} requests of {length} bytes");
    }
}

/// The futures of the calls are created before the measurement, because their memory belongs to the callers.
#[test]
fn calls_to_a_server_that_does_not_read_use_bounded_memory() {
    let _turn = take_turn();
    for (mode, length) in all_cases() {
        let (runtime, client) = (runtime(), client_of_a_black_hole(mode));
        let value = vec![0_u8; length];
        let calls: Vec<_> = (0..60_000).map(|_| Box::pin(client.call(Request::set("key", &value)))).collect();
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting = calls.into_iter();
        let mut started = Vec::with_capacity(waiting.len());
        let region = Region::new(ALLOCATOR);
        let submit = || {
            for mut call in waiting.by_ref().take(10) {
                if call.as_mut().poll(&mut context).is_pending() {
                    started.push(call);
                }
            }
        };
        let most = runtime.block_on(flood(&region, submit));
        assert!(most <= LIMIT, "{most} bytes are allocated for {mode:?} requests of {length} bytes");
    }
}
