//! `check` and `doctor`: thresholds and known problems, for people and for monitoring.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use remcache_testkit::Memcached;
use serde_json::json;

use crate::tool::remcache;

/// An address that nothing listens on.
const DEAD: &str = "127.0.0.1:1";

/// Gets of a missing key in a loop, until it is dropped.
struct Misses {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Misses {
    fn start(server: &Memcached) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (flag, address) = (Arc::clone(&is_over), server.addr());
        let thread = thread::spawn(move || {
            let client = remcache::Client::new([&address]).expect("an address");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                while !flag.load(Ordering::Relaxed) {
                    // A request that times out on a busy machine is followed by others.
                    let _ = client.get("absent").await;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        });
        Self { is_over, thread: Some(thread) }
    }
}

impl Drop for Misses {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Repeats an attempt until it has a result, for a minute at most.
fn repeat_until<T>(attempt: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "no attempt succeeded");
    }
}

#[test]
fn healthy_servers_are_ok() {
    let server = Memcached::start(&[]);
    let run = remcache(["check", "--fail-if", "memory%>90", "--warn-if", "evictions/s>0", "--interval", "10ms"]);
    let run = run.servers(server.addr()).run().exits(0);
    assert_eq!(run.lines()[1], format!("{}  OK", server.addr()));
    let run = remcache(["check", "-f", "json"]).servers(server.addr()).run().exits(0);
    assert_eq!(run.json(), json!([{"server": server.addr(), "status": "OK", "reasons": ""}]));
}

#[test]
fn a_broken_threshold_is_reported_with_the_value() {
    let server = Memcached::start(&[]);
    remcache(["set", "k", "v"]).servers(server.addr()).run().exits(0);
    // Hits before the interval must not hide the misses in it.
    (0..20).for_each(|_| drop(remcache(["get", "k"]).servers(server.addr()).run().exits(0)));
    let misses = Misses::start(&server);
    let critical = repeat_until(|| {
        let check = ["check", "--fail-if", "hit%<50", "--warn-if", "curr_items>0", "--interval", "300ms"];
        Some(remcache(check).servers(server.addr()).run()).filter(|run| run.text().contains("CRITICAL"))
    });
    let run = critical.exits(8);
    assert!(run.text().contains("CRITICAL  hit% is 0.0% (hit%<50); curr_items is 1 (curr_items>0)"), "{run:?}");
    drop(misses);
    remcache(["check", "--warn-if", "curr_items>0"]).servers(server.addr()).run().exits(8);
    let run = remcache(["check", "--fail-if", "curr_itemz>0"]).servers(server.addr()).run().exits(2);
    assert!(run.text().contains("UNKNOWN  no statistic `curr_itemz`; did you mean curr_items?"), "{run:?}");
    remcache(["check", "--warn-if", "nonsense"]).servers(server.addr()).run().exits(2).complains_of("hit%<90");
}

#[test]
fn a_dead_server_is_critical() {
    let server = Memcached::start(&[]);
    let run = remcache(["check"]).servers(format!("{},{DEAD}", server.addr())).run().exits(3);
    assert!(run.text().contains("CRITICAL  down: "), "{run:?}");
    remcache(["check"]).servers(DEAD).run().exits(4);
}

#[test]
fn nagios_format_is_one_line_with_its_own_exit_codes() {
    let server = Memcached::start(&[]);
    remcache(["set", "k", "v"]).servers(server.addr()).run().exits(0);
    let check =
        |args: &[&str], servers: &str| remcache(["check", "-f", "nagios"].iter().chain(args)).servers(servers).run();
    let ok = check(&["--warn-if", "curr_items>5", "--fail-if", "hit%<50"], &server.addr()).exits(0);
    let addr = server.addr();
    assert_eq!(ok.text(), format!("MEMCACHED OK - 1 of 1 servers answer | '{addr} curr_items'=1;5;\n"));
    let warning = check(&["--warn-if", "curr_items>0"], &server.addr()).exits(1);
    assert!(warning.text().starts_with(&format!("MEMCACHED WARNING - 1 of 1 servers answer, {addr} curr_items is 1")));
    let critical = check(&[], &format!("{addr},{DEAD}")).exits(2);
    assert!(critical.text().starts_with(&format!("MEMCACHED CRITICAL - 1 of 2 servers answer, {DEAD} down: ")));
    let low = check(&["--warn-if", "curr_items<5", "--fail-if", "curr_items<1"], &addr).exits(1);
    assert!(low.text().ends_with(&format!(" | '{addr} curr_items'=1;5:;1:\n")), "{low:?}");
    let missing = check(&["--fail-if", "curr_itemz>5"], &addr).exits(3);
    assert!(missing.text().starts_with("MEMCACHED UNKNOWN - 1 of 1 servers answer, "), "{missing:?}");
    assert!(missing.text().contains("no statistic `curr_itemz`; did you mean curr_items?"), "{missing:?}");

    check(&["--fail-if", "nonsense"], &addr).exits(3);
    let nowhere = check(&["--user", "u", "--password-file", "/nowhere"], &addr).exits(3);
    assert!(nowhere.text().starts_with("MEMCACHED UNKNOWN - ") && nowhere.text().contains("/nowhere"), "{nowhere:?}");
    check(&[], "a:b:c:d").exits(3);
    remcache(["get", "k", "-f", "nagios"]).servers(server.addr()).run().exits(2).complains_of("check");
}

#[test]
fn doctor_reports_problems_with_advice() {
    let server = Memcached::start(&["-C", "-I", "512k"]);
    let run = remcache(["doctor", "-f", "json"]).servers(format!("{},{DEAD}", server.addr())).run().exits(3);
    let findings = run.json();
    let about = |server: &str| -> Vec<String> {
        let found = findings.as_array().unwrap().iter().filter(|finding| finding["server"] == server);
        found.map(|finding| finding["check"].as_str().unwrap().to_owned()).collect()
    };
    // Debian backports fixes to 1.6.18 without changing the version number, which is all that doctor sees.
    assert_eq!(about(&server.addr()), ["version", "CAS", "item size"]);
    assert_eq!(about(DEAD), ["reach"]);
    let text = remcache(["doctor"]).servers(server.addr()).run().exits(8);
    assert!(text.text().contains("compare-and-swap is off (-C)"), "{text:?}");
    assert_eq!(text.lines().last(), Some(&"servers: 1 examined, 1 with findings"), "{text:?}");
    remcache(["doctor"]).servers(DEAD).run().exits(4);
}

#[test]
fn doctor_has_no_findings_on_an_embedded_server() {
    let run = remcache(["doctor", "--embedded", "2"]).run().exits(0);
    assert_eq!(run.text(), "servers: 2 examined, 0 with findings\n");
}
