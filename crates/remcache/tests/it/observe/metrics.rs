//! Metrics of operations, as Prometheus receives them.

use std::io::Write as _;
use std::process::{Command, Stdio};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};
use remcache::observe::{DURATION_BUCKETS, Metrics};
use remcache::{Client, Config};
use remcache_server::Server;

use crate::support::patient_config;

fn recorder() -> PrometheusRecorder {
    let durations = Matcher::Suffix("_seconds".to_owned());
    PrometheusBuilder::new().set_buckets_for_metric(durations, &DURATION_BUCKETS).unwrap().build_recorder()
}

/// Runs a client with metrics, and returns what Prometheus would read, and the server's address.
///
/// Handles are fetched with the recorder of the thread, so everything runs on one.
fn rendered(config: Config) -> (String, String) {
    let recorder = recorder();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let address = metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let server = Server::start().await.unwrap();
            let client = Client::with_config([server.address()], config.observer(Metrics::new())).unwrap();
            client.set("key", "value").await.unwrap();
            client.get("key").await.unwrap();
            client.get("key").await.unwrap();
            client.get("absent").await.unwrap();
            assert!(client.get_many(["key", "absent", "missing"]).await.is_complete());
            client.increment("key", 1).await.unwrap_err();
            server.address()
        })
    });
    (recorder.handle().render(), address)
}

#[test]
fn counters_are_what_was_done() {
    let (text, server) = rendered(patient_config());
    let value = |name: &str, labels: &str| {
        let line = format!("{name}{{{labels},server=\"{server}\"}} ");
        let found = text.lines().find_map(|text| text.strip_prefix(&line));
        found.unwrap_or_else(|| panic!("{line} is not in\n{text}")).to_owned()
    };
    let count = "db_client_operation_duration_seconds_count";
    assert_eq!(value(count, r#"operation="get",outcome="hit""#), "2");
    assert_eq!(value(count, r#"operation="get",outcome="miss""#), "1");
    assert_eq!(value(count, r#"operation="increment",outcome="NonNumericValue""#), "1");
    assert_eq!(value("memcached_client_hits_total", r#"operation="get""#), "2");
    assert_eq!(value("memcached_client_misses_total", r#"operation="get_many""#), "2");
    assert!(text.contains(&format!("memcached_client_bytes_total{{server=\"{server}\",direction=\"received\"}} 15")));
    assert!(text.contains(&format!("memcached_client_server_state{{server=\"{server}\",state=\"closed\"}} 1")));
    assert!(text.contains(r#"le="0.00005""#), "buckets begin at 50 µs:\n{text}");
    assert!(!text.contains("absent") && !text.contains("missing"), "no key is a label");
}

#[test]
fn promtool_accepts_the_metrics() {
    let (text, _) = rendered(patient_config());
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
}
