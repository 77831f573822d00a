//! Rows 10 and 22: servers that are slow to the point of silence, or silent.

use std::sync::Arc;
use std::time::Duration;

use remcache::config::Overload;
use remcache::{Client, Config, Delivery, Reply, Request, ServerHandle, Status};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::faults::support::conduct::Conduct;
use crate::faults::support::net::Net;
use crate::faults::support::serve::World;
use crate::faults::support::store::truth;
use crate::faults::support::trial::{OUTCOMES_OF_A_ROUND, RECOVERY, Trial};
use crate::support::Speech;
use crate::support::on_each_protocol;

on_each_protocol! {
    #[tokio::test(start_paused = true)]
    row_10_a_drip_is_given_up_at_the_deadline_and_closed_at_twice_that
    row_10_a_drip_spoils_one_connection_of_two
    row_22_a_server_that_accepts_and_never_answers
    row_22_a_server_whose_connections_never_open
    row_22_past_the_cap_of_requests_all_are_overloaded
    row_22_past_the_cap_of_bytes_all_are_overloaded
}

on_each_protocol! {
    #[tokio::test]
    row_22_a_server_that_accepts_and_never_answers_on_a_socket
    row_22_a_server_that_stops_reading_on_a_socket
}

const DEADLINE: Duration = Duration::from_secs(1);
const DRIP: Conduct = Conduct::Drips(Duration::from_secs(1));

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What a server's reply was, and when it came.
async fn ask(server: ServerHandle, key: &'static str) -> (Reply, Instant) {
    let reply = server.call(Request::get(key)).await;
    (reply, Instant::now())
}

async fn row_10_a_drip_is_given_up_at_the_deadline_and_closed_at_twice_that(speech: Speech) {
    let worlds = [World::new(speech, DRIP), World::new(speech, Conduct::Honest)];
    let net = Net::new([("slow", Arc::clone(&worlds[0])), ("well", Arc::clone(&worlds[1]))]);
    let client = Client::with_config(["slow", "well"], speech.config(Config::new()).connector(net)).unwrap();
    let [slow, well] = client.servers().try_into().unwrap();
    let start = Instant::now();
    let untouched = tokio::spawn(keep_asking(well, start + millis(4_000)));

    let head = tokio::spawn(ask(slow.clone(), "fixed:H"));
    sleep_until(start + millis(500)).await;
    let behind = tokio::spawn(ask(slow.clone(), "fixed:1"));
    sleep_until(start + millis(1_600)).await;
    let last = tokio::spawn(ask(slow.clone(), "fixed:2"));

    let outcomes = [head.await.unwrap(), behind.await.unwrap(), last.await.unwrap()];
    let timed_out = Status::TimedOut(Delivery::MaybeSent);
    let disconnected = Status::Disconnected(Delivery::MaybeSent);
    for ((reply, at), (status, after)) in
        outcomes.iter().zip([(timed_out, 1_000), (timed_out, 1_500), (disconnected, 2_000)])
    {
        assert_eq!(reply.status, status);
        let late = *at - start - millis(after);
        assert!(late <= millis(2), "{status} came {late:?} after {after} ms");
    }
    untouched.await.unwrap();
    sleep(RECOVERY).await;
    // The server is slow with large values only, so it is back meanwhile.
    assert_eq!(ask(slow, "fixed:1").await.0.value, truth(b"fixed:1"));
}

/// A server whose neighbour has troubles answers at once.
async fn keep_asking(server: ServerHandle, until: Instant) {
    while Instant::now() < until {
        let start = Instant::now();
        assert_eq!(ask(server.clone(), "fixed:3").await.0.value, truth(b"fixed:3"));
        assert!(start.elapsed() <= millis(2));
        sleep(millis(10)).await;
    }
}

async fn row_10_a_drip_spoils_one_connection_of_two(speech: Speech) {
    let world = World::new(speech, DRIP);
    let net = Net::new([("slow", Arc::clone(&world))]);
    let client = Client::with_config(["slow"], speech.config(Config::new()).connections(2).connector(net)).unwrap();
    let server = &client.servers()[0];
    let head = tokio::spawn(ask(server.clone(), "fixed:H"));
    tokio::task::yield_now().await;
    let (mut answered, mut spoiled) = (0, 0);
    for _ in 0..100 {
        // Connections are taken in turn: of two requests, one meets the drip.
        let (one, other) = tokio::join!(ask(server.clone(), "fixed:1"), ask(server.clone(), "fixed:2"));
        for (key, (reply, _)) in [("fixed:1", one), ("fixed:2", other)] {
            match reply.status {
                Status::NoError => assert_eq!(reply.value, truth(key.as_bytes())),
                status => assert!(!status.is_answer(), "{status}"),
            }
            *if reply.is_ok() { &mut answered } else { &mut spoiled } += 1;
        }
    }
    assert_eq!(head.await.unwrap().0.status, Status::TimedOut(Delivery::MaybeSent));
    assert!(answered >= 100 && spoiled > 0, "{answered} answered, {spoiled} spoiled");
}

async fn all_time_out(trial: &Trial) {
    let start = Instant::now();
    let tally = trial.round().await;
    tally.assert_errors(|kind| matches!(kind, remcache::ErrorKind::TimedOut(_)));
    assert_eq!(tally.errors.len(), OUTCOMES_OF_A_ROUND);
    assert!(start.elapsed() >= DEADLINE);
}

async fn row_22_a_server_that_accepts_and_never_answers(speech: Speech) {
    for conduct in [Conduct::Silent, Conduct::Deaf] {
        let trial = Trial::in_memory(speech, conduct, Config::new(), DEADLINE);
        all_time_out(&trial).await;
        trial.end().await;
    }
}

async fn row_22_a_server_whose_connections_never_open(speech: Speech) {
    let trial = Trial::in_memory(speech, Conduct::Unreachable, Config::new(), DEADLINE);
    let tally = trial.round().await;
    assert_eq!(tally.errors.len(), OUTCOMES_OF_A_ROUND);
    assert!(tally.errors.iter().all(|error| !error.may_have_executed()));
    trial.end().await;
}

/// Without the breaker: requests that a busy machine makes late would meet it.
async fn row_22_a_server_that_accepts_and_never_answers_on_a_socket(speech: Speech) {
    for conduct in [Conduct::Silent, Conduct::Deaf] {
        let trial = Trial::on_sockets(speech, conduct, Config::new().breaker(0), DEADLINE).await;
        all_time_out(&trial).await;
        trial.end().await;
    }
}

/// The statuses of so many requests that are made at once, each with the time that it took.
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

fn count_of(outcomes: &[(Status, Duration)], wanted: Status) -> usize {
    outcomes.iter().filter(|(status, _)| *status == wanted).count()
}

async fn row_22_past_the_cap_of_requests_all_are_overloaded(speech: Speech) {
    for (overload, wait) in [(Overload::Fail, Duration::ZERO), (Overload::Wait, DEADLINE)] {
        for conduct in [Conduct::Silent, Conduct::Deaf] {
            let config = Config::new().max_in_flight(100).overload(overload);
            let trial = Trial::in_memory(speech, conduct, config, DEADLINE);
            let outcomes = flood(&trial.client, 300, Request::get("fixed:1")).await;
            assert_eq!(count_of(&outcomes, Status::TimedOut(Delivery::MaybeSent)), 100);
            assert_eq!(count_of(&outcomes, Status::Overloaded), 200);
            for (status, took) in outcomes {
                let expected = if status == Status::Overloaded { wait } else { DEADLINE };
                assert!((expected..=expected + millis(2)).contains(&took), "{status} after {took:?}");
            }
            trial.end().await;
        }
    }
}

async fn row_22_past_the_cap_of_bytes_all_are_overloaded(speech: Speech) {
    let request = Request::set("fixed:L", truth(b"fixed:L"));
    for (overload, wait) in [(Overload::Fail, Duration::ZERO), (Overload::Wait, DEADLINE)] {
        let config = Config::new().max_output(1 << 20).overload(overload);
        let trial = Trial::in_memory(speech, Conduct::Deaf, config, DEADLINE);
        let outcomes = flood(&trial.client, 300, request.clone()).await;
        let overloaded = count_of(&outcomes, Status::Overloaded);
        let late = count_of(&outcomes, Status::TimedOut(Delivery::MaybeSent))
            + count_of(&outcomes, Status::TimedOut(Delivery::NotSent));
        assert_eq!(overloaded + late, 300);
        // What the sockets hold beside the cap is less than so much.
        assert!((110..=135).contains(&late), "{late} requests of 9 kB were queued");
        for (status, took) in outcomes {
            let expected = if status == Status::Overloaded { wait } else { DEADLINE };
            assert!((expected..=expected + millis(2)).contains(&took), "{status} after {took:?}");
        }
        trial.end().await;
    }
}

/// A server that stops reading in the middle of a request has not executed it.
async fn row_22_a_server_that_stops_reading_on_a_socket(speech: Speech) {
    let config = Config::new().max_output(4 << 20).socket_buffers(16 << 10);
    let trial = Trial::on_sockets(speech, Conduct::Deaf, config, DEADLINE).await;
    let request = Request::set("fixed:H", truth(b"fixed:H"));
    let flood = flood(&trial.client, 30, request);
    let outcomes = timeout(DEADLINE * 10, flood).await.expect("no call hangs");
    let answered = outcomes.iter().filter(|(status, _)| status.is_answer()).count();
    assert_eq!(answered, 0);
    assert!(count_of(&outcomes, Status::Overloaded) > 0);
    trial.end().await;
}
