//! Multi-key calls: one result per key, whatever the state of its server, for any number of keys.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::time::Duration;

use remcache::config::ProtocolSetting;
use remcache::{Client, ErrorKind, Ttl, WriteOutcome};
use remcache_testkit::{Memcached, Proxy, unused_port};

use crate::support::{flags_and_ttl, only_server, patient_config, stat};

fn client_of(server: &Memcached) -> Client {
    Client::with_config([server.addr()], patient_config()).unwrap()
}

fn client_of_all(servers: &[Memcached]) -> Client {
    Client::with_config(servers.iter().map(Memcached::addr), patient_config()).unwrap()
}

fn outcomes<'k, T: Copy + Into<WriteOutcome>>(many: &remcache::Outcomes<&'k str, T>) -> Vec<(&'k str, &'static str)> {
    let name = |outcome: &T| match (*outcome).into() {
        WriteOutcome::Applied(_) => "applied",
        WriteOutcome::NotFound => "not found",
        WriteOutcome::Exists => "exists",
        WriteOutcome::NotStored => "not stored",
    };
    many.iter().map(|(key, outcome)| (*key, name(outcome.unwrap()))).collect()
}

#[tokio::test]
async fn items_are_stored_and_fetched() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let stored = client.set_many([("foo", "1"), ("bar", "2")]).flags(7).ttl(Duration::from_secs(600)).await;
    assert_eq!(outcomes(&stored), [("foo", "applied"), ("bar", "applied")]);
    for key in ["foo", "bar"] {
        let (flags, ttl) = flags_and_ttl(&server.addr(), key).unwrap();
        assert!(flags == 7 && (540..=600).contains(&ttl), "{key}: {flags} {ttl}");
    }
    let fetched = client.get_many(["foo", "absent", "bar"]).await;
    let found: Vec<_> = fetched.found().map(|(key, item)| (*key, item.value.clone(), item.flags)).collect();
    assert_eq!(found, [("foo", "1".into(), 7), ("bar", "2".into(), 7)]);
    assert!(fetched.found().all(|(_, item)| item.cas != 0));
    assert_eq!(fetched.missing().collect::<Vec<_>>(), [&"absent"]);
    assert!(fetched.is_complete() && fetched.len() == 3);
}

#[tokio::test]
async fn every_write_has_its_outcome() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("present", "-").await.unwrap();
    let pairs = [("present", "x"), ("absent", "x"), ("other", "x")];
    let applied_if_present = |kind| [("present", "applied"), ("absent", kind), ("other", kind)];
    assert_eq!(outcomes(&client.replace_many(pairs).await), applied_if_present("not found"));
    assert_eq!(
        outcomes(&client.append_many([("present", ">"), ("absent", ">"), ("other", ">")]).await),
        applied_if_present("not stored")
    );
    assert_eq!(
        outcomes(&client.prepend_many([("present", "<"), ("absent", "<"), ("other", "<")]).await),
        applied_if_present("not stored")
    );
    assert_eq!(client.get("present").await.unwrap().unwrap().value, "<x>");
    let ttl = Duration::from_secs(600);
    assert_eq!(
        outcomes(&client.touch_many(["present", "absent", "other"], ttl).await),
        applied_if_present("not found")
    );
    assert!((540..=600).contains(&flags_and_ttl(&server.addr(), "present").unwrap().1));
    let touched = client.get_and_touch_many(["absent", "present"], Ttl::Never).await;
    assert_eq!(touched.found().map(|(key, _)| *key).collect::<Vec<_>>(), ["present"]);
    assert_eq!(flags_and_ttl(&server.addr(), "present").unwrap().1, -1);
    let added = client.add_many(pairs).ttl(ttl).await;
    assert_eq!(outcomes(&added), [("present", "exists"), ("absent", "applied"), ("other", "applied")]);
    assert_eq!(added.not_applied().collect::<Vec<_>>(), [(&"present", WriteOutcome::Exists)]);
    let deleted = client.delete_many(["nothing", "present", "absent", "unknown"]).await;
    let expected = [("nothing", "not found"), ("present", "applied"), ("absent", "applied"), ("unknown", "not found")];
    assert_eq!(outcomes(&deleted), expected);
}

#[tokio::test]
async fn a_call_without_keys_needs_no_server() {
    let client = Client::new([format!("127.0.0.1:{}", unused_port())]).unwrap();
    let none = client.get_many([""; 0]).await;
    assert!(none.is_empty() && none.is_complete());
    assert_eq!(client.set_many([("", ""); 0]).await.len(), 0);
    assert_eq!(client.increment_many([("", 0); 0]).await.len(), 0);
}

#[tokio::test]
async fn results_are_in_the_order_of_the_keys_over_all_servers() {
    let servers = [Memcached::start(&[]), Memcached::start(&[]), Memcached::start(&[])];
    let client = client_of_all(&servers);
    let keys: Vec<String> = (0..5000).map(|n| format!("key{n}")).collect();
    let stored = client.set_many(keys.iter().map(|key| (key.as_str(), key.as_bytes()))).await;
    assert_eq!(stored.applied().count(), 5000);
    let fetched = client.get_many(&keys).await;
    for (n, (key, item)) in fetched.into_iter().enumerate() {
        assert_eq!(*key, keys[n]);
        assert_eq!(item.unwrap().unwrap().value, keys[n]);
    }
    let used: HashSet<_> = keys.iter().map(|key| client.locate(key).unwrap().unwrap().name().to_owned()).collect();
    assert_eq!(used.len(), 3);
    for server in client.servers() {
        assert!(stat(&server, "curr_items").await > 500);
    }
}

#[tokio::test]
async fn a_key_can_be_given_more_than_once() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("k", "v").await.unwrap();
    let fetched = client.get_many(["k", "absent", "k", "k"]).await;
    assert_eq!((fetched.found().count(), fetched.missing().count()), (3, 1));
    let stored = client.set_many([("k", "1"), ("k", "2"), ("k", "3")]).await;
    assert_eq!(stored.applied().count(), 3);
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "3", "in the order of the call");
}

#[tokio::test]
async fn an_invalid_key_fails_only_itself() {
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let client = Client::with_config([proxy.addr()], patient_config()).unwrap();
    let long = "k".repeat(251);
    let longest = "k".repeat(250);
    let keys = ["a", "", "b", &long, &longest, "c"];
    let stored = client.set_many(keys.map(|key| (key, "v"))).await;
    assert_eq!(stored.applied().collect::<Vec<_>>(), [&"a", &"b", &longest.as_str(), &"c"]);
    let failed: Vec<_> = stored.failed().map(|(key, error)| (key.len(), error.kind())).collect();
    assert_eq!(failed, [(0, ErrorKind::InvalidKey), (251, ErrorKind::InvalidKey)]);
    let last_invalid = client.get_many(["a", ""]).await;
    assert_eq!((last_invalid.found().count(), last_invalid.failed().count()), (1, 1));
    let all_invalid = client.get_many(["", &long]).await;
    assert_eq!(all_invalid.failed().count(), 2);
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn a_value_above_the_limit_fails_only_itself() {
    let server = Memcached::start(&[]);
    let client = Client::with_config([server.addr()], patient_config().max_value_size(1000)).unwrap();
    let items: Vec<(String, Vec<u8>)> = (0..20).map(|n| (format!("k{n}"), vec![1; 991 + n])).collect();
    let stored = client.set_many(items).await;
    assert_eq!(stored.applied().count(), 10);
    assert!(stored.failed().all(|(_, error)| error.kind() == ErrorKind::ValueTooLarge));
    assert_eq!(stat(&only_server(&client), "curr_items").await, 10);
}

#[tokio::test]
async fn a_dead_server_fails_only_its_own_keys() {
    let alive = [Memcached::start(&[]), Memcached::start(&[])];
    let dead = format!("127.0.0.1:{}", unused_port());
    let addresses = [alive[0].addr(), dead.clone(), alive[1].addr()];
    let client = Client::with_config(&addresses, patient_config()).unwrap();
    let keys: Vec<String> = (0..3000).map(|n| format!("key{n}")).collect();
    let is_dead = |key: &str| client.locate(key).unwrap().unwrap().name() == dead;
    let on_dead = keys.iter().filter(|key| is_dead(key)).count();
    assert!((300..2000).contains(&on_dead), "{on_dead}");
    for round in 0..3 {
        let stored = client.set_many(keys.iter().map(|key| (key.as_str(), "v"))).await;
        assert_eq!(stored.applied().count(), 3000 - on_dead, "round {round}");
        let fetched = client.get_many(&keys).await;
        assert_eq!((fetched.found().count(), fetched.missing().count()), (3000 - on_dead, 0), "round {round}");
        for (key, error) in fetched.failed() {
            assert!(is_dead(key) && error.is_disconnected() && !error.may_have_executed(), "{key}: {error}");
            assert_eq!(error.server(), Some(&*dead));
        }
        assert!(!fetched.is_complete());
    }
}

/// Quiet writes of the binary protocol have no reply if they succeed: a batch is confirmed by its last request.
#[tokio::test]
async fn many_writes_need_few_replies() {
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let client = Client::with_config([proxy.addr()], patient_config().protocol(ProtocolSetting::Binary)).unwrap();
    client.noop().await[0].1.as_ref().unwrap();
    let before = proxy.passed(remcache_testkit::Direction::Replies);
    let stored = client.set_many((0..1000).map(|n| (format!("key{n}"), "v"))).await;
    assert_eq!(stored.applied().count(), 1000);
    let deleted = client.delete_many((0..1000).map(|n| format!("key{n}"))).await;
    assert_eq!(deleted.applied().count(), 1000);
    let bytes = proxy.passed(remcache_testkit::Direction::Replies) - before;
    assert!(bytes < 1000, "2,000 requests were answered with {bytes} bytes");
}

#[tokio::test]
async fn a_call_continues_while_replies_arrive() {
    let server = Memcached::start(&["-m", "256"]);
    let proxy = Proxy::start(server.addr()).await;
    let config = patient_config().timeout(Duration::from_secs(4));
    let client = Client::with_config([proxy.addr()], config).unwrap();
    let items = (0..100).map(|n| (format!("key{n}"), vec![n; 10_000]));
    let _ = client.set_many(items).timeout(Duration::from_secs(60)).await;
    // A megabyte that takes about ten seconds.
    proxy.change(|rules| rules.replies.bytes_per_second = Some(100_000));
    let fetched = client.get_many((0..100).map(|n| format!("key{n}"))).await;
    assert_eq!(fetched.found().count(), 100, "{:?}", fetched.failed().next());
}

#[tokio::test]
async fn a_call_times_out_when_no_reply_arrives() {
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let client = Client::with_config([proxy.addr()], patient_config()).unwrap();
    client.set("k", "v").await.unwrap();
    proxy.change(|rules| rules.replies.black_hole = true);
    let keys: Vec<String> = (0..50_000).map(|n| format!("key{n}")).collect();
    let fetched = client.get_many(&keys).timeout(Duration::from_millis(300)).await;
    assert_eq!(fetched.failed().count(), 50_000, "a timeout is not a miss");
    assert!(fetched.failed().all(|(_, error)| error.is_unavailable()));
}

#[tokio::test]
async fn concurrent_calls_get_their_own_results() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let client = client_of_all(&servers);
    let calls: Vec<_> = (0..20)
        .map(|call| {
            let client = client.clone();
            tokio::spawn(async move {
                let keys: Vec<String> = (0..2000).map(|n| format!("{call}:{n}")).collect();
                let stored = client.set_many(keys.iter().map(|key| (key, key))).await;
                assert!(stored.is_complete());
                let absent = format!("{call}:absent");
                let fetched = client.get_many(keys.iter().chain([&absent])).await;
                assert!(fetched.found().all(|(key, item)| item.value == key.as_bytes()));
                assert_eq!((fetched.found().count(), fetched.missing().count()), (2000, 1));
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    for server in client.servers() {
        assert_eq!((server.in_flight(), server.waiting()), (0, 0));
    }
}

#[tokio::test]
async fn call_many_sends_any_requests() {
    use remcache::{Request, Status};
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let config = patient_config().namespace("shop:");
    let client = Client::with_config(servers.iter().map(Memcached::addr), config).unwrap();
    assert_eq!(client.namespace(), b"shop:");
    let keys: Vec<String> = (0..3000).map(|number| format!("key:{number}")).collect();
    let days = |number: usize| Duration::from_secs(86_400 * (1 + number as u64 % 60));
    let requests = keys.iter().enumerate().map(|(number, key)| {
        let request = Request::set(key, key).flags(number as u32);
        // More than 30 days are sent to the server as an absolute time.
        if number % 2 == 0 { request.ttl(days(number)) } else { request }
    });
    let stored = client.call_many(requests).await;
    assert!(stored.iter().all(|reply| reply.is_ok()));
    let replies = client.call_many(keys.iter().map(Request::get)).await;
    for (number, (key, reply)) in keys.iter().zip(&replies).enumerate() {
        assert_eq!((&*reply.value, reply.flags), (key.as_bytes(), number as u32), "{key}");
    }
    let mixed = [
        Request::add("key:1", "again"),
        Request::quit(),
        Request::get(""),
        Request::stat("items"),
        Request::delete("absent"),
    ];
    let statuses: Vec<_> = client.call_many(mixed).await.into_iter().map(|reply| reply.status).collect();
    let invalid = Status::InvalidArguments;
    assert_eq!(statuses, [Status::KeyExists, invalid, Status::InvalidKey, invalid, Status::KeyNotFound]);
    // A server handle sends keys to its server, whatever the distribution.
    for server in client.servers() {
        let found = server.call_many(keys.iter().map(|key| Request::get(format!("shop:{key}")))).await;
        let expected = keys.iter().filter(|key| client.locate(key).unwrap().unwrap().name() == server.name()).count();
        assert_eq!(found.iter().filter(|reply| reply.is_ok()).count(), expected);
        assert!(expected > 500, "{expected}");
    }
}

#[tokio::test]
async fn call_many_fails_over_as_configured() {
    use remcache::Request;
    use remcache::policy::Failover;
    let mut servers = [Memcached::start(&[]), Memcached::start(&[])];
    let config = patient_config().failover(Failover::next());
    let client = Client::with_config(servers.iter().map(Memcached::addr), config).unwrap();
    let keys: Vec<String> = (0..200).map(|number| format!("key:{number}")).collect();
    servers[1].kill();
    for key in &keys {
        // These calls let the client detect that the server is down.
        let _ = client.set(key, "x").await;
    }
    let stored = client.call_many(keys.iter().map(|key| Request::set(key, key))).await;
    assert!(stored.iter().all(|reply| reply.is_ok()), "{stored:?}");
    let error = remcache::Error::from(&client.servers()[1].call_many([Request::get("k")]).await[0]);
    assert!(error.is_disconnected(), "{error}");
}
