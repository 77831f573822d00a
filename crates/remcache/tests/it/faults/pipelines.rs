//! Row 21: long pipelines with a real server, through the smallest buffers that sockets have.
//!
//! A client that writes everything before it reads stalls for ever after some megabytes.
//! Here the sizes are some of those; the full ones are `cargo xtask soak --pipelines`.

use bytes::Bytes;
use remcache::{Client, Config};
use remcache_testkit::Memcached;
use tokio::task::JoinSet;

use crate::faults::support::fetch::HANG;
use crate::support::Speech;
use crate::support::on_each_protocol;

on_each_protocol! {
    #[tokio::test]
    row_21_a_hundred_thousand_keys_in_one_call
    row_21_large_values_are_fetched_through_tiny_buffers
    row_21_callers_move_large_values_through_tiny_buffers
}

fn client(server: &Memcached, speech: Speech, buffers: usize) -> Client {
    let config = speech.config(Config::new()).timeout(HANG).connect_timeout(HANG);
    Client::with_config([server.addr()], config.socket_buffers(buffers)).unwrap()
}

/// Nothing is left in flight, and one connection was enough.
async fn assert_at_rest(client: &Client) {
    let server = &client.servers()[0];
    // A line of gets is in flight until its end is read, which follows the last value.
    server.noop().await.unwrap();
    assert_eq!((server.in_flight(), server.waiting()), (0, 0));
    assert_eq!(server.metrics().reconnects, 0);
}

async fn row_21_a_hundred_thousand_keys_in_one_call(speech: Speech) {
    const KEYS: usize = 100_000;
    let server = Memcached::start(&["-m", "256"]);
    let client = client(&server, speech, TINY);
    let key = |n: usize| format!("key:{n}");
    let stored = client.set_many((0..KEYS).step_by(10).map(|n| (key(n), key(n)))).await;
    assert_eq!(stored.made().count(), KEYS / 10);
    let fetched = client.get_many((0..KEYS).map(key)).await;
    assert_eq!(fetched.len(), KEYS);
    for (n, (key, item)) in fetched.into_iter().enumerate() {
        let value = item.unwrap().map(|item| item.value);
        assert_eq!(value.as_deref(), n.is_multiple_of(10).then_some(key.as_bytes()));
    }
    assert_at_rest(&client).await;
}

/// A value that tells whose it is, throughout.
fn large(n: usize) -> Bytes {
    Bytes::from((n as u32).to_be_bytes().repeat(25_000))
}

async fn row_21_large_values_are_fetched_through_tiny_buffers(speech: Speech) {
    const COUNT: usize = 1_000;
    let server = Memcached::start(&["-m", "256"]);
    let stored = client(&server, speech, WIDE).set_many((0..DISTINCT).map(|n| (n.to_string(), large(n)))).await;
    assert_eq!(stored.made().count(), DISTINCT, "{:?}", stored.failed().next());
    let client = client(&server, speech, TINY);
    let fetched = client.get_many((0..COUNT).map(|n| (n % DISTINCT).to_string())).await;
    let expected: Vec<Bytes> = (0..DISTINCT).map(large).collect();
    for (n, (key, item)) in fetched.into_iter().enumerate() {
        let item = item.unwrap().unwrap_or_else(|| panic!("{key} is missing"));
        assert!(item.value == expected[n % DISTINCT], "{key}");
    }
    assert_at_rest(&client).await;
}

/// Callers that each ask for one value, without a many-call's bounds, while others store them.
async fn row_21_callers_move_large_values_through_tiny_buffers(speech: Speech) {
    const FEW: usize = 20;
    const GETS: usize = 200;
    let server = Memcached::start(&["-m", "256"]);
    let client = client(&server, speech, TINY);
    let mut sets = JoinSet::new();
    for n in 0..FEW {
        let client = client.clone();
        sets.spawn(async move { assert!(client.set(n.to_string(), large(n)).await.unwrap().is_applied()) });
    }
    let mut gets = JoinSet::new();
    for n in 0..GETS {
        let client = client.clone();
        gets.spawn(async move {
            let item = client.get((n % FEW).to_string()).await.unwrap().expect("the set was asked for before");
            assert!(item.value == large(n % FEW), "{n}");
        });
    }
    sets.join_all().await;
    gets.join_all().await;
    assert_at_rest(&client).await;
}

const DISTINCT: usize = 50;
/// The smallest that there are: the system rounds them up to some kilobytes.
const TINY: usize = 4096;
const WIDE: usize = 1 << 20;
