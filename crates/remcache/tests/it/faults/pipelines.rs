//! Long pipelines with a real server, through the smallest possible socket buffers.
//!
//! A client that writes everything before it reads deadlocks after some megabytes. These tests use reduced sizes;
//! `cargo xtask soak --pipelines` runs the full ones.

use bytes::Bytes;
use remcache::{Client, Config};
use remcache_testkit::Memcached;
use tokio::task::JoinSet;

use crate::faults::support::known_items::PATIENCE;
use crate::support::{ProtocolMode, protocol_mode_tests};

protocol_mode_tests! {
    #[tokio::test]
    a_hundred_thousand_keys_in_one_call
    large_values_are_fetched_through_tiny_buffers
    callers_move_large_values_through_tiny_buffers
}

fn client(server: &Memcached, mode: ProtocolMode, buffers: usize) -> Client {
    let config = mode.config(Config::new()).timeout(PATIENCE).connect_timeout(PATIENCE);
    Client::with_config([server.addr()], config.socket_buffers(buffers)).unwrap()
}

/// Asserts that nothing is in flight and that the client never reconnected.
async fn assert_idle(client: &Client) {
    let server = &client.servers()[0];
    // A multiget stays in flight until its `END` is read, which comes after the last value.
    server.noop().await.unwrap();
    assert_eq!((server.in_flight(), server.waiting()), (0, 0));
    assert_eq!(server.metrics().reconnects, 0);
}

async fn a_hundred_thousand_keys_in_one_call(mode: ProtocolMode) {
    const KEYS: usize = 100_000;
    let server = Memcached::start(&["-m", "256"]);
    let client = client(&server, mode, TINY);
    let key = |n: usize| format!("key:{n}");
    let stored = client.set_many((0..KEYS).step_by(10).map(|n| (key(n), key(n)))).await;
    assert_eq!(stored.applied().count(), KEYS / 10);
    let fetched = client.get_many((0..KEYS).map(key)).await;
    assert_eq!(fetched.len(), KEYS);
    for (n, (key, item)) in fetched.into_iter().enumerate() {
        let value = item.unwrap().map(|item| item.value);
        assert_eq!(value.as_deref(), n.is_multiple_of(10).then_some(key.as_bytes()));
    }
    assert_idle(&client).await;
}

/// Returns a value that consists of its number, repeated.
fn large(n: usize) -> Bytes {
    Bytes::from((n as u32).to_be_bytes().repeat(25_000))
}

async fn large_values_are_fetched_through_tiny_buffers(mode: ProtocolMode) {
    const COUNT: usize = 1_000;
    let server = Memcached::start(&["-m", "256"]);
    let stored = client(&server, mode, LARGE).set_many((0..DISTINCT).map(|n| (n.to_string(), large(n)))).await;
    assert_eq!(stored.applied().count(), DISTINCT, "{:?}", stored.failed().next());
    let client = client(&server, mode, TINY);
    let fetched = client.get_many((0..COUNT).map(|n| (n % DISTINCT).to_string())).await;
    let expected: Vec<Bytes> = (0..DISTINCT).map(large).collect();
    for (n, (key, item)) in fetched.into_iter().enumerate() {
        let item = item.unwrap().unwrap_or_else(|| panic!("{key} is missing"));
        assert!(item.value == expected[n % DISTINCT], "{key}");
    }
    assert_idle(&client).await;
}

/// Callers that each get one value, without the limits of a multi-key call, while others store the values.
async fn callers_move_large_values_through_tiny_buffers(mode: ProtocolMode) {
    const VALUES: usize = 20;
    const GETS: usize = 200;
    let server = Memcached::start(&["-m", "256"]);
    let client = client(&server, mode, TINY);
    let mut sets = JoinSet::new();
    for n in 0..VALUES {
        let client = client.clone();
        sets.spawn(async move { assert!(client.set(n.to_string(), large(n)).await.unwrap().is_applied()) });
    }
    let mut gets = JoinSet::new();
    for n in 0..GETS {
        let client = client.clone();
        gets.spawn(async move {
            let item = client.get((n % VALUES).to_string()).await.unwrap().expect("the set was submitted first");
            assert!(item.value == large(n % VALUES), "{n}");
        });
    }
    sets.join_all().await;
    gets.join_all().await;
    assert_idle(&client).await;
}

const DISTINCT: usize = 50;
/// The smallest possible size: the operating system rounds it up to a few kilobytes.
const TINY: usize = 4096;
const LARGE: usize = 1 << 20;
