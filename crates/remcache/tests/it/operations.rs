//! Every operation on one key or one server, against a real memcached.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use remcache::config::ProtocolSetting;
use remcache::{Client, ErrorKind, Reply, Request, Status, Ttl, WriteOutcome};
use remcache_testkit::Memcached;
use tokio::sync::mpsc;

use crate::support::{flags_and_ttl, only_server, patient_config, stat, text_query, wait_until};

fn client_of(server: &Memcached) -> Client {
    Client::with_config([server.addr()], patient_config()).unwrap()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

// ---- Items ----

#[tokio::test]
async fn a_value_is_stored_and_fetched() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    assert_eq!(client.get("Hello").await.unwrap(), None);

    let change = client.set("Hello", "World").await.unwrap();
    assert!(change.is_applied());
    let item = client.get("Hello").await.unwrap().unwrap();
    assert_eq!((&item.value[..], item.flags), (&b"World"[..], 0));
    assert_eq!(change.cas(), Some(item.cas));
    assert_eq!(text_query(&server.addr(), "mg Hello v"), "VA 5");
}

#[tokio::test]
async fn a_value_may_be_empty() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("nothing", "").await.unwrap();
    assert_eq!(client.get("nothing").await.unwrap().unwrap().value, "");
}

#[tokio::test]
async fn keys_and_values_can_have_many_types() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let owned = String::from("owned");
    client.set(owned.clone(), owned.clone()).await.unwrap();
    client.set(&owned, &owned).await.unwrap();
    client.set(b"bytes", vec![1_u8, 2]).await.unwrap();
    client.set(&b"slice"[..], bytes::Bytes::from_static(b"shared")).await.unwrap();
    for (key, value) in [("owned", &b"owned"[..]), ("bytes", &[1, 2]), ("slice", b"shared")] {
        assert_eq!(client.get(key).await.unwrap().unwrap().value, value, "{key}");
    }
}

#[tokio::test]
async fn values_of_every_size_round_trip() {
    let server = Memcached::start(&["-m", "256", "-I", "8m"]);
    let client = Client::with_config([server.addr()], patient_config().max_value_size(8 << 20)).unwrap();
    for length in [1, 4095, 4096, 65_536, 1_000_000, 1 << 20, 7_000_000] {
        let value: Vec<u8> = (0..length).map(|at: u32| (at % 251) as u8).collect();
        client.set("large", value.clone()).await.unwrap();
        let got = client.get("large").await.unwrap().unwrap().value;
        assert!(got == value, "{length} bytes");
    }
}

#[tokio::test]
async fn flags_are_stored() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    for flags in [0, 7, 0xdead_beef, u32::MAX] {
        client.set("k", "v").flags(flags).await.unwrap();
        assert_eq!(client.get("k").await.unwrap().unwrap().flags, flags);
        assert!(client.replace("k", "w").flags(flags).await.unwrap().is_applied());
        assert_eq!(flags_and_ttl(&server.addr(), "k"), Some((flags, -1)));
    }
    assert!(client.add("new", "v").flags(9).await.unwrap().is_applied());
    assert_eq!(flags_and_ttl(&server.addr(), "new"), Some((9, -1)));
}

fn assert_lives(server: &Memcached, key: &str, expected: u64) {
    let (_, ttl) = flags_and_ttl(&server.addr(), key).unwrap_or_else(|| panic!("{key} is gone"));
    let expected = i64::try_from(expected).unwrap();
    assert!((expected - 60..=expected + 1).contains(&ttl), "{key} has a TTL of {ttl} s, not {expected} s");
}

#[tokio::test]
async fn a_ttl_is_sent_to_the_server() {
    const DAY: u64 = 86_400;
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let now = SystemTime::now();
    client.set("set", "v").ttl(seconds(600)).await.unwrap();
    assert!(client.add("add", "v").ttl(seconds(700)).await.unwrap().is_applied());
    assert!(client.replace("set", "v").ttl(seconds(800)).await.unwrap().is_applied());
    client.set("until", "v").ttl(now + seconds(900)).await.unwrap();
    client.set("month", "v").ttl(seconds(30 * DAY)).await.unwrap();
    client.set("longer", "v").ttl(seconds(40 * DAY)).await.unwrap();
    client.increment("counter", 1).initial(5).ttl(seconds(650)).await.unwrap();
    for (key, ttl) in
        [("set", 800), ("add", 700), ("until", 900), ("month", 30 * DAY), ("longer", 40 * DAY), ("counter", 650)]
    {
        assert_lives(&server, key, ttl);
    }
    client.set("set", "v").await.unwrap();
    assert_eq!(flags_and_ttl(&server.addr(), "set"), Some((0, -1)));
}

#[tokio::test]
async fn an_item_expires() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("k", "v").ttl(seconds(2)).await.unwrap();
    client.set("other", "v").ttl(seconds(600)).await.unwrap();
    wait_until("the item expires", async || client.get("k").await.unwrap().is_none()).await;
    assert!(client.add("k", "new").await.unwrap().is_applied());
    assert!(client.get("other").await.unwrap().is_some());
}

#[tokio::test]
async fn an_item_stored_as_expired_is_absent() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("k", "v").ttl(Ttl::Expired).await.unwrap();
    assert_eq!(client.get("k").await.unwrap(), None);
    client.set("k", "v").ttl(SystemTime::now() - seconds(3600)).await.unwrap();
    assert_eq!(client.get("k").await.unwrap(), None);
}

#[tokio::test]
async fn touch_sets_a_new_ttl() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    assert_eq!(client.touch("k", seconds(600)).await.unwrap(), WriteOutcome::NotFound);
    client.set("k", "v").flags(3).await.unwrap();
    assert!(client.touch("k", seconds(600)).await.unwrap().is_applied());
    assert_lives(&server, "k", 600);

    let item = client.get_and_touch("k", seconds(1200)).await.unwrap().unwrap();
    assert_eq!((&item.value[..], item.flags), (&b"v"[..], 3));
    assert_lives(&server, "k", 1200);
    assert!(client.touch("k", Ttl::Never).await.unwrap().is_applied());
    assert_eq!(flags_and_ttl(&server.addr(), "k"), Some((3, -1)));
    assert_eq!(client.get_and_touch("absent", seconds(600)).await.unwrap(), None);

    let last = client.get_and_touch("k", Ttl::Expired).await.unwrap().unwrap();
    assert_eq!(last.value, "v");
    assert_eq!(client.get("k").await.unwrap(), None);
}

// ---- Conditions ----

#[tokio::test]
async fn add_and_replace_depend_on_the_existing_item() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    assert_eq!(client.replace("k", "v").await.unwrap(), WriteOutcome::NotFound);
    assert!(client.add("k", "first").await.unwrap().is_applied());
    assert_eq!(client.add("k", "second").await.unwrap(), WriteOutcome::Exists);
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "first");
    assert!(client.replace("k", "third").await.unwrap().is_applied());
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "third");
}

#[tokio::test]
async fn append_and_prepend_extend_a_value() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    assert_eq!(client.append("k", "x").await.unwrap(), WriteOutcome::NotStored);
    assert_eq!(client.prepend("k", "x").await.unwrap(), WriteOutcome::NotStored);
    client.set("k", "-").flags(7).ttl(seconds(600)).await.unwrap();
    assert!(client.append("k", ">").await.unwrap().is_applied());
    assert!(client.prepend("k", "<").await.unwrap().is_applied());
    let item = client.get("k").await.unwrap().unwrap();
    assert_eq!((&item.value[..], item.flags), (&b"<->"[..], 7));
    assert_lives(&server, "k", 600);
}

#[tokio::test]
async fn every_change_can_be_conditional_on_a_cas_value() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    for operation in ["set", "replace", "append", "prepend", "delete"] {
        let change = async |cas: u64| match operation {
            "set" => client.set("k", "new").cas(cas).await,
            "replace" => client.replace("k", "new").cas(cas).await,
            "append" => client.append("k", "new").cas(cas).await,
            "prepend" => client.prepend("k", "new").cas(cas).await,
            _ => client.delete("k").cas(cas).await,
        };
        let cas = client.set("k", "old").await.unwrap().cas().unwrap();
        assert_eq!(change(cas + 1).await.unwrap(), WriteOutcome::Exists, "{operation}");
        assert_eq!(client.get("k").await.unwrap().unwrap().value, "old", "{operation}");
        let made = change(cas).await.unwrap();
        assert!(made.is_applied() && made.cas() != Some(cas), "{operation}: {made:?}");
        client.delete("k").await.unwrap();
        let absent = if operation.ends_with("pend") { WriteOutcome::NotStored } else { WriteOutcome::NotFound };
        assert_eq!(change(cas).await.unwrap(), absent, "{operation}");
    }
}

#[tokio::test]
async fn delete_reports_whether_an_item_existed() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("k", "v").await.unwrap();
    assert!(client.delete("k").await.unwrap().is_applied());
    assert_eq!(client.delete("k").await.unwrap(), WriteOutcome::NotFound);
    assert_eq!(client.get("k").await.unwrap(), None);
}

// ---- Operations on a server ----

#[tokio::test]
async fn a_flush_removes_all_items_immediately() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let client = Client::with_config(servers.iter().map(Memcached::addr), patient_config()).unwrap();
    let keys: Vec<String> = (0..100).map(|n| format!("key{n}")).collect();
    let _ = client.set_many(keys.iter().map(|key| (key, "v"))).await;
    assert_eq!(client.get_many(&keys).await.found().count(), 100);

    let here = client.locate("key0").unwrap().unwrap();
    here.flush().await.unwrap();
    let left = client.get_many(&keys).await;
    let of_other = |key: &str| client.locate(key).unwrap().unwrap().name() != here.name();
    assert!(left.found().count() > 0 && left.found().all(|(key, _)| of_other(key)));

    let outcomes = client.flush().await;
    assert!(outcomes.len() == 2 && outcomes.iter().all(|(_, outcome)| outcome.is_ok()));
    assert_eq!(client.get_many(&keys).await.missing().count(), 100);
    assert!(client.set("key0", "after").await.unwrap().is_applied());
    assert!(client.get("key0").await.unwrap().is_some());
}

#[tokio::test]
async fn a_flush_can_be_delayed() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("k", "v").await.unwrap();
    for (_, outcome) in client.flush().after(seconds(600)).await {
        outcome.unwrap();
    }
    assert!(client.get("k").await.unwrap().is_some());
    only_server(&client).flush().after(seconds(2)).await.unwrap();
    wait_until("the flush takes effect", async || client.get("k").await.unwrap().is_none()).await;
}

#[tokio::test]
async fn a_raw_flush_needs_a_single_server() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let client = Client::with_config(servers.iter().map(Memcached::addr), patient_config()).unwrap();
    let reply = client.call(Request::flush()).await;
    assert_eq!(reply.status, Status::InvalidArguments);
    assert!(reply.text().contains("Client::flush"), "{}", reply.text());
    assert_eq!(client.servers()[0].call(Request::flush()).await.status, Status::NoError);
}

#[tokio::test]
async fn every_server_reports_its_version_and_answers_a_noop() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let client = Client::with_config(servers.iter().map(Memcached::addr), patient_config()).unwrap();
    let (major, minor, patch) = Memcached::version();
    for (place, (handle, version)) in client.version().await.into_iter().enumerate() {
        assert_eq!(handle.name(), servers[place].addr());
        assert!(version.unwrap().starts_with(&format!("{major}.{minor}.{patch}")));
    }
    let outcomes = client.noop().await;
    assert!(outcomes.len() == 2 && outcomes.iter().all(|(_, outcome)| outcome.is_ok()));
}

#[tokio::test]
async fn statistics_can_be_requested_by_group() {
    let server = Memcached::start(&["-o", "track_sizes"]);
    let client = client_of(&server);
    let handle = only_server(&client);
    client.set("k", "v").await.unwrap();
    for (group, name) in [
        ("", "curr_items"),
        ("settings", "item_size_max"),
        ("items", "items:1:number"),
        ("slabs", "active_slabs"),
        ("sizes", "64"),
    ] {
        let stats = handle.stats(group).collect().await.unwrap();
        let names: Vec<_> = stats.iter().map(|(name, _)| name.escape_ascii().to_string()).collect();
        assert!(names.iter().any(|known| known == name), "{group}: {names:?}");
        assert!(stats.iter().all(|(name, _)| !name.is_empty()), "the end is not a statistic");
    }
    assert_eq!(stat(&handle, "curr_items").await, 1);
    assert!(handle.stats("reset").collect().await.unwrap().is_empty());
}

/// The server does not count meta commands in these statistics.
#[tokio::test]
async fn statistics_by_prefix_count_binary_and_text_requests() {
    for protocol in [ProtocolSetting::Binary, ProtocolSetting::Text] {
        let server = Memcached::start(&[]);
        let client = Client::with_config([server.addr()], patient_config().protocol(protocol)).unwrap();
        let handle = only_server(&client);
        assert!(handle.stats("detail on").collect().await.unwrap().is_empty());
        client.get("prefix:k").await.unwrap();
        let dump = handle.stats("detail dump").collect().await.unwrap();
        assert!(dump[0].0 == "detailed" && dump[0].1.starts_with(b"PREFIX prefix get 1"), "{protocol}: {dump:?}");
    }
}

#[tokio::test]
async fn an_unknown_group_of_statistics_is_an_error_that_ends_the_stream() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let mut stats = only_server(&client).stats("nonsense");
    let error = stats.next().await.unwrap().unwrap_err();
    assert_eq!(error.server(), Some(&*server.addr()));
    assert!(error.to_string().contains("Not found"), "{error}");
    assert!(stats.next().await.is_none());
    assert!(client.noop().await[0].1.is_ok());
}

#[tokio::test]
async fn concurrent_streams_of_statistics_are_separate() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("k", "v").await.unwrap();
    let handle = only_server(&client);
    let (mut settings, mut general) = (handle.stats("settings"), handle.stats(""));
    let (mut of_settings, mut of_general) = (BTreeMap::new(), BTreeMap::new());
    loop {
        let (one, other) = tokio::join!(settings.next(), general.next());
        if one.is_none() && other.is_none() {
            break;
        }
        of_settings.extend(one.map(Result::unwrap));
        of_general.extend(other.map(Result::unwrap));
        assert!(client.get("k").await.unwrap().is_some(), "a get between two streams");
    }
    assert!(of_settings.contains_key(&b"maxconns"[..]) && !of_settings.contains_key(&b"pid"[..]));
    assert!(of_general.contains_key(&b"pid"[..]) && !of_general.contains_key(&b"maxconns"[..]));
}

// ---- Raw requests ----

#[tokio::test]
async fn a_call_returns_every_server_status_as_data() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("text", "v").await.unwrap();
    client.set("number", "5").await.unwrap();
    let cases = [
        (Request::get("text"), Status::NoError),
        (Request::get("absent"), Status::KeyNotFound),
        (Request::add("text", "w"), Status::KeyExists),
        (Request::replace("absent", "w"), Status::KeyNotFound),
        (Request::set("text", "w").cas(u64::MAX), Status::KeyExists),
        (Request::set("text", vec![0; 1 << 20]), Status::ValueTooLarge),
        (Request::append("absent", "w"), Status::ItemNotStored),
        (Request::set("text", "w"), Status::NoError),
        (Request::increment("text", 1), Status::NonNumericValue),
        (Request::increment("number", 1), Status::NoError),
        (Request::increment("absent", 1), Status::KeyNotFound),
        (Request::touch("absent", seconds(1)), Status::KeyNotFound),
        (Request::delete("absent"), Status::KeyNotFound),
        (Request::get(""), Status::InvalidKey),
        (Request::version(), Status::NoError),
        (Request::noop(), Status::NoError),
        (Request::flush(), Status::NoError),
    ];
    for (request, status) in cases {
        let shown = format!("{request:?}");
        assert_eq!(client.call(request).await.status, status, "{shown}");
    }
}

#[tokio::test]
async fn a_call_returns_every_field_of_the_reply() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let stored = client.call(Request::set("k", "v").flags(7)).await;
    assert!(stored.is_ok() && stored.cas != 0);
    let reply = client.call(Request::get("k").with_key()).await;
    assert_eq!((reply.flags, reply.cas, reply.number), (7, stored.cas, None));
    assert_eq!((&reply.key[..], &reply.value[..]), (&b"k"[..], &b"v"[..]));
    let reply = client.call(Request::get_and_touch("k", seconds(60)).with_key()).await;
    assert_eq!((&reply.key[..], &reply.value[..]), (&b"k"[..], &b"v"[..]));
    assert_eq!(client.call(Request::touch("k", seconds(60))).await.flags, 7);
    let counted = client.call(Request::increment("n", 2).initial(40)).await;
    assert_eq!((counted.number, counted.value.len()), (Some(40), 0));
    assert_eq!(client.call(Request::increment("n", 2)).await.number, Some(42));
    let miss = client.call(Request::get("absent").with_key()).await;
    assert_eq!((miss.status, &miss.key[..]), (Status::KeyNotFound, &b"absent"[..]));
}

/// Single quiet requests on a connection, confirmed by a no-op.
#[tokio::test]
async fn a_quiet_request_has_a_result() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let cases = [
        (Request::get("k"), Status::KeyNotFound),
        (Request::get("k").with_key(), Status::KeyNotFound),
        (Request::set("k", "1"), Status::NoError),
        (Request::get("k"), Status::NoError),
        (Request::get("k").with_key(), Status::NoError),
        (Request::add("k", "1"), Status::KeyExists),
        (Request::add("new", "1"), Status::NoError),
        (Request::replace("k", "2"), Status::NoError),
        (Request::replace("absent", "2"), Status::KeyNotFound),
        (Request::append("k", "3"), Status::NoError),
        (Request::append("absent", "3"), Status::ItemNotStored),
        (Request::prepend("k", "1"), Status::NoError),
        (Request::prepend("absent", "1"), Status::ItemNotStored),
        (Request::increment("k", 1), Status::NoError),
        (Request::increment("absent", 1), Status::KeyNotFound),
        (Request::decrement("k", 1), Status::NoError),
        (Request::set("k", "x").cas(u64::MAX), Status::KeyExists),
        (Request::get_and_touch("k", seconds(60)), Status::NoError),
        (Request::get_and_touch("absent", seconds(60)), Status::KeyNotFound),
        (Request::touch("k", seconds(60)), Status::NoError),
        (Request::delete("new"), Status::NoError),
        (Request::delete("new"), Status::KeyNotFound),
        (Request::flush(), Status::NoError),
        (Request::get("k"), Status::KeyNotFound),
        (Request::version(), Status::NoError),
        (Request::noop(), Status::NoError),
    ];
    for (place, (request, status)) in cases.into_iter().enumerate() {
        let shown = format!("{place}: {request:?}");
        assert_eq!(client.call(request.quiet()).await.status, status, "{shown}");
    }
    assert_eq!(only_server(&client).in_flight(), 0);
}

#[tokio::test]
async fn quiet_and_non_quiet_requests_are_answered_together() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let _ = client.set_many((0..50).map(|n| (format!("k{n}"), format!("v{n}")))).await;
    let calls = (0..100).map(|n| {
        let client = client.clone();
        tokio::spawn(async move {
            let request = Request::get(format!("k{n}"));
            let request = if n % 3 == 0 { request } else { request.quiet() };
            (n, client.call(request).await)
        })
    });
    for call in calls.collect::<Vec<_>>() {
        let (n, reply) = call.await.unwrap();
        match n < 50 {
            true => assert_eq!(reply.text(), format!("v{n}")),
            false => assert_eq!(reply.status, Status::KeyNotFound, "k{n}"),
        }
    }
}

#[tokio::test]
async fn a_callback_receives_one_reply_or_many() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("k", "v").await.unwrap();
    let (sender, mut replies) = mpsc::unbounded_channel();
    client.call_with(Request::get("k"), move |reply| {
        sender.send(reply).unwrap();
        ControlFlow::Continue(())
    });
    assert_eq!(replies.recv().await.unwrap().text(), "v");
    assert!(replies.recv().await.is_none(), "one reply, one call");

    let (sender, mut replies) = mpsc::unbounded_channel();
    client.call_with(Request::stat("settings"), move |reply: Reply| {
        let end = reply.key.is_empty();
        sender.send(reply).unwrap();
        if end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let mut names = 0;
    while let Some(reply) = replies.recv().await {
        assert_eq!(reply.status, Status::NoError);
        names += usize::from(!reply.key.is_empty());
    }
    assert!(names > 50, "{names} settings");

    let (sender, mut replies) = mpsc::unbounded_channel();
    client.call_with(Request::stat(""), move |reply| {
        sender.send(reply).unwrap();
        ControlFlow::Break(())
    });
    assert!(replies.recv().await.is_some());
    assert!(replies.recv().await.is_none(), "no call after Break");
}

#[tokio::test]
async fn a_panicking_callback_affects_no_other_request() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("k", "v").await.unwrap();
    client.call_with(Request::get("k"), |_| panic!("on purpose"));
    assert!(client.get("k").await.unwrap().is_some());
    assert!(client.get("k").await.unwrap().is_some());
    wait_until("nothing is in flight", async || only_server(&client).in_flight() == 0).await;
}

#[tokio::test]
async fn a_cast_is_executed_without_waiting() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    assert!(client.cast(Request::set("k", "v")));
    assert!(client.cast(Request::append("k", "w").quiet()));
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "vw");
    assert!(client.cast(Request::delete("k")));
    assert_eq!(client.get("k").await.unwrap(), None);
    assert!(!client.cast(Request::get("")), "an invalid request is not queued");
    assert_eq!((only_server(&client).in_flight(), only_server(&client).waiting()), (0, 0));
}

#[tokio::test]
async fn replies_can_be_read_as_a_stream() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let mut replies = client.replies(Request::get("absent"));
    assert_eq!(replies.next().await.unwrap().status, Status::KeyNotFound);
    assert!(replies.next().await.is_none());
    assert!(replies.next().await.is_none(), "an ended stream stays ended");

    let mut replies = client.replies(Request::stat("items"));
    let end = replies.next().await.unwrap();
    assert!(end.is_ok() && end.key.is_empty(), "an empty cache has no items: only the end");
    assert!(replies.next().await.is_none());
}

#[tokio::test]
async fn requests_that_would_harm_other_callers_are_refused() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let before = stat(&only_server(&client), "total_connections").await;
    for (request, hint) in [
        (Request::quit(), "Client::close"),
        (Request::sasl_list(), "shared"),
        (Request::sasl_auth("PLAIN", "\0user\0password"), "shared"),
        (Request::sasl_step("PLAIN", ""), "shared"),
    ] {
        let reply = client.call(request.clone()).await;
        assert_eq!(reply.status, Status::InvalidArguments);
        assert!(reply.text().contains(hint), "{}", reply.text());
        assert!(!client.cast(request.clone()));
        let mut replies = client.replies(request);
        assert_eq!(replies.next().await.unwrap().status, Status::InvalidArguments);
        assert!(replies.next().await.is_none());
    }
    assert_eq!(stat(&only_server(&client), "total_connections").await, before);
}

#[tokio::test]
async fn a_namespace_is_prepended_to_every_key() {
    let server = Memcached::start(&[]);
    let shop = Client::with_config([server.addr()], patient_config().namespace("shop:")).unwrap();
    let plain = client_of(&server);
    shop.set("a", "1").await.unwrap();
    let _ = shop.set_many([("b", "2")]).await;
    assert!(shop.cast(Request::set("c", "3")));
    assert!(shop.call(Request::set("d", "4")).await.is_ok());
    for (key, value) in [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")] {
        assert_eq!(shop.get(key).await.unwrap().unwrap().value, value);
        assert_eq!(plain.get(key).await.unwrap(), None);
        assert_eq!(plain.get(format!("shop:{key}")).await.unwrap().unwrap().value, value);
    }
    let many = shop.get_many(["a", "b", "absent"]).await;
    assert_eq!(many.found().map(|(key, _)| *key).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(shop.replies(Request::get("a")).next().await.unwrap().text(), "1");
    assert!(stat(&only_server(&shop), "curr_items").await == 4, "statistics have no namespace");

    let longest = "k".repeat(245);
    assert!(shop.set(&longest, "v").await.is_ok());
    let error = shop.get("k".repeat(246)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
}

#[tokio::test]
async fn an_error_names_the_server_and_prints_no_value() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("text", "secret-value").await.unwrap();
    let error = client.increment("text", 1).await.unwrap_err();
    assert_eq!((error.kind(), error.server()), (ErrorKind::NonNumericValue, Some(&*server.addr())));
    assert!(error.to_string().starts_with(&server.addr()), "{error}");
    let shown = format!("{error:?} {client:?} {:?}", Request::set("k", "secret-value"));
    assert!(!shown.contains("secret-value"), "{shown}");
}
