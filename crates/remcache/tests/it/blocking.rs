//! The blocking client against a real memcached.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use remcache::blocking::Client;
use remcache::config::ProtocolSetting;
use remcache::recipes::{FetchPolicy, OnUnavailable};
use remcache::value::Codec;
use remcache::{Cache, Config, ErrorKind, Request, Status, WriteOutcome};
use remcache_testkit::Memcached;

use crate::support::patient_config;

fn client_of(server: &Memcached) -> Client {
    Client::with_config([server.addr()], patient_config()).unwrap()
}

#[test]
fn operations_have_the_same_names_and_options() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let change = client.set("key", "value").flags(7).ttl(Duration::from_secs(600)).wait().unwrap();
    let item = client.get("key").timeout(Duration::from_secs(60)).wait().unwrap().unwrap();
    assert_eq!((&*item.value, item.flags, Some(item.cas)), (&b"value"[..], 7, change.cas()));
    assert_eq!(client.add("key", "x").wait().unwrap(), WriteOutcome::Exists);
    assert_eq!(client.replace("absent", "x").wait().unwrap(), WriteOutcome::NotFound);
    assert_eq!(client.set("key", "x").cas(item.cas + 1).wait().unwrap(), WriteOutcome::Exists);
    assert!(client.append("key", "!").wait().unwrap().is_applied());
    assert!(client.prepend("key", "a ").wait().unwrap().is_applied());
    assert_eq!(client.get("key").wait().unwrap().unwrap().value, "a value!");
    assert!(client.touch("key", Duration::from_secs(60)).wait().unwrap().is_applied());
    assert!(client.get_and_touch("key", Duration::from_secs(60)).wait().unwrap().is_some());
    assert_eq!(client.increment("n", 2).initial(40).wait().unwrap().unwrap().value, 40);
    assert_eq!(client.increment("n", 2).wait().unwrap().unwrap().value, 42);
    assert_eq!(client.decrement("n", 50).wait().unwrap().unwrap().value, 0);
    assert!(client.delete("key").wait().unwrap().is_applied());
    assert_eq!(client.get("key").wait().unwrap(), None);
}

#[test]
fn multi_key_operations_return_one_result_per_key() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    assert_eq!(client.set_many([("a", "1"), ("b", "2")]).flags(3).wait().applied().count(), 2);
    assert_eq!(client.add_many([("a", "1"), ("c", "3")]).wait().applied().count(), 1);
    assert_eq!(client.replace_many([("a", "1"), ("d", "3")]).wait().applied().count(), 1);
    assert_eq!(client.append_many([("a", "!")]).wait().applied().count(), 1);
    assert_eq!(client.prepend_many([("a", "?")]).wait().applied().count(), 1);
    let many = client.get_many(["a", "b", "absent"]).wait();
    assert_eq!((many.found().count(), many.missing().count()), (2, 1));
    assert_eq!(client.get_and_touch_many(["a"], Duration::from_secs(60)).wait().found().count(), 1);
    assert_eq!(client.touch_many(["a", "b"], Duration::from_secs(60)).wait().applied().count(), 2);
    assert!(client.increment_many([("n", 1), ("m", 1)]).initial(5).wait().is_complete());
    assert!(client.decrement_many([("n", 1)]).wait().is_complete());
    assert_eq!(client.delete_many(["a", "b"]).wait().applied().count(), 2);
}

#[test]
fn low_level_requests_and_servers() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    assert_eq!(client.call(Request::get("key")).status, Status::KeyNotFound);
    assert!(client.send_no_reply(Request::set("key", "value")));
    assert_eq!(client.get("key").wait().unwrap().unwrap().value, "value", "requests keep their order");
    assert!(client.version()[0].1.is_ok() && client.noop()[0].1.is_ok() && client.is_usable());
    let stats = client.wait(client.servers()[0].stats("").collect()).unwrap();
    assert!(stats.iter().any(|(name, _)| name == "pid"));
    assert!(client.flush().wait()[0].1.is_ok());
    client.set_servers([server.addr(), "127.0.0.1:1".to_owned()]).unwrap();
    assert_eq!(client.servers().len(), 2);
    client.close();
    assert!(client.get("key").wait().unwrap_err().is_disconnected());
}

#[test]
fn sixteen_threads_share_one_connection() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let threads: Vec<_> = (0..16_u32)
        .map(|thread| {
            let client = client.clone();
            thread::spawn(move || {
                for round in 0..200 {
                    let (key, value) = (format!("{thread}:{}", round % 10), format!("{thread} {round}"));
                    client.set(&key, &value).wait().unwrap();
                    assert_eq!(client.get(&key).wait().unwrap().unwrap().value, value, "a value of another thread");
                    client.increment("sum", 1).initial(1).wait().unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(client.get("sum").wait().unwrap().unwrap().value, "3200");
    let stats = client.wait(client.servers()[0].stats("").collect()).unwrap();
    let (_, connections) = stats.into_iter().find(|(name, _)| name == "total_connections").unwrap();
    let connections: u32 = std::str::from_utf8(&connections).unwrap().parse().unwrap();
    assert!(connections <= 3, "{connections} connections, including internal ones of the server");
}

#[test]
fn a_call_times_out_at_its_deadline() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("key", "value").wait().unwrap();
    server.stop();
    let start = Instant::now();
    let error = client.get("key").timeout(Duration::from_millis(200)).wait().unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(start.elapsed() >= Duration::from_millis(200));
    server.cont();
    assert!(client.get("key").timeout(Duration::from_secs(60)).wait().unwrap().is_some());
}

#[test]
fn calls_without_a_server_fail() {
    let client = Client::new(["127.0.0.1:1"]).unwrap();
    assert!(client.get("key").wait().unwrap_err().is_unavailable());
    assert_eq!(Client::new(Vec::<String>::new()).unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(Client::from_config(Config::new()).unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn a_cache_can_be_used_through_wait() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let names = Cache::new(client.as_async(), "name", Codec::text());
    client.wait(names.set("a", "Ada")).unwrap();
    assert_eq!(client.wait(names.get("a")).unwrap().as_deref(), Some("Ada"));
}

#[test]
fn recipes_have_the_same_names() {
    let server = Memcached::start(&[]);
    let long = Duration::from_secs(3600);
    for protocol in [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text] {
        let client = Client::with_config([server.addr()], patient_config().protocol(protocol)).unwrap();
        assert!(client.flush().wait()[0].1.is_ok());
        assert!(!client.exists("n").wait().unwrap());
        assert_eq!(client.increment_or_create("n", 1, 7, long).wait().unwrap().value, 7);
        let one_more = |item: Option<&remcache::Item>| item.map(|item| [&item.value[..], b"0"].concat().into());
        assert_eq!(client.update("n", long, one_more).wait().unwrap().unwrap().value, "70");
        let item = client.take("n").wait().unwrap().unwrap();
        assert_eq!(client.compare_and_swap("n", "x", item.cas).wait().unwrap(), WriteOutcome::NotFound);
        assert!(client.append_or_create("log", "x", long).wait().unwrap().is_applied());
        assert_eq!(client.inspect("log").wait().is_ok(), protocol == ProtocolSetting::Meta);
        assert!(client.delete("log").tombstone(long).wait().unwrap().is_applied());
        assert_eq!(client.add("log", "late").wait().unwrap(), WriteOutcome::Exists);
        let lock =
            client.lock("lock", long).on_unavailable(OnUnavailable::FailClosed).wait().unwrap().acquired().unwrap();
        assert!(!client.lock("lock", long).wait().unwrap().is_acquired());
        assert!(client.wait(lock.unlock()).unwrap());
        drop(client.lock("lock", long).wait().unwrap().acquired().unwrap());
        assert!(
            client.lock("lock", long).wait_up_to(long).wait().unwrap().is_acquired(),
            "dropping a lock releases it, also outside a runtime"
        );
    }
}

/// Threads that fetch one key run one loader, which may block; an invalidated value is reloaded once.
#[test]
fn threads_that_fetch_share_one_loader() {
    let server = Memcached::start(&[]);
    let loads = Arc::new(AtomicUsize::new(0));
    let hour = Duration::from_secs(3600);
    let policy = FetchPolicy::new(hour).lease(hour).wait_up_to(hour);
    for (round, protocol) in
        [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text].into_iter().enumerate()
    {
        let client = Client::with_config([server.addr()], patient_config().protocol(protocol)).unwrap();
        client.delete("page").wait().unwrap();
        let fetch = |text: &'static str| {
            let loads = Arc::clone(&loads);
            let load = move || {
                thread::sleep(Duration::from_millis(100));
                loads.fetch_add(1, Ordering::SeqCst);
                Ok::<_, remcache::Error>(Some(text))
            };
            client.fetch_optional("page", policy, load).wait().unwrap().unwrap()
        };
        thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| assert_eq!(fetch("one"), "one"));
            }
        });
        assert_eq!(loads.load(Ordering::SeqCst), 2 * round + 1, "{protocol}");
        assert!(client.invalidate("page", Duration::from_secs(3600)).wait().unwrap().is_applied());
        while fetch("two") != "two" {
            thread::yield_now();
        }
        assert_eq!(loads.load(Ordering::SeqCst), 2 * round + 2, "{protocol}");
    }
}

#[test]
#[should_panic(expected = "the loader panics")]
fn a_panicking_loader_panics_its_caller() {
    let client = Client::new(["127.0.0.1:1"]).unwrap();
    let load = || -> Result<Option<&str>, remcache::Error> { panic!("the loader panics") };
    let _ = client.fetch_optional("page", Duration::from_secs(60), load).wait();
}

/// A call blocks the thread, but neither panics nor deadlocks.
#[tokio::test]
async fn calls_within_an_async_runtime_block() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("key", "value").wait().unwrap();
    assert_eq!(client.get("key").wait().unwrap().unwrap().value, "value");
    drop(client);
    tokio::task::yield_now().await;
}

#[test]
fn a_clone_keeps_the_connection_open() {
    let server = Memcached::start(&[]);
    let client = Arc::new(client_of(&server));
    client.set("key", "value").wait().unwrap();
    let clone = Client::clone(&client);
    drop(client);
    assert!(clone.get("key").wait().unwrap().is_some(), "the connection is open");
}
