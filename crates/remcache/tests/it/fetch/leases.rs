//! One loader for all callers, in one process and in several.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use remcache::config::ProtocolSetting;
use remcache::proto::MetaOptions;
use remcache::recipes::FetchPolicy;
use remcache::{Client, Error, Request};
use remcache_testkit::Memcached;
use tokio::time::timeout;

use crate::fetch::paused_fetch::{LoadResult, PausedFetch, two_clients};
use crate::fetch::{LONG, PROTOCOLS, client_at, fetch, on_all_servers, patient_policy, stored};

/// Fetches a key in many tasks, with a loader that takes 200 ms. Returns the number of loads.
async fn fetch_in_tasks(client: &Client, tasks: usize, policy: FetchPolicy) -> usize {
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
                client.fetch_optional("page", policy, load).await.unwrap()
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().as_deref(), Some(&b"the page"[..]));
    }
    loads.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_tasks_of_a_process_share_one_loader() {
    on_all_servers(async |address, protocol| {
        let client = client_at(address, protocol);
        assert_eq!(fetch_in_tasks(&client, 250, patient_policy()).await, 1, "{protocol}");
        assert_eq!(fetch_in_tasks(&client, 250, patient_policy()).await, 0, "{protocol}: the value is stored");
    })
    .await;
}

/// Environment variables of a child process.
const SERVER: &str = "REMCACHE_FETCH_SERVER";
const PROTOCOL: &str = "REMCACHE_FETCH_PROTOCOL";

/// A process of [`a_thousand_tasks_in_four_processes_share_one_loader`], which waits for a line of input,
/// fetches, and prints its number of loads. Run as a test by itself, it is the only process.
#[test]
fn child_process() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match (std::env::var(SERVER), std::env::var(PROTOCOL)) {
        (Ok(address), Ok(protocol)) => {
            let client = client_at(&address, protocol.parse().unwrap());
            runtime.block_on(client.get("warm")).unwrap();
            println!("\nready");
            std::io::stdin().lock().read_line(&mut String::new()).unwrap();
            println!("\nloads {}", runtime.block_on(fetch_in_tasks(&client, 250, patient_policy())));
        }
        _ => {
            let server = Memcached::start(&[]);
            let client = client_at(&server.addr(), ProtocolSetting::Auto);
            assert_eq!(runtime.block_on(fetch_in_tasks(&client, 250, patient_policy())), 1);
        }
    }
}

/// Loads a value for ever, in a process that another test starts and kills; run as a test by itself, it does nothing.
#[test]
fn child_process_that_never_finishes_loading() {
    let (Ok(address), Ok(protocol)) = (std::env::var(SERVER), std::env::var(PROTOCOL)) else { return };
    let client = client_at(&address, protocol.parse().unwrap());
    let load = || async {
        println!("\nloading");
        std::future::pending::<Result<&str, Error>>().await
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(client.fetch("key", patient_policy(), load)).unwrap();
}

struct Process {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Process {
    fn start(test: &str, address: &str, protocol: ProtocolSetting) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("fetch::leases::{test}"), "--nocapture"])
            .env(SERVER, address)
            .env(PROTOCOL, protocol.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// Reads lines up to the one that begins with this word, and returns the rest of it.
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
fn a_thousand_tasks_in_four_processes_share_one_loader() {
    let server = Memcached::start(&[]);
    for protocol in PROTOCOLS {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(client_at(&server.addr(), protocol).delete("page").into_future()).unwrap();
        let mut processes: Vec<_> = (0..4).map(|_| Process::start("child_process", &server.addr(), protocol)).collect();
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
async fn a_caller_waits_for_the_value_that_another_process_loads() {
    on_all_servers(async |address, protocol| {
        let (one, other) = two_clients(address, protocol);
        let paused = PausedFetch::start(&one, patient_policy()).await;
        let (waiting, started) = PausedFetch::spawn(&other, patient_policy());
        let placeholder = one.get("key").with_sentinels().await.unwrap().unwrap();
        assert!(placeholder.is_sentinel(), "{protocol}");
        assert_eq!(paused.finish(LoadResult::Value("loaded")).await.unwrap().unwrap(), "loaded", "{protocol}");
        assert_eq!(waiting.task.await.unwrap().unwrap().unwrap(), "loaded", "{protocol}");
        assert_eq!((started.available_permits(), stored(&one).await.unwrap()), (0, "loaded".into()), "{protocol}");
    })
    .await;
}

/// The lease of the dead process lasts an hour: what ends the wait is the default that is documented.
#[tokio::test]
async fn a_loader_that_is_killed_delays_others_by_the_default_wait_only() {
    const PATIENCE: Duration = Duration::from_secs(60);
    let policy = FetchPolicy::new(LONG);
    assert_eq!(policy, policy.wait_up_to(Duration::from_secs(1)), "the default");
    for protocol in PROTOCOLS {
        let server = Memcached::start(&[]);
        let client = client_at(&server.addr(), protocol);
        let mut loading = Process::start("child_process_that_never_finishes_loading", &server.addr(), protocol);
        loading.read("loading");
        // SIGKILL.
        loading.child.kill().unwrap();
        loading.child.wait().unwrap();
        let began = Instant::now();
        let waits = fetch(&client, policy, "mine");
        assert_eq!(timeout(PATIENCE, waits).await.unwrap().unwrap(), "mine", "{protocol}");
        assert!(began.elapsed() >= Duration::from_millis(900), "{protocol}: it waited for the other loader");
        assert_eq!(stored(&client).await.unwrap(), "mine", "{protocol}: the next callers do not wait");
    }
}

/// A process that died during a load has left its lease.
#[tokio::test]
async fn a_caller_loads_itself_after_its_maximum_wait() {
    on_all_servers(async |address, protocol| {
        let (dead, client) = two_clients(address, protocol);
        let paused = PausedFetch::start(&dead, patient_policy()).await;
        let policy = patient_policy().wait_up_to(Duration::from_millis(100));
        assert_eq!(fetch(&client, policy, "mine").await.unwrap(), "mine", "{protocol}");
        assert_eq!(stored(&client).await.unwrap(), "mine", "{protocol}");
        // The first process was only suspended: its value arrives too late and is not stored.
        assert_eq!(paused.finish(LoadResult::Value("late")).await.unwrap().unwrap(), "late", "{protocol}");
        assert_eq!(stored(&client).await.unwrap(), "mine", "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn a_lease_expires() {
    on_all_servers(async |address, protocol| {
        let (dead, client) = two_clients(address, protocol);
        let _paused = PausedFetch::start(&dead, patient_policy().lease(Duration::from_secs(1))).await;
        assert_eq!(fetch(&client, patient_policy(), "mine").await.unwrap(), "mine", "{protocol}");
    })
    .await;
}

#[tokio::test]
async fn a_hanging_loader_of_this_process_is_not_waited_for_longer_than_the_maximum() {
    on_all_servers(async |address, protocol| {
        let client = client_at(address, protocol);
        let policy = patient_policy().wait_up_to(Duration::from_millis(100));
        let _paused = PausedFetch::start(&client, policy).await;
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { fetch(&client, policy, "mine").await })
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
async fn negative_results_are_cached_if_enabled() {
    on_all_servers(async |address, protocol| {
        let client = client_at(address, protocol);
        let uncached = patient_policy();
        let cached = uncached.negative_ttl(LONG);
        for (policy, next) in [(uncached, Some("a value")), (cached, None)] {
            client.delete("key").await.unwrap();
            let paused = PausedFetch::start(&client, policy).await;
            assert_eq!(paused.finish(LoadResult::Nothing).await, Ok(None), "{protocol}");
            let found = fetch(&client, policy, "a value").await;
            assert_eq!(found.as_deref(), next.map(str::as_bytes), "{protocol}");
        }
        let item = client.get("key").with_sentinels().await.unwrap().unwrap();
        assert!(item.is_sentinel() && item.value.is_empty(), "{protocol}: distinct from an empty value");
        client.set("key", "").await.unwrap();
        assert_eq!(fetch(&client, cached, "loaded").await.unwrap(), "", "{protocol}: an empty value is a value");
    })
    .await;
}

#[tokio::test]
async fn values_that_other_clients_stored_are_returned_as_they_are() {
    on_all_servers(async |address, protocol| {
        let client = client_at(address, protocol);
        client.set("key", "theirs").flags(7).await.unwrap();
        assert_eq!(fetch(&client, patient_policy(), "mine").await.unwrap(), "theirs", "{protocol}");
        let refreshing = patient_policy().refresh_ahead(Duration::from_secs(1)).stale_for(Duration::from_secs(1));
        assert_eq!(fetch(&client, refreshing, "mine").await.unwrap(), "theirs", "{protocol}");
        assert_eq!(stored(&client).await.unwrap(), "theirs", "{protocol}: a value without TTL is never due");
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
            let paused = PausedFetch::start(&one, patient_policy()).await;
            let (waiting, started) = PausedFetch::spawn(&other, patient_policy());
            tokio::time::sleep(Duration::from_millis(20)).await;
            paused.finish(LoadResult::Value("loaded")).await.unwrap();
            assert_eq!(waiting.task.await.unwrap().unwrap().unwrap(), "loaded", "{loads}, {waits}");
            assert_eq!(started.available_permits(), 0, "{loads}, {waits}");
        }
    }
}

/// Values are stored on all replicas, leases on the primary only.
#[tokio::test]
async fn with_replicas_there_is_one_loader_too() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    for protocol in PROTOCOLS {
        let config = crate::fetch::patient_config().protocol(protocol).replicas(2);
        let client = Client::with_config(servers.iter().map(Memcached::addr), config).unwrap();
        client.delete("page").await.unwrap();
        assert_eq!(fetch_in_tasks(&client, 50, patient_policy()).await, 1, "{protocol}");
        assert_eq!(fetch_in_tasks(&client, 50, patient_policy()).await, 0, "{protocol}");
        assert!(client.delete("page").await.unwrap().is_applied(), "{protocol}");
        assert_eq!(fetch_in_tasks(&client, 50, patient_policy()).await, 1, "{protocol}");
    }
}

/// The lease of another client library that uses the vivify flag of meta gets, as meta-memcache does.
#[tokio::test]
async fn a_lease_of_another_client_library_is_respected() {
    let server = Memcached::start(&[]);
    let client = client_at(&server.addr(), ProtocolSetting::Meta);
    let lease = MetaOptions::new().vivify(LONG);
    let other = client_at(&server.addr(), ProtocolSetting::Meta);
    assert!(other.call(Request::get("key").meta(lease)).await.info.unwrap().won);
    let (waiting, started) = PausedFetch::spawn(&client, patient_policy());
    tokio::time::sleep(Duration::from_millis(50)).await;
    other.set("key", "theirs").await.unwrap();
    assert_eq!(waiting.task.await.unwrap().unwrap().unwrap(), "theirs");
    assert_eq!(started.available_permits(), 0);
}
