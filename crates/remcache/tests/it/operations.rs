//! Every operation on one key or one server, against a real memcached.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod requests;
mod servers;

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

fn assert_ttl(server: &Memcached, key: &str, expected: u64) {
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
        assert_ttl(&server, key, ttl);
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
    assert_ttl(&server, "k", 600);

    let item = client.get_and_touch("k", seconds(1200)).await.unwrap().unwrap();
    assert_eq!((&item.value[..], item.flags), (&b"v"[..], 3));
    assert_ttl(&server, "k", 1200);
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
    assert_ttl(&server, "k", 600);
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
