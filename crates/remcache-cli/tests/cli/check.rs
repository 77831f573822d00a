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

/// Gets a missing key in a loop, until this is dropped.
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
                    // A request may time out on a busy machine; others follow.
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
    let started = Instant::now();
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "no attempt succeeded");
    }
}

#[test]
fn healthy_servers_are_ok() {
    let server = Memcached::start(&[]);
    let run = remcache(["check", "--fail-if", "memory%>90", "--warn-if", "evictions/s>0", "--interval", "10ms"]);
    let run = run.servers(server.addr()).run().exits(0);
    assert!(run.lines()[1].starts_with(&format!("{}  OK      memory% is 0.", server.addr())), "{run:?}");
    assert!(run.lines()[1].contains("%; evictions/s is 0"), "{run:?}");
}

#[test]
fn without_conditions_the_metrics_are_shown() {
    let server = Memcached::start(&[]);
    remcache(["get", "none"]).servers(server.addr()).run().exits(1);
    let run = remcache(["check", "-f", "json"]).servers(server.addr()).run().exits(0);
    let record = &run.json()[0];
    assert_eq!((&record["status"], &record["reasons"]), (&json!("OK"), &json!([])));
    for metric in ["ping", "uptime", "memory%", "connections%", "total_hit%"] {
        assert!(record["metrics"][metric].is_f64(), "{metric}: {run:?}");
    }
    assert_eq!(record["metrics"]["certificate_days"], json!(null), "without TLS");
    let run = remcache(["check"]).servers(format!("{},{DEAD}", server.addr())).run().exits(3);
    assert!(run.lines()[1].contains("OK        ping is ") && run.lines()[1].contains("memory% is 0.0%"), "{run:?}");
    let hint = "1 of 2 servers answer; no conditions were given, such as --fail-if 'hit%<90'";
    assert_eq!(run.lines().last(), Some(&hint), "{run:?}");
}

#[test]
fn an_idle_server_gets_a_hint_on_the_hit_ratio() {
    let server = Memcached::start(&[]);
    remcache(["get", "none"]).servers(server.addr()).run().exits(1);
    let check = |condition: &str| {
        remcache(["check", "--fail-if", condition, "--interval", "10ms"]).servers(server.addr()).run()
    };
    let run = check("hit%<90").exits(0);
    assert!(run.text().contains("OK      hit% was not measured: no gets in the interval\n"), "{run:?}");
    assert!(run.text().contains("total_hit% is the ratio since the server started"), "{run:?}");
    let run = check("total_hit%<90").exits(8);
    assert!(run.text().contains("CRITICAL  total_hit% is 0.0% (total_hit%<90)"), "{run:?}");
    assert!(!run.text().contains("interval"), "{run:?}");
    check("gets/s<1").exits(8);
}

#[test]
fn an_exceeded_threshold_is_reported_with_the_value() {
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
    remcache(["check", "--warn-if", "nonsense"]).servers(server.addr()).run().exits(2).reports_error("hit%<90");
    remcache(["check", "--fail-if", "80%"]).servers(server.addr()).run().exits(2).reports_error("memory%>80");
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
    let idle = format!("{addr} hit% was not measured: no gets in the interval | '{addr} hit%'=U;;50:");
    assert_eq!(ok.text(), format!("MEMCACHED OK - 1 of 1 servers answer, {idle} '{addr} curr_items'=1;5;\n"));
    let warning = check(&["--warn-if", "curr_items>0"], &server.addr()).exits(1);
    assert!(warning.text().starts_with(&format!("MEMCACHED WARNING - 1 of 1 servers answer, {addr} curr_items is 1")));
    let critical = check(&[], &format!("{addr},{DEAD}")).exits(2);
    assert!(critical.text().starts_with(&format!("MEMCACHED CRITICAL - 1 of 2 servers answer, {DEAD} down: ")));
    let low = check(&["--warn-if", "curr_items<5", "--fail-if", "curr_items<1"], &addr).exits(1);
    assert!(low.text().ends_with(&format!(" | '{addr} curr_items'=1;5:;1:\n")), "{low:?}");
    let missing = check(&["--fail-if", "curr_itemz>5"], &addr).exits(3);
    assert!(missing.text().starts_with("MEMCACHED UNKNOWN - 1 of 1 servers answer, "), "{missing:?}");
    assert!(missing.text().contains("no statistic `curr_itemz`; did you mean curr_items?"), "{missing:?}");

    let both = check(&["--warn-if", "curr_items>0", "--fail-if", "curr_itemz>5"], &addr).exits(3);
    assert!(
        both.text().starts_with("MEMCACHED UNKNOWN - "),
        "a condition that was not checked may be critical: {both:?}"
    );

    let nonsense = check(&["--fail-if", "nonsense"], &addr).exits(3);
    assert!(nonsense.text().starts_with("MEMCACHED UNKNOWN - invalid value 'nonsense'"), "{nonsense:?}");
    let nowhere = check(&["--user", "u", "--password-file", "/nowhere"], &addr).exits(3);
    assert!(nowhere.text().starts_with("MEMCACHED UNKNOWN - ") && nowhere.text().contains("/nowhere"), "{nowhere:?}");
    check(&[], "a:b:c:d").exits(3);
    remcache(["get", "k", "-f", "nagios"]).servers(server.addr()).run().exits(2).reports_error("check");
}

#[test]
fn measured_values_are_in_every_format() {
    let server = Memcached::start(&[]);
    remcache(["set", "k", "v"]).servers(server.addr()).run().exits(0);
    let check = |format: &str| {
        let args = ["check", "--warn-if", "curr_items>0", "--fail-if", "curr_items>5", "--fail-if", "memory%>90"];
        remcache(args).arg("-f").arg(format).servers(server.addr()).run().exits(8)
    };
    let record = check("ndjson").json();
    assert_eq!(record["reasons"], json!(["curr_items is 1 (curr_items>0)"]));
    assert_eq!(record["metrics"]["curr_items"], json!(1.0));
    assert!(record["metrics"]["memory%"].as_f64().is_some_and(|percent| percent < 1.0), "{record}");
    assert!(check("csv").lines()[1].contains("curr_items=1.0; memory%=0."), "{:?}", check("csv"));
}

#[test]
fn doctor_groups_servers_with_the_same_finding() {
    let servers = [Memcached::start(&["-C"]), Memcached::start(&["-C"])];
    let list = servers.each_ref().map(Memcached::addr).join(",");
    let run = remcache(["doctor"]).servers(&list).run().exits(8);
    assert_eq!(run.text().matches("compare-and-swap is off (-C)").count(), 1, "{run:?}");
    assert!(run.text().contains(&list.replace(',', ", ")), "{run:?}");
    let records = remcache(["doctor", "-f", "json"]).servers(&list).run().exits(8).json();
    assert_eq!(records.as_array().unwrap().iter().filter(|record| record["check"] == "CAS").count(), 2);
}

#[test]
fn doctor_reports_problems_with_advice() {
    let server = Memcached::start(&["-C", "-I", "512k"]);
    let run = remcache(["doctor", "-f", "json"]).servers(format!("{},{DEAD}", server.addr())).run().exits(3);
    let findings = run.json();
    let about = |server: &str, severity: &str| -> Vec<String> {
        let found = findings.as_array().unwrap().iter();
        let found = found.filter(|finding| finding["server"] == server && finding["severity"] == severity);
        found.map(|finding| finding["check"].as_str().unwrap().to_owned()).collect()
    };
    // Debian backports fixes to 1.6.18 without changing the version number, which is all that doctor can check.
    assert_eq!(about(&server.addr(), "warning"), ["version", "CAS", "item size"]);
    assert_eq!(
        about(&server.addr(), "ok"),
        ["clock", "connections", "refusals", "evictions", "memory", "too large", "address"]
    );
    assert_eq!(about(DEAD, "warning"), ["availability"]);
    let text = remcache(["doctor"]).servers(server.addr()).run().exits(8);
    assert!(text.text().contains("compare-and-swap is off (-C)"), "{text:?}");
    assert_eq!(text.lines().last(), Some(&"servers: 1 examined, 1 with findings"), "{text:?}");
    remcache(["doctor"]).servers(DEAD).run().exits(4);
}

#[test]
fn doctor_has_no_findings_on_an_embedded_server() {
    let run = remcache(["doctor", "--embedded", "2"]).run().exits(0);
    let lines = run.lines();
    assert!(lines.contains(&"ok  CAS          2 of 2 servers  compare-and-swap is on"), "{run:?}");
    let end = ["not examined: version (not reported), certificate (no TLS)", "servers: 2 examined, 0 with findings"];
    assert!(lines.ends_with(&end), "{run:?}");
}

#[test]
fn doctor_reports_evictions_that_have_ended() {
    let server = Memcached::start(&["-m", "2"]);
    for number in 0..10 {
        let set = remcache(["set", &format!("large:{number}"), "-"]).servers(server.addr());
        set.input("x".repeat(400_000)).run().exits(0);
    }
    let doctor = || remcache(["doctor"]).servers(server.addr()).run().exits(8);
    let run = doctor();
    assert!(run.text().contains("of 10 stored items were evicted, none in the last second"), "{run:?}");
    // Less than a twentieth of the stored items is not a problem.
    let items: String = (0..500).map(|number| format!("{{\"key\":\"{number}\",\"value\":\"x\"}}\n")).collect();
    remcache(["load", "-"]).servers(server.addr()).input(items).run().exits(0);
    let run = doctor();
    assert!(run.text().contains("ok  evictions    none in the last second, "), "{run:?}");
    assert!(run.text().contains(" since the server started, the most in slab class "), "{run:?}");
}
