//! The many-forms: one outcome for each key, whatever becomes of its server, in any number.

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

fn changes<'k>(many: &remcache::Outcomes<&'k str, WriteOutcome>) -> Vec<(&'k str, &'static str)> {
    let name = |change: &WriteOutcome| match change {
        WriteOutcome::Applied(_) => "made",
        WriteOutcome::NotFound => "not found",
        WriteOutcome::Exists => "exists",
        WriteOutcome::NotStored => "not stored",
        _ => "another",
    };
    many.iter().map(|(key, change)| (*key, name(change.unwrap()))).collect()
}

#[tokio::test]
async fn items_are_stored_and_fetched() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let stored = client.set_many([("foo", "1"), ("bar", "2")]).flags(7).ttl(Duration::from_secs(600)).await;
    assert_eq!(changes(&stored), [("foo", "made"), ("bar", "made")]);
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
async fn every_change_has_its_outcome() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("there", "-").await.unwrap();
    let pairs = [("there", "x"), ("absent", "x"), ("other", "x")];
    let made_where_there = |kind| [("there", "made"), ("absent", kind), ("other", kind)];
    assert_eq!(changes(&client.replace_many(pairs).await), made_where_there("not found"));
    assert_eq!(
        changes(&client.append_many([("there", ">"), ("absent", ">"), ("other", ">")]).await),
        made_where_there("not stored")
    );
    assert_eq!(
        changes(&client.prepend_many([("there", "<"), ("absent", "<"), ("other", "<")]).await),
        made_where_there("not stored")
    );
    assert_eq!(client.get("there").await.unwrap().unwrap().value, "<x>");
    let ttl = Duration::from_secs(600);
    assert_eq!(changes(&client.touch_many(["there", "absent", "other"], ttl).await), made_where_there("not found"));
    assert!((540..=600).contains(&flags_and_ttl(&server.addr(), "there").unwrap().1));
    let touched = client.get_and_touch_many(["absent", "there"], Ttl::Never).await;
    assert_eq!(touched.found().map(|(key, _)| *key).collect::<Vec<_>>(), ["there"]);
    assert_eq!(flags_and_ttl(&server.addr(), "there").unwrap().1, -1);
    let added = client.add_many(pairs).ttl(ttl).await;
    assert_eq!(changes(&added), [("there", "exists"), ("absent", "made"), ("other", "made")]);
    assert_eq!(added.refused().collect::<Vec<_>>(), [(&"there", WriteOutcome::Exists)]);
    let deleted = client.delete_many(["nothing", "there", "absent", "nobody"]).await;
    let expected = [("nothing", "not found"), ("there", "made"), ("absent", "made"), ("unknown", "not found")];
    assert_eq!(changes(&deleted), expected);
}

#[tokio::test]
async fn no_key_at_all_is_answered_without_a_server() {
    let client = Client::new([format!("127.0.0.1:{}", unused_port())]).unwrap();
    let none = client.get_many([""; 0]).await;
    assert!(none.is_empty() && none.is_complete());
    assert_eq!(client.set_many([("", ""); 0]).await.len(), 0);
    assert_eq!(client.increment_many([("", 0); 0]).await.len(), 0);
}

#[tokio::test]
async fn outcomes_keep_the_order_of_the_keys_over_all_servers() {
    let servers = [Memcached::start(&[]), Memcached::start(&[]), Memcached::start(&[])];
    let client = client_of_all(&servers);
    let keys: Vec<String> = (0..5000).map(|n| format!("key{n}")).collect();
    let stored = client.set_many(keys.iter().map(|key| (key.as_str(), key.as_bytes()))).await;
    assert_eq!(stored.made().count(), 5000);
    let fetched = client.get_many(&keys).await;
    for (place, (key, item)) in fetched.into_iter().enumerate() {
        assert_eq!(*key, keys[place]);
        assert_eq!(item.unwrap().unwrap().value, keys[place]);
    }
    let used: HashSet<_> = keys.iter().map(|key| client.locate(key).unwrap().unwrap().name().to_owned()).collect();
    assert_eq!(used.len(), 3);
    for server in client.servers() {
        assert!(stat(&server, "curr_items").await > 500);
    }
}

#[tokio::test]
async fn a_key_may_be_given_more_than_once() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("k", "v").await.unwrap();
    let fetched = client.get_many(["k", "absent", "k", "k"]).await;
    assert_eq!((fetched.found().count(), fetched.missing().count()), (3, 1));
    let stored = client.set_many([("k", "1"), ("k", "2"), ("k", "3")]).await;
    assert_eq!(stored.made().count(), 3);
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "3", "in the order in which they were given");
}

#[tokio::test]
async fn a_key_that_is_none_spoils_only_itself() {
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let client = Client::with_config([proxy.addr()], patient_config()).unwrap();
    let long = "k".repeat(251);
    let longest = "k".repeat(250);
    let keys = ["a", "", "b", &long, &longest, "c"];
    let stored = client.set_many(keys.map(|key| (key, "v"))).await;
    assert_eq!(stored.made().collect::<Vec<_>>(), [&"a", &"b", &longest.as_str(), &"c"]);
    let failed: Vec<_> = stored.failed().map(|(key, error)| (key.len(), error.kind())).collect();
    assert_eq!(failed, [(0, ErrorKind::InvalidKey), (251, ErrorKind::InvalidKey)]);
    let last_is_none = client.get_many(["a", ""]).await;
    assert_eq!((last_is_none.found().count(), last_is_none.failed().count()), (1, 1));
    let all_are_none = client.get_many(["", &long]).await;
    assert_eq!(all_are_none.failed().count(), 2);
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn a_value_above_the_limit_spoils_only_itself() {
    let server = Memcached::start(&[]);
    let client = Client::with_config([server.addr()], patient_config().max_value_size(1000)).unwrap();
    let items: Vec<(String, Vec<u8>)> = (0..20).map(|n| (format!("k{n}"), vec![1; 991 + n])).collect();
    let stored = client.set_many(items).await;
    assert_eq!(stored.made().count(), 10);
    assert!(stored.failed().all(|(_, error)| error.kind() == ErrorKind::ValueTooLarge));
    assert_eq!(stat(&only_server(&client), "curr_items").await, 10);
}

#[tokio::test]
async fn a_dead_server_spoils_only_its_own_keys() {
    let alive = [Memcached::start(&[]), Memcached::start(&[])];
    let dead = format!("127.0.0.1:{}", unused_port());
    let addresses = [alive[0].addr(), dead.clone(), alive[1].addr()];
    let client = Client::with_config(&addresses, patient_config()).unwrap();
    let keys: Vec<String> = (0..3000).map(|n| format!("key{n}")).collect();
    let is_dead = |key: &str| client.locate(key).unwrap().unwrap().name() == dead;
    let doomed = keys.iter().filter(|key| is_dead(key)).count();
    assert!((300..2000).contains(&doomed), "{doomed}");
    for round in 0..3 {
        let stored = client.set_many(keys.iter().map(|key| (key.as_str(), "v"))).await;
        assert_eq!(stored.made().count(), 3000 - doomed, "round {round}");
        let fetched = client.get_many(&keys).await;
        assert_eq!((fetched.found().count(), fetched.missing().count()), (3000 - doomed, 0), "round {round}");
        for (key, error) in fetched.failed() {
            assert!(is_dead(key) && error.is_disconnected() && !error.may_have_executed(), "{key}: {error}");
            assert_eq!(error.server(), Some(&*dead));
        }
        assert!(!fetched.is_complete());
    }
}

/// What succeeds is silent on the binary protocol: a run of changes is answered by its last.
#[tokio::test]
async fn many_changes_cost_the_server_few_replies() {
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let client = Client::with_config([proxy.addr()], patient_config().protocol(ProtocolSetting::Binary)).unwrap();
    client.noop().await[0].1.as_ref().unwrap();
    let before = proxy.passed(remcache_testkit::Direction::Replies);
    let stored = client.set_many((0..1000).map(|n| (format!("key{n}"), "v"))).await;
    assert_eq!(stored.made().count(), 1000);
    let deleted = client.delete_many((0..1000).map(|n| format!("key{n}"))).await;
    assert_eq!(deleted.made().count(), 1000);
    let bytes = proxy.passed(remcache_testkit::Direction::Replies) - before;
    assert!(bytes < 1000, "2,000 requests were answered with {bytes} bytes");
}

#[tokio::test]
async fn a_call_takes_as_long_as_replies_keep_coming() {
    let server = Memcached::start(&["-m", "256"]);
    let proxy = Proxy::start(server.addr()).await;
    let config = patient_config().timeout(Duration::from_secs(2));
    let client = Client::with_config([proxy.addr()], config).unwrap();
    let items = (0..100).map(|n| (format!("key{n}"), vec![n; 10_000]));
    client.set_many(items).timeout(Duration::from_secs(60)).await;
    // A megabyte that comes in some five seconds.
    proxy.change(|rules| rules.replies.bytes_per_second = Some(200_000));
    let fetched = client.get_many((0..100).map(|n| format!("key{n}"))).await;
    assert_eq!(fetched.found().count(), 100, "{:?}", fetched.failed().next());
}

#[tokio::test]
async fn a_call_ends_when_replies_stop() {
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let client = Client::with_config([proxy.addr()], patient_config()).unwrap();
    client.set("k", "v").await.unwrap();
    proxy.change(|rules| rules.replies.black_hole = true);
    let keys: Vec<String> = (0..50_000).map(|n| format!("key{n}")).collect();
    let fetched = client.get_many(&keys).timeout(Duration::from_millis(300)).await;
    assert_eq!(fetched.failed().count(), 50_000, "never a miss without a reply");
    assert!(fetched.failed().all(|(_, error)| error.is_unavailable()));
}

#[tokio::test]
async fn many_calls_at_once_get_what_is_theirs() {
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
async fn requests_of_any_kind_go_as_they_are() {
    use remcache::{Request, Status};
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let config = patient_config().namespace("shop:");
    let client = Client::with_config(servers.iter().map(Memcached::addr), config).unwrap();
    assert_eq!(client.namespace(), b"shop:");
    let keys: Vec<String> = (0..3000).map(|number| format!("key:{number}")).collect();
    let days = |number: usize| Duration::from_secs(86_400 * (1 + number as u64 % 60));
    let requests = keys.iter().enumerate().map(|(number, key)| {
        let request = Request::set(key, key).flags(number as u32);
        // More than 30 days are said to the server as an instant.
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
    let refused = Status::InvalidArguments;
    assert_eq!(statuses, [Status::KeyExists, refused, refused, refused, Status::KeyNotFound]);
    // One server is asked for keys as they are, wherever the ring would place them.
    for server in client.servers() {
        let found = server.call_many(keys.iter().map(|key| Request::get(format!("shop:{key}")))).await;
        let here = keys.iter().filter(|key| client.locate(key).unwrap().unwrap().name() == server.name()).count();
        assert_eq!(found.iter().filter(|reply| reply.is_ok()).count(), here);
        assert!(here > 500, "{here}");
    }
}

#[tokio::test]
async fn requests_as_they_are_go_on_at_other_servers_as_the_settings_say() {
    use remcache::Request;
    use remcache::policy::Failover;
    let mut servers = [Memcached::start(&[]), Memcached::start(&[])];
    let config = patient_config().failover(Failover::next());
    let client = Client::with_config(servers.iter().map(Memcached::addr), config).unwrap();
    let keys: Vec<String> = (0..200).map(|number| format!("key:{number}")).collect();
    servers[1].kill();
    for key in &keys {
        // Until the client has learned that the server is down.
        let _ = client.set(key, "x").await;
    }
    let stored = client.call_many(keys.iter().map(|key| Request::set(key, key))).await;
    assert!(stored.iter().all(|reply| reply.is_ok()), "{stored:?}");
    let error = remcache::Error::from(&client.servers()[1].call_many([Request::get("k")]).await[0]);
    assert!(error.is_disconnected(), "{error}");
}
