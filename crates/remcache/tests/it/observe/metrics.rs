//! Metrics of operations, in Prometheus format.

use std::path::Path;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};
use remcache::observe::{DURATION_BUCKETS, Metrics, Outcome};
use remcache::{Client, Config};
use remcache_server::Server;
use remcache_testkit::prometheus::promtool;

use crate::support::patient_config;

fn recorder() -> PrometheusRecorder {
    let durations = Matcher::Suffix("_seconds".to_owned());
    PrometheusBuilder::new().set_buckets_for_metric(durations, &DURATION_BUCKETS).unwrap().build_recorder()
}

/// Runs a client with metrics. Returns the rendered metrics and the server's address.
///
/// Metrics use the recorder of the thread, so everything runs on one thread.
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
fn counters_match_the_operations() {
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
    assert!(!text.contains(r#"hits_total{operation="set""#), "only reads have hits and misses:\n{text}");
    assert_eq!(value("memcached_client_bytes_total", r#"direction="received""#), "15");
    assert_eq!(value("memcached_client_server_state", r#"state="closed""#), "1");
    assert!(text.contains(r#"le="0.00005""#), "the first bucket is 50 µs:\n{text}");
    assert!(!text.contains("absent") && !text.contains("missing"), "no key is a label");
}

/// Asserts that `promtool` accepts its input.
#[track_caller]
fn accepts(arguments: &[&str], input: &str) {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/monitoring"));
    let result = promtool(arguments, directory, input);
    assert!(result.is_ok(), "{result:?}{input}");
}

#[test]
fn promtool_accepts_the_metrics() {
    accepts(&["check", "metrics"], &rendered(patient_config()).0);
}

#[test]
fn promtool_accepts_the_alert_rules_and_their_tests_pass() {
    accepts(&["check", "rules", "alerts.yml"], "");
    accepts(&["test", "rules", "alerts-test.yml"], "");
}

/// An operation without an error must not count as one.
#[test]
fn alerts_know_every_outcome_that_is_no_error() {
    let is_error = |label: &str| label.starts_with(char::is_uppercase) || label == "timeout";
    let good: Vec<&str> = Outcome::LABELS.iter().copied().filter(|label| !is_error(label)).collect();
    let good = format!("outcome!~\"{}\"", good.join("|"));
    assert!(include_str!("../../../../../docs/monitoring/alerts.yml").contains(&good), "{good}");
    let dashboard = include_str!("../../../../../docs/monitoring/grafana-client.json");
    assert!(dashboard.contains(&good.replace('"', "\\\"")), "{good}");
}
