//! What a connection may cost in memory: nothing on the word of a server, and never more than its
//! limits, whatever is offered.

use std::alloc::System;
use std::future::{Future, pending};
use std::task::{Context, Waker};
use std::time::Duration;

use remcache::config::{Address, Overload};
use remcache::proto::binary::{Header, Opcode};
use remcache::transport::{Connect, Connecting, Stream, TransportSettings};
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

/// How many bytes more are allocated than at the region's beginning.
fn growth(region: &Region<'_, System>) -> usize {
    let change = region.change();
    change.bytes_allocated.saturating_sub(change.bytes_deallocated)
}

/// A server that waits for a request, answers with these bytes, and does nothing more.
#[derive(Debug)]
struct Says {
    mode: ProtocolMode,
    answer: Vec<u8>,
}

impl Connect for Says {
    fn connect<'a>(&'a self, _: &'a Address, _: &'a TransportSettings) -> Connecting<'a> {
        let (mode, answer) = (self.mode, self.answer.clone());
        Box::pin(async move {
            let (client, mut server) = duplex(4096);
            tokio::spawn(async move {
                if mode == ProtocolMode::Text {
                    let mut question = *b"version\r\n";
                    let _ = server.read_exact(&mut question).await;
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

/// The first bytes of a reply to a get whose value has this length.
fn announcement(mode: ProtocolMode, length: u32) -> Vec<u8> {
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

/// How many bytes were allocated at most for a reply that announces this length and has no more.
fn cost_of_an_announcement(mode: ProtocolMode, length: u32) -> usize {
    let runtime = runtime();
    let config = mode.config(Config::new()).connector(Says { mode, answer: announcement(mode, length) });
    let client = Client::with_config(["server"], config).expect("a valid configuration");
    let region = Region::new(ALLOCATOR);
    let error = runtime.block_on(async { client.get("key").await }).expect_err("there is no such reply");
    assert!(error.is_unavailable(), "{error:?}");
    region.change().bytes_allocated
}

#[test]
fn row_09_an_announced_length_above_the_limit_allocates_nothing() {
    let _turn = take_turn();
    for mode in ProtocolMode::ALL {
        for length in [u32::MAX, 1 << 30, (1 << 20) + 1025] {
            let cost = cost_of_an_announcement(mode, length);
            assert!(cost < 64 << 10, "{mode:?}: {cost} bytes were allocated for {length} announced ones");
        }
    }
}

#[test]
fn an_announced_length_within_the_limit_allocates_no_more_than_that() {
    let _turn = take_turn();
    for mode in ProtocolMode::ALL {
        let cost = cost_of_an_announcement(mode, 1 << 20);
        assert!(cost < (1 << 20) + (64 << 10), "{mode:?}: {cost} bytes were allocated");
    }
}

const REQUESTS: usize = 4_096;
const BYTES: usize = 8 << 20;
/// What a request costs in addition to its bytes: its place in the queue and its caller's slot.
const BOOKKEEPING: usize = 256;

/// The most memory that the limits of a connection allow.
const LIMIT: usize = (BYTES + REQUESTS * BOOKKEEPING) / 10 * 11;

/// Lengths of values: with the first the requests reach their limit, with the others the bytes.
const LENGTHS: [usize; 4] = [100, 2_100, 4_000, 100_000];

/// Every length in each way to speak.
fn everything() -> impl Iterator<Item = (ProtocolMode, usize)> {
    ProtocolMode::ALL.into_iter().flat_map(|mode| LENGTHS.map(|length| (mode, length)))
}

/// A client of a server that never reads.
fn client_of_a_black_hole(mode: ProtocolMode) -> Client {
    let config = mode.config(Config::new()).max_in_flight(REQUESTS).max_output(BYTES).overload(Overload::Fail);
    Client::with_config(["server"], config.connector(Says { mode, answer: Vec::new() })).expect("a valid configuration")
}

/// Offers `rate` requests every ten milliseconds for a minute, and gives the largest growth.
async fn flood(region: &Region<'_, System>, mut offer: impl FnMut()) -> usize {
    let start = Instant::now();
    let mut most = 0;
    while start.elapsed() < Duration::from_secs(60) {
        offer();
        sleep(Duration::from_millis(10)).await;
        most = most.max(growth(region));
    }
    most
}

#[test]
fn casts_without_end_to_a_server_that_does_not_read() {
    let _turn = take_turn();
    for (mode, length) in everything() {
        let (runtime, client) = (runtime(), client_of_a_black_hole(mode));
        let value = vec![0_u8; length];
        let region = Region::new(ALLOCATOR);
        let offer = || {
            for _ in 0..1_000 {
                // Most are not taken.
                let _ = client.cast(Request::set("key", &value));
            }
        };
        let most = runtime.block_on(flood(&region, offer));
        assert!(most <= LIMIT, "{most} bytes are allocated for {mode:?} requests of {length} bytes");
    }
}

/// The calls are made before the memory is counted: they are their callers' own.
#[test]
fn calls_without_end_to_a_server_that_does_not_read() {
    let _turn = take_turn();
    for (mode, length) in everything() {
        let (runtime, client) = (runtime(), client_of_a_black_hole(mode));
        let value = vec![0_u8; length];
        let calls: Vec<_> = (0..60_000).map(|_| Box::pin(client.call(Request::set("key", &value)))).collect();
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting = calls.into_iter();
        let mut started = Vec::with_capacity(waiting.len());
        let region = Region::new(ALLOCATOR);
        let offer = || {
            for mut call in waiting.by_ref().take(10) {
                if call.as_mut().poll(&mut context).is_pending() {
                    started.push(call);
                }
            }
        };
        let most = runtime.block_on(flood(&region, offer));
        assert!(most <= LIMIT, "{most} bytes are allocated for {mode:?} requests of {length} bytes");
    }
}
