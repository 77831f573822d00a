//! Dropping a call at any point: concurrent calls are answered, the connection stays open, and nothing leaks.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use remcache::{Client, Config};
use remcache_testkit::seed;
use tokio::task::JoinSet;

use crate::faults::support::harness::Harness;
use crate::faults::support::server_fault::ServerFault;
use crate::faults::support::store::expected_value;
use crate::support::{ProtocolMode, protocol_mode_tests};

protocol_mode_tests! {
    #[tokio::test(start_paused = true)]
    a_call_can_be_dropped_at_every_poll
    eight_calls_can_be_dropped_at_any_polls
}

const DEADLINE: Duration = Duration::from_secs(1);

/// An operation that checks its own result if it completes.
type Operation = fn(Client) -> Pin<Box<dyn Future<Output = ()> + Send>>;

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("fixed:{number}")).collect()
}

const OPERATIONS: [(&str, Operation); 9] = [
    ("get", |client| {
        Box::pin(async move {
            let item = client.get("fixed:dropped").await.unwrap();
            assert_eq!(item.unwrap().value, expected_value(b"fixed:dropped"));
        })
    }),
    ("get a large value", |client| {
        Box::pin(async move {
            let item = client.get("fixed:L").await.unwrap();
            assert_eq!(item.unwrap().value, expected_value(b"fixed:L"));
        })
    }),
    ("set", |client| {
        Box::pin(async move {
            assert!(client.set("fixed:dropped", expected_value(b"fixed:dropped")).await.unwrap().is_applied());
        })
    }),
    ("delete", |client| {
        Box::pin(async move {
            assert!(client.delete("doomed:dropped").await.unwrap().is_applied());
        })
    }),
    ("increment", |client| {
        Box::pin(async move {
            assert_eq!(client.increment("counter:dropped", 1).await.unwrap().unwrap().value, 1);
        })
    }),
    ("stats", |client| {
        Box::pin(async move {
            assert!(!client.servers()[0].stats("").collect().await.unwrap().is_empty());
        })
    }),
    ("no-op", |client| Box::pin(async move { client.servers()[0].noop().await.unwrap() })),
    ("get_many", |client| {
        Box::pin(async move {
            let results = client.get_many(keys(40)).await;
            assert_eq!(results.found().count(), 40);
        })
    }),
    ("set_many", |client| {
        Box::pin(async move {
            let pairs = keys(40).into_iter().map(|key| (key.clone(), expected_value(key.as_bytes())));
            assert_eq!(client.set_many(pairs.collect::<Vec<_>>()).await.applied().count(), 40);
        })
    }),
];

/// Polls a future on each turn of the scheduler, at most `times` times, then drops it. Returns whether it completed.
async fn poll_times(mut future: Pin<Box<dyn Future<Output = ()> + Send>>, times: usize) -> bool {
    let mut polls = 0;
    poll_fn(|cx| {
        if polls == times {
            return Poll::Ready(false);
        }
        polls += 1;
        // Poll again on the next turn, whether or not the future makes progress.
        cx.waker().wake_by_ref();
        future.as_mut().poll(cx).map(|()| true)
    })
    .await
}

/// The state of the connection that a call is made on.
struct Scenario {
    name: &'static str,
    fault: ServerFault,
    config: fn() -> Config,
    /// Whether the connection is open before the call.
    is_open: bool,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario { name: "cold", fault: ServerFault::None, config: Config::new, is_open: false },
    Scenario { name: "warm", fault: ServerFault::None, config: Config::new, is_open: true },
    Scenario { name: "in pieces", fault: ServerFault::SplitReplies(20, 1), config: Config::new, is_open: true },
    Scenario { name: "crowded", fault: ServerFault::None, config: || Config::new().max_in_flight(2), is_open: true },
];

/// Drops a call after `times` polls, with other calls in flight. Returns whether it had completed.
async fn drop_one(mode: ProtocolMode, operation: Operation, scenario: &Scenario, times: usize) -> bool {
    let harness = Harness::in_memory(mode, scenario.fault.clone(), (scenario.config)(), DEADLINE);
    if scenario.is_open {
        assert_eq!(harness.get("fixed:warm").await.succeeded, 1);
    }
    let (before, completed, after) = tokio::join!(
        harness.get("fixed:before"),
        poll_times(operation(harness.client.clone()), times),
        harness.get("fixed:after"),
    );
    assert_eq!((before.succeeded, after.succeeded), (1, 1), "{:?}{:?}", before.errors, after.errors);
    assert_eq!(harness.get("fixed:later").await.succeeded, 1);
    let server = &harness.client.servers()[0];
    while server.in_flight() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.waiting(), 0);
    assert_eq!(harness.fake.accepted(), 1, "the connection stays open");
    completed
}

async fn a_call_can_be_dropped_at_every_poll(mode: ProtocolMode) {
    for scenario in &SCENARIOS {
        for (name, operation) in OPERATIONS {
            let mut times = 0;
            while !drop_one(mode, operation, scenario, times).await {
                times += 1;
                assert!(times < 10_000, "{name}, {}: never completes", scenario.name);
            }
            assert!(times > 0, "{name}, {}: completed before it could be dropped", scenario.name);
        }
    }
}

/// Eight concurrent calls, each dropped after a random number of polls or not at all.
async fn eight_calls_can_be_dropped_at_any_polls(mode: ProtocolMode) {
    let seed = seed();
    let mut rng = seed.rng();
    for _ in 0..400 {
        let Scenario { fault, config, .. } = rng.choice(&SCENARIOS).expect("not empty");
        let harness = Harness::in_memory(mode, fault.clone(), config().seed(rng.u64(..)), DEADLINE);
        let mut calls = JoinSet::new();
        // Writes check their own execution count, so each operation is used at most once.
        let mut operations = OPERATIONS;
        rng.shuffle(&mut operations);
        for (_, operation) in &operations[..8] {
            let times = if rng.bool() { rng.usize(..12) } else { usize::MAX };
            calls.spawn(poll_times(operation(harness.client.clone()), times));
        }
        calls.join_all().await;
        assert_eq!(harness.get("fixed:later").await.succeeded, 1);
        let server = &harness.client.servers()[0];
        while server.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!((server.waiting(), harness.fake.accepted()), (0, 1));
    }
}
