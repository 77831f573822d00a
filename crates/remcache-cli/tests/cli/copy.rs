//! `copy`: from one cluster to another, while other clients write.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use remcache::config::ProtocolSetting;
use remcache::{Client, Config, Ttl};
use remcache_testkit::{Memcached, scratch, seed};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::tool::{Run, Tool, remcache};

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

/// Servers, and the URL for them.
struct Fleet {
    servers: Vec<Memcached>,
    url: String,
}

impl Fleet {
    fn start(count: usize, options: &str) -> Self {
        let servers: Vec<_> = (0..count).map(|_| Memcached::start(&[])).collect();
        let hosts: Vec<_> = servers.iter().map(Memcached::addr).collect();
        Self { url: format!("memcached://{}/{options}", hosts.join(",")), servers }
    }

    fn client(&self) -> Client {
        // Patient, because the machine may be busy.
        let config = Config::new().protocol(ProtocolSetting::Meta).timeout(Duration::from_secs(20));
        Client::with_config([&self.url], config).expect("addresses")
    }

    fn count(&self) -> usize {
        let run = remcache(["keys", "--count"]).servers(&self.url).run().exits(0);
        run.text().trim().parse().expect("a number")
    }
}

fn copy(from: &Fleet, to: &Fleet) -> Tool {
    remcache(["copy", "--timeout", "20s", "--from", &from.url, "--to", &to.url])
}

fn assert_reports(run: &Run, what: &str) {
    assert!(run.stderr.contains(what), "{what:?} in {run:?}");
}

#[test]
fn all_items_are_copied_between_different_placements() {
    let from = Fleet::start(2, "?distribution=twemproxy-modula");
    let to = Fleet::start(3, "new:?distribution=rendezvous");
    let (old, new) = (from.client(), to.client());
    let keys: Vec<Vec<u8>> =
        (0..3000_u32).map(|number| [&b"k\xff "[..], number.to_string().as_bytes()].concat()).collect();
    wait(async {
        let hour = Duration::from_secs(3600);
        for (number, key) in keys.iter().enumerate() {
            let set = old.set(key, vec![0x80; number]).flags(number as u32);
            let set = if number % 2 == 0 { set.ttl(hour) } else { set };
            assert!(set.await.unwrap().is_applied());
        }
    });
    let run = copy(&from, &to).run().exits(0);
    assert_reports(&run, "3,000 copied");
    assert!(run.stdout.is_empty(), "{run:?}");
    wait(async {
        for (number, key) in keys.iter().enumerate() {
            let item = new.get(key).await.unwrap().expect("it was copied");
            assert!(item.flags == number as u32 && item.value == vec![0x80; number]);
            let ttl = new.inspect(key).await.unwrap().and_then(|inspection| inspection.ttl);
            match ttl {
                Some(Ttl::Never) => assert_eq!(number % 2, 1),
                Some(Ttl::After(left)) => assert!(number % 2 == 0 && left > Duration::from_secs(3000), "{left:?}"),
                other => panic!("{other:?}"),
            }
        }
    });
    // A second copy finds identical items.
    assert_reports(&copy(&from, &to).run().exits(0), "0 copied  skipped: identical 3,000");
}

#[test]
fn existing_items_of_the_destination_are_kept() {
    let (from, to) = (Fleet::start(1, ""), Fleet::start(1, ""));
    let large = "x".repeat(900_000);
    wait(async {
        for key in ["a", "b"] {
            from.client().set(key, "old").await.unwrap();
        }
        from.client().set("large", &large).await.unwrap();
        to.client().set("a", "new").await.unwrap();
    });
    let record = copy(&from, &to).arg("-f").arg("json").run().exits(0).json();
    assert_eq!((&record["items"], &record["kept"], &record["failed"]), (&json!(2), &json!(1), &json!(0)));
    let value = wait(async { to.client().get("a").await.unwrap().unwrap().value });
    assert_eq!(value, "new");
}

#[test]
fn an_item_above_the_limit_keeps_the_destination_unchanged() {
    let large = Memcached::start(&["-I", "4m"]);
    let from = Fleet { url: format!("memcached://{}/?max_value_size=4194304", large.addr()), servers: vec![large] };
    let to = Fleet::start(1, "");
    wait(async {
        from.client().set("huge", "x".repeat(2 << 20)).await.unwrap();
        from.client().set("k", "v").await.unwrap();
        to.client().set("huge", "precious").await.unwrap();
    });
    let directory = scratch();
    let list = directory.path().join("failed.ndjson");
    let run = copy(&from, &to).arg("--failed").arg(&list).run().exits(1);
    assert_reports(&run, "1 copied  skipped: too large 1");
    let listed: Value = serde_json::from_str(std::fs::read_to_string(&list).unwrap().trim()).unwrap();
    assert_eq!(listed, json!({"key": "huge", "reason": "too_large", "server": from.servers[0].addr()}));
    assert_eq!(wait(async { to.client().get("huge").await.unwrap().unwrap().value }), "precious");
}

#[test]
fn items_marked_as_stale_are_not_copied() {
    use remcache::proto::{MetaOptions, Request};
    let (from, to) = (Fleet::start(1, ""), Fleet::start(1, ""));
    wait(async {
        let client = from.client();
        client.set("stale", "x").await.unwrap();
        let mark = MetaOptions::new().stale();
        assert!(client.call(Request::delete("stale").meta(mark)).await.is_ok());
        // A placeholder that a client will fill.
        let lease = MetaOptions::new().vivify(Duration::from_secs(60));
        client.call(Request::get("lease").meta(lease)).await;
        client.set("fresh", "x").await.unwrap();
    });
    assert_reports(&copy(&from, &to).run().exits(0), "1 copied  skipped: marked stale 2");
    assert_eq!(to.count(), 1);
}

#[test]
fn invalid_sources_and_destinations_are_named() {
    let from = Fleet::start(1, "");
    remcache(["copy", "--from", &from.url]).run().exits(2).reports_error("--to");
    remcache(["copy", "--from", "http://a", "--to", &from.url]).run().exits(2).reports_error("scheme");
    let run = remcache(["copy", "--from", "127.0.0.1:1", "--to", &from.url]).run().exits(4);
    assert_reports(&run, "127.0.0.1:1");
    wait(async { from.client().set("k", "v").await.unwrap() });
    let run = remcache(["copy", "--from", &from.url, "--to", "127.0.0.1:1"]).run().exits(4);
    assert_reports(&run, "nothing was stored, because not all servers answer: 127.0.0.1:1: ");
    let secret = "memcached://bob:secret@127.0.0.1:1";
    let run = remcache(["copy", "--from", secret, "--to", &from.url]).run();
    assert!(run.stderr.contains("REMCACHE_FROM") && !run.stderr.contains("secret"), "{run:?}");
    let run = remcache(["copy", "--to", &from.url]).env("REMCACHE_FROM", secret).run();
    assert!(!run.stderr.contains("can see a password") && !run.stderr.contains("secret"), "{run:?}");
}

/// The last write of each key: a number, or `None` for a delete.
type History = Arc<Mutex<HashMap<usize, Option<u64>>>>;

const KEYS: usize = 3000;

fn key(number: usize) -> String {
    format!("key:{number}")
}

/// Writes and deletes random keys until it is stopped, each key by one writer: in both clusters, as a program does
/// during a migration, with deletes in the old one first.
fn write(
    from: &Fleet,
    to: &Fleet,
    writer: usize,
    history: &History,
    stop: &Arc<AtomicBool>,
) -> thread::JoinHandle<u64> {
    let (old, new) = (from.client(), to.client());
    let (history, stop) = (Arc::clone(history), Arc::clone(stop));
    let mut random = seed().rng();
    thread::spawn(move || {
        wait(async {
            let mut written = 0;
            while !stop.load(Ordering::Relaxed) {
                written += 1;
                let number = random.usize(..KEYS / WRITERS) * WRITERS + writer;
                let key = key(number);
                let last = match random.u8(..4) {
                    0 => {
                        old.delete(&key).await.expect("the server answers");
                        new.delete(&key).await.expect("the server answers");
                        None
                    }
                    _ => {
                        let value = written.to_string();
                        old.set(&key, &value).await.expect("the server answers");
                        new.set(&key, &value).await.expect("the server answers");
                        Some(written)
                    }
                };
                history.lock().expect("the lock is not poisoned").insert(number, last);
            }
            written
        })
    })
}

const WRITERS: usize = 3;

#[test]
fn concurrent_writes_and_deletes_are_not_undone() {
    let (from, to) = (Fleet::start(2, ""), Fleet::start(2, "?distribution=rendezvous"));
    let history = History::default();
    wait(async {
        let client = from.client();
        for number in 0..KEYS {
            client.set(key(number), "0").await.unwrap();
            history.lock().unwrap().insert(number, Some(0));
        }
    });
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS).map(|writer| write(&from, &to, writer, &history, &stop)).collect();
    // The copy is interrupted and run again while the writers continue.
    let first = copy(&from, &to).arg("--rate").arg("3000").spawn();
    while to.count() < KEYS / 10 {}
    kill_process(Pid::from_child(&first), Signal::INT).unwrap();
    let output = first.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let second = copy(&from, &to).run();
    // Keys that change faster than they can be copied are reported, but are not a failure.
    assert!(matches!(second.exit, Some(0 | 1)), "{second:?}");
    stop.store(true, Ordering::Relaxed);
    let written: u64 = writers.into_iter().map(|writer| writer.join().expect("no writer fails")).sum();
    assert!(written > 0);
    let history = history.lock().unwrap();
    let (old, new) = (from.client(), to.client());
    wait(async {
        for number in 0..KEYS {
            let value = |item: Option<remcache::Item>| item.map(|item| item.value);
            let found = value(new.get(key(number)).await.unwrap());
            let expected = history[&number].map(|number| number.to_string());
            assert_eq!(found.as_deref(), expected.as_deref().map(str::as_bytes), "{}", key(number));
            assert_eq!(found, value(old.get(key(number)).await.unwrap()));
        }
    });
}

#[test]
fn an_interrupted_copy_is_completed_by_running_it_again() {
    let (from, to) = (Fleet::start(1, ""), Fleet::start(2, ""));
    let lines: String =
        (0..4000).map(|number| format!("{{\"key\":\"k:{number}\",\"value\":\"{number}\"}}\n")).collect();
    remcache(["load", "-", "-q"]).servers(&from.url).input(lines).run().exits(0);
    let first = copy(&from, &to).arg("--rate").arg("1000").spawn();
    while to.count() == 0 {}
    kill_process(Pid::from_child(&first), Signal::INT).unwrap();
    assert_eq!(first.wait_with_output().unwrap().status.code(), Some(130));
    let before = to.count();
    assert!(before < 4000);
    let run = copy(&from, &to).run().exits(0);
    assert_reports(&run, &format!("identical {}", with_separators(before)));
    assert_eq!(to.count(), 4000);
}

#[test]
fn a_terminal_shows_progress_of_the_listing() {
    let (from, to) = (Fleet::start(2, ""), Fleet::start(1, ""));
    let lines: String = (0..100).map(|number| format!("{{\"key\":\"k:{number}\",\"value\":\"\"}}\n")).collect();
    remcache(["load", "-", "-q"]).servers(&from.url).input(lines).run().exits(0);
    let shown = copy(&from, &to).run_on_terminal("").exits(0);
    let listing = shown.text().lines().find(|line| line.starts_with("listing ")).unwrap_or_else(|| panic!("{shown:?}"));
    assert_eq!(listing.matches(" keys").count(), 2, "{listing}");
    assert!(shown.text().contains("100 copied"), "{shown:?}");
}

/// Formats a count as the tool does.
fn with_separators(count: usize) -> String {
    match count {
        0..1000 => count.to_string(),
        _ => format!("{},{:03}", count / 1000, count % 1000),
    }
}
