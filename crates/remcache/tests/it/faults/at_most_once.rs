//! Requests are executed at most once: executions on the server match what the client reported.

use std::time::Duration;

use remcache::policy::Retries;
use remcache::proto::Protocol;
use remcache::{Config, ErrorKind};
use remcache_testkit::seed;

use crate::faults::support::harness::Harness;
use crate::faults::support::known_items::PATIENCE;
use crate::faults::support::server_fault::{CloseKind, ServerFault};
use crate::support::{ProtocolMode, protocol_mode_tests};

protocol_mode_tests! {
    #[tokio::test(start_paused = true)]
    increments_are_never_repeated
    increments_are_never_repeated_when_other_operations_are_retried
}

protocol_mode_tests! {
    #[tokio::test]
    increments_are_never_repeated_on_sockets
}

const CALLS: usize = 10_000;
const CONCURRENT: usize = 5;

/// Returns the length of the handshake: of the no-op or of its reply, whichever is longer.
fn handshake_length(mode: ProtocolMode) -> usize {
    match mode.protocol() {
        Protocol::Binary => 24,
        Protocol::Meta => "MN\r\n".len(),
        // Connecting sends three `version` probes as well.
        Protocol::Text => 4 * "VERSION 1.6.18\r\n".len(),
    }
}

/// Returns the approximate lengths of an increment's request and of its reply.
fn lengths(mode: ProtocolMode) -> (usize, usize) {
    match mode.protocol() {
        Protocol::Binary => (60, 32),
        Protocol::Meta => (40, 22),
        Protocol::Text => (20, "1\r\n".len()),
    }
}

fn fast_reconnect() -> Config {
    Config::new().reconnect_delay(Duration::from_millis(1), Duration::from_millis(5))
}

/// Runs increments, each of its own counter, on connections that are closed at every byte in turn. At the end, each
/// counter is compared with what its caller was returned.
async fn increments(harness: Harness) {
    let seed = seed();
    let mut rng = seed.rng();
    let (handshake, (request, reply)) = (handshake_length(harness.fake.mode()), lengths(harness.fake.mode()));
    let (mut succeeded, mut failed) = (0, 0);
    for call in (0..CALLS).step_by(CONCURRENT) {
        // Close the connection either within the replies or within the requests.
        let how = if rng.bool() { CloseKind::Fin } else { CloseKind::Rst };
        let fault = match rng.bool() {
            true => ServerFault::CloseAfterSending(handshake + 1 + call / CONCURRENT % (CONCURRENT * reply), how),
            false => ServerFault::ResetAfterReading(handshake + 1 + call / CONCURRENT % (CONCURRENT * request)),
        };
        harness.fake.set_fault(fault);
        while !harness.client.is_usable() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let results = harness.increments(CONCURRENT).await;
        results.assert_errors(|kind| matches!(kind, ErrorKind::Disconnected(_) | ErrorKind::TimedOut(_)));
        succeeded += results.succeeded;
        failed += results.errors.len();
    }
    assert_eq!(succeeded + failed, CALLS);
    assert!(succeeded > CALLS / 20 && failed > CALLS / 5, "{succeeded} succeeded, {failed} failed");
    // The open connection may still be due to close after a few bytes.
    harness.fake.set_fault(ServerFault::None);
    harness.fake.reset_connections();
    harness.finish().await;
}

async fn increments_are_never_repeated(mode: ProtocolMode) {
    increments(Harness::in_memory(mode, ServerFault::None, fast_reconnect(), Duration::from_secs(1))).await;
}

async fn increments_are_never_repeated_when_other_operations_are_retried(mode: ProtocolMode) {
    let retries =
        Retries::up_to(3).retry_sets().retry_deletes().attempt_timeout(Duration::from_millis(300)).budget(1_000_000);
    increments(Harness::in_memory(mode, ServerFault::None, fast_reconnect().retries(retries), Duration::from_secs(1)))
        .await;
}

async fn increments_are_never_repeated_on_sockets(mode: ProtocolMode) {
    increments(Harness::on_sockets(mode, ServerFault::None, fast_reconnect(), PATIENCE).await).await;
}
