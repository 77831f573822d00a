//! Operations on a server: flush, version, no-op, statistics.

use super::*;

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
