//! Deletes that fail are repeated before a new connection to their server is used.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use remcache::config::ProtocolSetting;
use remcache::health::ConnectionState;
use remcache::{Client, Config, Delivery, ErrorKind, Request, Status};
use remcache_testkit::Memcached;
use tokio::runtime::Builder;

use crate::support::wait_until;

const GENEROUS: Duration = Duration::from_secs(60);
const KEYS: usize = 10_000;

fn config(protocol: ProtocolSetting, journal: usize) -> Config {
    Config::new()
        .protocol(protocol)
        .timeout(Duration::from_millis(300))
        .reconnect_delay(Duration::from_millis(10), Duration::from_millis(100))
        .delete_journal(journal)
}

fn client_of(server: &Memcached, protocol: ProtocolSetting, journal: usize) -> Client {
    Client::with_config([server.addr()], config(protocol, journal)).unwrap()
}

fn client_with_file(server: &str, journal: &Path) -> Client {
    Client::with_config([server], config(ProtocolSetting::Meta, 100).delete_journal_file(journal)).unwrap()
}

async fn wait_until_connected(client: &Client) {
    let server = &client.servers()[0];
    wait_until("the client is connected", async || server.status().state == ConnectionState::Connected).await;
}

/// A stopped server keeps its items, and 10,000 deletes fail in the meantime.
#[tokio::test]
async fn no_value_that_was_deleted_during_an_outage_is_read_after_it() {
    for protocol in [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text] {
        let server = Memcached::start(&[]);
        let client = client_of(&server, protocol, KEYS);
        let keys: Vec<String> = (0..KEYS).map(|number| format!("key-{number}")).collect();
        let stored = client.set_many(keys.iter().map(|key| (key, "old"))).timeout(GENEROUS).await;
        assert!(stored.is_complete(), "{protocol:?}");

        server.stop();
        let (many, single) = keys.split_at(KEYS / 2);
        assert_eq!(client.delete_many(many).await.failed().count(), many.len());
        // The first ones may time out; then the server is known to be down.
        for key in single {
            client.delete(key).await.unwrap_err();
        }
        let handle = &client.servers()[0];
        assert!(handle.status().state.is_down(), "{protocol:?}");
        assert_eq!((handle.pending_deletes(), handle.dropped_deletes()), (KEYS, 0), "{protocol:?}");

        server.cont();
        wait_until_connected(&client).await;
        let outcomes = client.get_many(&keys).timeout(GENEROUS).await;
        assert_eq!(outcomes.found().count(), 0, "{protocol:?}: stale values");
        assert!(outcomes.is_complete(), "{protocol:?}");
        assert_eq!((handle.pending_deletes(), handle.dropped_deletes()), (0, 0), "{protocol:?}");
    }
}

#[tokio::test]
async fn without_a_journal_deleted_values_are_read() {
    let server = Memcached::start(&[]);
    let client = client_of(&server, ProtocolSetting::Meta, 0);
    client.set("k", "old").timeout(GENEROUS).await.unwrap();
    server.stop();
    let handle = &client.servers()[0];
    wait_until("the server is down", async || {
        let _ = client.get("other").await;
        handle.status().state.is_down()
    })
    .await;
    client.delete("k").await.unwrap_err();
    assert_eq!(handle.pending_deletes(), 0);
    server.cont();
    wait_until_connected(&client).await;
    assert!(client.get("k").timeout(GENEROUS).await.unwrap().is_some());
}

/// The caller's own timeout drops the call.
#[tokio::test]
async fn a_delete_that_is_dropped_is_repeated() {
    let server = Memcached::start(&[]);
    let client = client_of(&server, ProtocolSetting::Meta, 10);
    client.set("k", "old").timeout(GENEROUS).await.unwrap();
    server.stop();
    let dropped = tokio::time::timeout(Duration::from_millis(10), client.delete("k")).await;
    assert!(dropped.is_err());
    assert_eq!(client.servers()[0].pending_deletes(), 1);
    server.cont();
    assert_eq!(client.get("k").timeout(GENEROUS).await.unwrap(), None);
}

/// A delete that timed out before it was sent, on a connection that stays open, is sent before any later request.
#[test]
fn a_delete_that_timed_out_unsent_comes_before_later_reads() {
    let server = Memcached::start(&[]);
    let client = client_of(&server, ProtocolSetting::Meta, 10);
    let owner = Builder::new_current_thread().enable_all().build().unwrap();
    owner.block_on(async { client.set("k", "old").timeout(GENEROUS).await.unwrap() });
    // The runtime of the connection is not polled.
    let status = thread::spawn({
        let client = client.clone();
        move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(client.call(Request::delete("k"))).status
        }
    });
    assert_eq!(status.join().unwrap(), Status::TimedOut(Delivery::NotSent));
    assert_eq!(owner.block_on(async { client.get("k").timeout(GENEROUS).await.unwrap() }), None);
}

#[tokio::test]
async fn deletes_beyond_the_capacity_are_counted() {
    let mut server = Memcached::start(&[]);
    let client = client_of(&server, ProtocolSetting::Meta, 3);
    client.set("k", "old").timeout(GENEROUS).await.unwrap();
    server.kill();
    let handle = &client.servers()[0];
    wait_until("the server is down", async || {
        let _ = client.get("k").await;
        handle.status().state.is_down()
    })
    .await;
    for key in ["a", "b", "c", "d", "e"] {
        client.delete(key).await.unwrap_err();
    }
    assert_eq!((handle.pending_deletes(), handle.dropped_deletes()), (3, 2));
}

/// Environment variables of a child process.
const SERVER: &str = "REMCACHE_JOURNAL_SERVER";
const JOURNAL: &str = "REMCACHE_JOURNAL_FILE";

/// Fails to delete, and waits to be killed, in a process that another test starts; run as a test by itself, it does
/// nothing.
#[test]
fn child_process() {
    let (Ok(server), Some(journal)) = (std::env::var(SERVER), std::env::var_os(JOURNAL)) else { return };
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = client_with_file(&server, Path::new(&journal));
        client.delete("single").await.unwrap_err();
        assert_eq!(client.delete_many(["one", "other"]).await.failed().count(), 2);
        println!("\nfailed");
        std::future::pending::<()>().await;
    });
}

#[tokio::test]
async fn a_process_that_was_killed_leaves_its_deletes_to_the_next_one() {
    const DELETED: [&str; 3] = ["single", "one", "other"];
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("deletes");
    let server = Memcached::start(&[]);
    let writer = client_of(&server, ProtocolSetting::Meta, 0);
    for key in DELETED.into_iter().chain(["kept"]) {
        writer.set(key, "old").timeout(GENEROUS).await.unwrap();
    }
    server.stop();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "journal::child_process", "--nocapture"])
        .env(SERVER, server.addr())
        .env(JOURNAL, &journal)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "failed"), "the process ended");
    child.kill().unwrap();
    child.wait().unwrap();

    let client = client_with_file(&server.addr(), &journal);
    assert_eq!(client.servers()[0].pending_deletes(), DELETED.len());
    server.cont();
    wait_until("the server answers", async || client.get("kept").await.is_ok_and(|item| item.is_some())).await;
    for key in DELETED {
        assert_eq!(client.get(key).timeout(GENEROUS).await.unwrap(), None, "{key}");
    }
    assert_eq!(client.servers()[0].pending_deletes(), 0);
    client.close().await;
    drop(client);
    let next = client_with_file(&server.addr(), &journal);
    assert_eq!(next.servers()[0].pending_deletes(), 0, "they are not repeated again");
}

#[tokio::test]
async fn an_invalid_file_is_refused_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("deletes");
    std::fs::write(&journal, "something else").unwrap();
    let config = || config(ProtocolSetting::Meta, 100).delete_journal_file(&journal);
    let error = Client::with_config(["localhost"], config()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("another kind of file"), "{error}");
    assert_eq!(std::fs::read_to_string(&journal).unwrap(), "something else");
    std::fs::remove_file(&journal).unwrap();
    let client = Client::with_config(["localhost"], config()).unwrap();
    let error = Client::with_config(["localhost"], config()).unwrap_err();
    assert!(error.to_string().contains("another client"), "{error}");
    drop(client);
    assert!(Client::with_config(["localhost"], config()).is_ok(), "the file is free again");
}
