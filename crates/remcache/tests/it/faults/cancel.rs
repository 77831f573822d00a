//! Dropping a call at any point: its neighbours are answered, the connection stays, and nothing of
//! it is left.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use remcache::{Client, Config};
use remcache_testkit::seed;
use tokio::task::JoinSet;

use crate::faults::support::conduct::Conduct;
use crate::faults::support::store::truth;
use crate::faults::support::trial::Trial;
use crate::support::Speech;
use crate::support::on_each_protocol;

on_each_protocol! {
    #[tokio::test(start_paused = true)]
    a_call_may_be_dropped_at_every_poll
    eight_calls_may_be_dropped_at_any_polls
}

const DEADLINE: Duration = Duration::from_secs(1);

/// An operation that checks its own outcome, where it gets one.
type Operation = fn(Client) -> Pin<Box<dyn Future<Output = ()> + Send>>;

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("fixed:{number}")).collect()
}

const OPERATIONS: [(&str, Operation); 9] = [
    ("get", |client| {
        Box::pin(async move {
            let item = client.get("fixed:dropped").await.unwrap();
            assert_eq!(item.unwrap().value, truth(b"fixed:dropped"));
        })
    }),
    ("get a large value", |client| {
        Box::pin(async move {
            let item = client.get("fixed:L").await.unwrap();
            assert_eq!(item.unwrap().value, truth(b"fixed:L"));
        })
    }),
    ("set", |client| {
        Box::pin(async move {
            assert!(client.set("fixed:dropped", truth(b"fixed:dropped")).await.unwrap().is_applied());
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
            let outcomes = client.get_many(keys(40)).await;
            assert_eq!(outcomes.found().count(), 40);
        })
    }),
    ("set_many", |client| {
        Box::pin(async move {
            let pairs = keys(40).into_iter().map(|key| (key.clone(), truth(key.as_bytes())));
            assert_eq!(client.set_many(pairs.collect::<Vec<_>>()).await.made().count(), 40);
        })
    }),
];

/// Polls a future at each turn of the scheduler, at most so often; then it is dropped.
async fn poll_times(mut future: Pin<Box<dyn Future<Output = ()> + Send>>, times: usize) -> bool {
    let mut polls = 0;
    poll_fn(|cx| {
        if polls == times {
            return Poll::Ready(false);
        }
        polls += 1;
        // A turn later it is polled again, whatever happened.
        cx.waker().wake_by_ref();
        future.as_mut().poll(cx).map(|()| true)
    })
    .await
}

/// What a call meets on its way.
struct Circumstances {
    name: &'static str,
    conduct: Conduct,
    config: fn() -> Config,
    /// Whether the connection is open before.
    is_warm: bool,
}

const CIRCUMSTANCES: [Circumstances; 4] = [
    Circumstances { name: "cold", conduct: Conduct::Honest, config: Config::new, is_warm: false },
    Circumstances { name: "warm", conduct: Conduct::Honest, config: Config::new, is_warm: true },
    Circumstances { name: "in pieces", conduct: Conduct::Splits(20, 1), config: Config::new, is_warm: true },
    Circumstances {
        name: "crowded",
        conduct: Conduct::Honest,
        config: || Config::new().max_in_flight(2),
        is_warm: true,
    },
];

/// Drops one call among its neighbours after so many polls; whether it was ready before.
async fn drop_one(speech: Speech, operation: Operation, circumstances: &Circumstances, times: usize) -> bool {
    let trial = Trial::in_memory(speech, circumstances.conduct.clone(), (circumstances.config)(), DEADLINE);
    if circumstances.is_warm {
        assert_eq!(trial.get("fixed:warm").await.succeeded, 1);
    }
    let (before, was_ready, after) = tokio::join!(
        trial.get("fixed:before"),
        poll_times(operation(trial.client.clone()), times),
        trial.get("fixed:after"),
    );
    assert_eq!((before.succeeded, after.succeeded), (1, 1), "{:?}{:?}", before.errors, after.errors);
    assert_eq!(trial.get("fixed:later").await.succeeded, 1);
    let server = &trial.client.servers()[0];
    while server.in_flight() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.waiting(), 0);
    assert_eq!(trial.world.accepted(), 1, "the connection stays");
    was_ready
}

async fn a_call_may_be_dropped_at_every_poll(speech: Speech) {
    for circumstances in &CIRCUMSTANCES {
        for (name, operation) in OPERATIONS {
            let mut times = 0;
            while !drop_one(speech, operation, circumstances, times).await {
                times += 1;
                assert!(times < 10_000, "{name}, {}: never ready", circumstances.name);
            }
            assert!(times > 0, "{name}, {}: there was nothing to drop", circumstances.name);
        }
    }
}

/// Eight calls at once, each dropped after a number of polls of its own, or not at all.
async fn eight_calls_may_be_dropped_at_any_polls(speech: Speech) {
    let seed = seed();
    let mut rng = seed.rng();
    for _ in 0..400 {
        let Circumstances { conduct, config, .. } = rng.choice(&CIRCUMSTANCES).expect("there are some");
        let trial = Trial::in_memory(speech, conduct.clone(), config().seed(rng.u64(..)), DEADLINE);
        let mut calls = JoinSet::new();
        // What changes something is checked by its own count, so each of these comes once.
        let mut operations = OPERATIONS;
        rng.shuffle(&mut operations);
        for (_, operation) in &operations[..8] {
            let times = if rng.bool() { rng.usize(..12) } else { usize::MAX };
            calls.spawn(poll_times(operation(trial.client.clone()), times));
        }
        calls.join_all().await;
        assert_eq!(trial.get("fixed:later").await.succeeded, 1);
        let server = &trial.client.servers()[0];
        while server.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!((server.waiting(), trial.world.accepted()), (0, 1));
    }
}
