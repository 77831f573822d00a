//! One loader for all who ask, in one process and in several.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use remcache::config::ProtocolSetting;
use remcache::proto::MetaOptions;
use remcache::recipes::FetchPolicy;
use remcache::{Client, Error, Request};
use remcache_testkit::Memcached;

use crate::fetch::loader::{Ending, Held, two};
use crate::fetch::{LONG, PROTOCOLS, client_at, fetch, on_all, patient_freshness, stored};

/// Fetches one key in many tasks, whose loader takes 200 ms; how many loads there were.
async fn fetch_in_tasks(client: &Client, tasks: usize, freshness: FetchPolicy) -> usize {
    let loads = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let (client, loads) = (client.clone(), Arc::clone(&loads));
            tokio::spawn(async move {
                let load = move || async move {
                    loads.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    Ok::<_, Error>(Some("the page"))
                };
                client.fetch("page", freshness, load).await.unwrap()
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().as_deref(), Some(&b"the page"[..]));
    }
    loads.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_loader_for_all_tasks_of_a_process() {
    on_all(async |address, protocol| {
        let client = client_at(address, protocol);
        assert_eq!(fetch_in_tasks(&client, 250, patient_freshness()).await, 1, "{protocol}");
        assert_eq!(fetch_in_tasks(&client, 250, patient_freshness()).await, 0, "{protocol}: by now it is stored");
    })
    .await;
}

/// The environment of a process that fetches.
const SERVER: &str = "REMCACHE_FETCH_SERVER";
const PROTOCOL: &str = "REMCACHE_FETCH_PROTOCOL";

/// A process of [`one_loader_for_a_thousand_tasks_in_four_processes`], which starts when it is told
/// to and prints its loads; run as a test of its own, it is the only process.
#[test]
fn a_process_of_the_fleet() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match (std::env::var(SERVER), std::env::var(PROTOCOL)) {
        (Ok(address), Ok(protocol)) => {
            let client = client_at(&address, protocol.parse().unwrap());
            runtime.block_on(client.get("warm")).unwrap();
            println!("\nready");
            std::io::stdin().lock().read_line(&mut String::new()).unwrap();
            println!("\nloads {}", runtime.block_on(fetch_in_tasks(&client, 250, patient_freshness())));
        }
        _ => {
            let server = Memcached::start(&[]);
            let client = client_at(&server.addr(), ProtocolSetting::Auto);
            assert_eq!(runtime.block_on(fetch_in_tasks(&client, 250, patient_freshness())), 1);
        }
    }
}

struct Process {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Process {
    fn start(address: &str, protocol: ProtocolSetting) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "fetch::fleet::a_process_of_the_fleet", "--nocapture"])
            .env(SERVER, address)
            .env(PROTOCOL, protocol.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// The rest of the line that begins with this word.
    fn read(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the process ended without {word:?}");
            if let Some(rest) = line.trim_end().strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
    }
}

#[test]
fn one_loader_for_a_thousand_tasks_in_four_processes() {
    let server = Memcached::start(&[]);
    for protocol in PROTOCOLS {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(client_at(&server.addr(), protocol).delete("page").into_future()).unwrap();
        let mut processes: Vec<_> = (0..4).map(|_| Process::start(&server.addr(), protocol)).collect();
        processes.iter_mut().for_each(|process| drop(process.read("ready")));
        for process in &mut processes {
            process.child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        }
        let mut loads = 0;
        for process in &mut processes {
            loads += process.read("loads").parse::<usize>().unwrap();
            assert!(process.child.wait().unwrap().success());
        }
        assert_eq!(loads, 1, "{protocol}");
    }
}

#[tokio::test]
async fn whoever_asks_while_another_process_loads_waits_and_gets_its_value() {
    on_all(async |address, protocol| {
        let (one, other) = two(address, protocol);
        let held = Held::begin(&one, patient_freshness()).await;
        let (waiting, began) = Held::ask(&other, patient_freshness());
        let plain = one.get("key").await.unwrap().unwrap();
        assert!(plain.is_mark(), "{protocol}: a plain get sees that it is no value");
        assert_eq!(held.end(Ending::Value("loaded")).await.unwrap().unwrap(), "loaded", "{protocol}");
        assert_eq!(waiting.task.await.unwrap().unwrap().unwrap(), "loaded", "{protocol}");
        assert_eq!((began.available_permits(), stored(&one).await.unwrap()), (0, "loaded".into()), "{protocol}");
    })
    .await;
}

/// A process that died while it loaded has left its lease.
#[tokio::test]
async fn a_caller_waits_so_long_and_then_loads_itself() {
    on_all(async |address, protocol| {
        let (dead, client) = two(address, protocol);
        let held = Held::begin(&dead, patient_freshness()).await;
        let freshness = patient_freshness().wait(Duration::from_millis(100));
        assert_eq!(fetch(&client, freshness, "mine").await.unwrap(), "mine", "{protocol}");
        assert_eq!(stored(&client).await.unwrap(), "mine", "{protocol}");
        // It was asleep: what it stores comes too late.
        assert_eq!(held.end(Ending::Value("late")).await.unwrap().unwrap(), "late", "{protocol}");
        assert_eq!(stored(&client).await.unwrap(), "mine", "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn a_lease_ends_by_itself() {
    on_all(async |address, protocol| {
        let (dead, client) = two(address, protocol);
        let _held = Held::begin(&dead, patient_freshness().lease(Duration::from_secs(1))).await;
        assert_eq!(fetch(&client, patient_freshness(), "mine").await.unwrap(), "mine", "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn a_loader_of_this_process_that_hangs_is_passed_over() {
    on_all(async |address, protocol| {
        let client = client_at(address, protocol);
        let freshness = patient_freshness().wait(Duration::from_millis(100));
        let _held = Held::begin(&client, freshness).await;
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { fetch(&client, freshness, "mine").await })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap().unwrap(), "mine", "{protocol}");
        }
        assert_eq!(stored(&client).await.unwrap(), "mine", "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn that_there_is_nothing_is_kept_if_asked_for() {
    on_all(async |address, protocol| {
        let client = client_at(address, protocol);
        let forgets = patient_freshness();
        let keeps = forgets.negative(LONG);
        for (freshness, next) in [(forgets, Some("now there is")), (keeps, None)] {
            client.delete("key").await.unwrap();
            let held = Held::begin(&client, freshness).await;
            assert_eq!(held.end(Ending::Nothing).await, Ok(None), "{protocol}");
            let found = fetch(&client, freshness, "now there is").await;
            assert_eq!(found.as_deref(), next.map(str::as_bytes), "{protocol}");
        }
        let item = client.get("key").await.unwrap().unwrap();
        assert!(item.is_mark() && item.value.is_empty(), "{protocol}: told apart from an empty value");
        client.set("key", "").await.unwrap();
        assert_eq!(fetch(&client, keeps, "loaded").await.unwrap(), "", "{protocol}: an empty value is one");
    })
    .await;
}

#[tokio::test]
async fn what_others_store_is_taken_as_it_is() {
    on_all(async |address, protocol| {
        let client = client_at(address, protocol);
        client.set("key", "theirs").flags(7).await.unwrap();
        assert_eq!(fetch(&client, patient_freshness(), "mine").await.unwrap(), "theirs", "{protocol}");
        let eager = patient_freshness().refresh_ahead(Duration::from_secs(1)).stale_for(Duration::from_secs(1));
        assert_eq!(fetch(&client, eager, "mine").await.unwrap(), "theirs", "{protocol}");
        assert_eq!(stored(&client).await.unwrap(), "theirs", "{protocol}: it lives for ever, and is never due");
    })
    .await;
}

#[tokio::test]
async fn programs_on_different_protocols_share_a_lease() {
    let server = Memcached::start(&[]);
    for loads in PROTOCOLS {
        for waits in PROTOCOLS {
            let (one, other) = (client_at(&server.addr(), loads), client_at(&server.addr(), waits));
            one.delete("key").await.unwrap();
            let held = Held::begin(&one, patient_freshness()).await;
            let (waiting, began) = Held::ask(&other, patient_freshness());
            tokio::time::sleep(Duration::from_millis(20)).await;
            held.end(Ending::Value("loaded")).await.unwrap();
            assert_eq!(waiting.task.await.unwrap().unwrap().unwrap(), "loaded", "{loads}, {waits}");
            assert_eq!(began.available_permits(), 0, "{loads}, {waits}");
        }
    }
}

/// Copies of what is stored are the client's; leases and what they fill are at the first one.
#[tokio::test]
async fn with_copies_on_several_servers_there_is_one_loader_too() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    for protocol in PROTOCOLS {
        let config = crate::fetch::patient_config().protocol(protocol).replicas(2);
        let client = Client::with_config(servers.iter().map(Memcached::addr), config).unwrap();
        client.delete("page").await.unwrap();
        assert_eq!(fetch_in_tasks(&client, 50, patient_freshness()).await, 1, "{protocol}");
        assert_eq!(fetch_in_tasks(&client, 50, patient_freshness()).await, 0, "{protocol}");
        assert!(client.delete("page").await.unwrap().is_applied(), "{protocol}");
        assert_eq!(fetch_in_tasks(&client, 50, patient_freshness()).await, 1, "{protocol}");
    }
}

/// The lease of another client that has the server create the item, as meta-memcache does.
#[tokio::test]
async fn a_lease_of_another_client_is_waited_for() {
    let server = Memcached::start(&[]);
    let client = client_at(&server.addr(), ProtocolSetting::Meta);
    let lease = MetaOptions { vivify: Some(LONG.into()), ..MetaOptions::default() };
    let theirs = client_at(&server.addr(), ProtocolSetting::Meta);
    assert!(theirs.call(Request::get("key").meta(lease)).await.info.unwrap().won);
    let (waiting, began) = Held::ask(&client, patient_freshness());
    tokio::time::sleep(Duration::from_millis(50)).await;
    theirs.set("key", "theirs").await.unwrap();
    assert_eq!(waiting.task.await.unwrap().unwrap().unwrap(), "theirs");
    assert_eq!(began.available_permits(), 0);
}
