//! Servers that answer extremely slowly or never.

use std::sync::Arc;
use std::time::Duration;

use remcache::config::Overload;
use remcache::{Client, Config, Delivery, Reply, Request, ServerHandle, Status};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::faults::support::fake_network::FakeNetwork;
use crate::faults::support::fake_server::FakeServer;
use crate::faults::support::harness::{ALL_OPERATIONS, Harness, MAX_RECOVERY};
use crate::faults::support::known_items::PATIENCE;
use crate::faults::support::server_fault::ServerFault;
use crate::faults::support::store::expected_value;
use crate::support::{ProtocolMode, protocol_mode_tests};

protocol_mode_tests! {
    #[tokio::test(start_paused = true)]
    a_slow_reply_times_out_at_the_deadline_and_closes_the_connection_later
    a_slow_reply_affects_one_connection_of_two
    calls_to_a_server_that_never_answers_time_out
    calls_to_a_server_whose_connections_never_open_time_out
    requests_beyond_the_limit_in_flight_are_overloaded
    requests_beyond_the_limit_of_bytes_are_overloaded
}

protocol_mode_tests! {
    #[tokio::test]
    calls_to_a_server_that_never_answers_on_a_socket_time_out
    calls_to_a_server_that_stops_reading_on_a_socket_time_out
}

const DEADLINE: Duration = Duration::from_secs(1);
/// Long enough for a busy machine to send all requests before the first of them times out.
const SOCKET_DEADLINE: Duration = Duration::from_secs(3);
const DRIP: ServerFault = ServerFault::Drip(Duration::from_secs(1));

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Returns the reply and the time it arrived.
async fn get(server: ServerHandle, key: &'static str) -> (Reply, Instant) {
    let reply = server.call(Request::get(key)).await;
    (reply, Instant::now())
}

async fn a_slow_reply_times_out_at_the_deadline_and_closes_the_connection_later(mode: ProtocolMode) {
    let fakes = [FakeServer::new(mode, DRIP), FakeServer::new(mode, ServerFault::None)];
    let network = FakeNetwork::new([("slow", Arc::clone(&fakes[0])), ("healthy", Arc::clone(&fakes[1]))]);
    let client = Client::with_config(["slow", "healthy"], mode.config(Config::new()).connector(network)).unwrap();
    let [slow, healthy] = client.servers().try_into().unwrap();
    let start = Instant::now();
    let unaffected = tokio::spawn(send_requests(healthy, start + millis(4_000)));

    let first = tokio::spawn(get(slow.clone(), "fixed:H"));
    sleep_until(start + millis(500)).await;
    let second = tokio::spawn(get(slow.clone(), "fixed:1"));
    sleep_until(start + millis(1_600)).await;
    let third = tokio::spawn(get(slow.clone(), "fixed:2"));

    let results = [first.await.unwrap(), second.await.unwrap(), third.await.unwrap()];
    let timed_out = Status::TimedOut(Delivery::MaybeSent);
    let disconnected = Status::Disconnected(Delivery::MaybeSent);
    for ((reply, at), (status, after)) in
        results.iter().zip([(timed_out, 1_000), (timed_out, 1_500), (disconnected, 2_000)])
    {
        assert_eq!(reply.status, status);
        let late = *at - start - millis(after);
        assert!(late <= millis(2), "{status} arrived {late:?} after {after} ms");
    }
    unaffected.await.unwrap();
    sleep(MAX_RECOVERY).await;
    // Only large values are slow, so the server has recovered by now.
    assert_eq!(get(slow, "fixed:1").await.0.value, expected_value(b"fixed:1"));
}

/// Checks that a healthy server answers immediately.
async fn send_requests(server: ServerHandle, until: Instant) {
    while Instant::now() < until {
        let start = Instant::now();
        assert_eq!(get(server.clone(), "fixed:3").await.0.value, expected_value(b"fixed:3"));
        assert!(start.elapsed() <= millis(2));
        sleep(millis(10)).await;
    }
}

async fn a_slow_reply_affects_one_connection_of_two(mode: ProtocolMode) {
    let fake = FakeServer::new(mode, DRIP);
    let network = FakeNetwork::new([("slow", Arc::clone(&fake))]);
    let client = Client::with_config(["slow"], mode.config(Config::new()).connections(2).connector(network)).unwrap();
    let server = &client.servers()[0];
    let first = tokio::spawn(get(server.clone(), "fixed:H"));
    tokio::task::yield_now().await;
    let (mut answered, mut failed) = (0, 0);
    for _ in 0..100 {
        // Connections are used in turn: one of two requests is queued behind the dripping reply.
        let (one, other) = tokio::join!(get(server.clone(), "fixed:1"), get(server.clone(), "fixed:2"));
        for (key, (reply, _)) in [("fixed:1", one), ("fixed:2", other)] {
            match reply.status {
                Status::NoError => assert_eq!(reply.value, expected_value(key.as_bytes())),
                status => assert!(!status.is_from_server(), "{status}"),
            }
            *if reply.is_ok() { &mut answered } else { &mut failed } += 1;
        }
    }
    assert_eq!(first.await.unwrap().0.status, Status::TimedOut(Delivery::MaybeSent));
    assert!(answered >= 100 && failed > 0, "{answered} answered, {failed} failed");
}

async fn expect_all_to_time_out(harness: &Harness, deadline: Duration) {
    let start = Instant::now();
    let results = harness.run_all_operations().await;
    results.assert_errors(|kind| matches!(kind, remcache::ErrorKind::TimedOut(_)));
    assert_eq!(results.errors.len(), ALL_OPERATIONS);
    assert!(start.elapsed() >= deadline);
}

async fn calls_to_a_server_that_never_answers_time_out(mode: ProtocolMode) {
    for fault in [ServerFault::NeverAnswer, ServerFault::NeverRead] {
        let harness = Harness::in_memory(mode, fault, Config::new(), DEADLINE);
        expect_all_to_time_out(&harness, DEADLINE).await;
        harness.finish().await;
    }
}

async fn calls_to_a_server_whose_connections_never_open_time_out(mode: ProtocolMode) {
    let harness = Harness::in_memory(mode, ServerFault::Unreachable, Config::new(), DEADLINE);
    let results = harness.run_all_operations().await;
    assert_eq!(results.errors.len(), ALL_OPERATIONS);
    assert!(results.errors.iter().all(|error| !error.may_have_executed()));
    harness.finish().await;
}

/// Without the breaker, which would fail requests that a busy machine sends late.
async fn calls_to_a_server_that_never_answers_on_a_socket_time_out(mode: ProtocolMode) {
    for fault in [ServerFault::NeverAnswer, ServerFault::NeverRead] {
        let harness = Harness::on_sockets(mode, fault, Config::new().breaker(0), SOCKET_DEADLINE).await;
        expect_all_to_time_out(&harness, SOCKET_DEADLINE).await;
        harness.finish().await;
    }
}

/// Sends `count` concurrent requests and returns the status and the duration of each.
async fn flood(client: &Client, count: usize, request: Request<'static>) -> Vec<(Status, Duration)> {
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let (client, request) = (client.clone(), request.clone());
        tasks.spawn(async move {
            let start = Instant::now();
            (client.call(request).await.status, start.elapsed())
        });
    }
    tasks.join_all().await
}

fn count_of(results: &[(Status, Duration)], wanted: Status) -> usize {
    results.iter().filter(|(status, _)| *status == wanted).count()
}

async fn requests_beyond_the_limit_in_flight_are_overloaded(mode: ProtocolMode) {
    for (overload, wait) in [(Overload::Fail, Duration::ZERO), (Overload::Wait, DEADLINE)] {
        for fault in [ServerFault::NeverAnswer, ServerFault::NeverRead] {
            let config = Config::new().max_in_flight(100).overload(overload);
            let harness = Harness::in_memory(mode, fault, config, DEADLINE);
            let results = flood(&harness.client, 300, Request::get("fixed:1")).await;
            assert_eq!(count_of(&results, Status::TimedOut(Delivery::MaybeSent)), 100);
            assert_eq!(count_of(&results, Status::Overloaded), 200);
            for (status, took) in results {
                let expected = if status == Status::Overloaded { wait } else { DEADLINE };
                assert!((expected..=expected + millis(2)).contains(&took), "{status} after {took:?}");
            }
            harness.finish().await;
        }
    }
}

async fn requests_beyond_the_limit_of_bytes_are_overloaded(mode: ProtocolMode) {
    let request = Request::set("fixed:L", expected_value(b"fixed:L"));
    for (overload, wait) in [(Overload::Fail, Duration::ZERO), (Overload::Wait, DEADLINE)] {
        let config = Config::new().max_output(1 << 20).overload(overload);
        let harness = Harness::in_memory(mode, ServerFault::NeverRead, config, DEADLINE);
        let results = flood(&harness.client, 300, request.clone()).await;
        let overloaded = count_of(&results, Status::Overloaded);
        let late = count_of(&results, Status::TimedOut(Delivery::MaybeSent))
            + count_of(&results, Status::TimedOut(Delivery::NotSent));
        assert_eq!(overloaded + late, 300);
        // Socket buffers hold a few requests in addition to the limit.
        assert!((110..=135).contains(&late), "{late} requests of 9 kB were queued");
        for (status, took) in results {
            let expected = if status == Status::Overloaded { wait } else { DEADLINE };
            assert!((expected..=expected + millis(2)).contains(&took), "{status} after {took:?}");
        }
        harness.finish().await;
    }
}

/// A server that stops reading within a request has not executed it.
async fn calls_to_a_server_that_stops_reading_on_a_socket_time_out(mode: ProtocolMode) {
    let config = Config::new().max_output(4 << 20).socket_buffers(16 << 10);
    let harness = Harness::on_sockets(mode, ServerFault::NeverRead, config, DEADLINE).await;
    let request = Request::set("fixed:H", expected_value(b"fixed:H"));
    let flood = flood(&harness.client, 30, request);
    let results = timeout(PATIENCE, flood).await.expect("no call hangs");
    let answered = results.iter().filter(|(status, _)| status.is_from_server()).count();
    assert_eq!(answered, 0);
    assert!(count_of(&results, Status::Overloaded) > 0);
    harness.finish().await;
}
