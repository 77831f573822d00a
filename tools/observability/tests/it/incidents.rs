//! What the queries of docs/observability.md return during an incident.

use remcache::{Client, Config};
use remcache_observability::{Load, hot_path, slow_path};

use crate::Site;

/// Returns the queries of an incident, with a short interval of rates.
fn queries<const N: usize>(heading: &str) -> [String; N] {
    let document = include_str!("../../../../docs/observability.md");
    let section = document.split("\n### ").find(|section| section.starts_with(heading)).unwrap();
    let block = section.split("```promql\n").nth(1).unwrap().split("```").next().unwrap();
    let queries: Vec<_> = block.lines().map(|line| line.replace("[5m]", "[10s]")).collect();
    queries.try_into().unwrap()
}

#[test]
fn a_server_dies() {
    let [down, timeouts, failovers, hit_ratio] = queries("A server dies");
    let site = Site::start();
    let _load = site.load();
    let (prometheus, server) = (&site.prometheus, site.servers[0].addr());
    let before = prometheus.wait_for(&hit_ratio, |_, ratio| ratio > 0.0);
    // Its connections stay open, and nothing is answered.
    site.servers[0].stop();
    prometheus.wait_for(&down, |series, _| series.labels["server"] == server);
    prometheus.wait_for(&timeouts, |series, _| series.labels["server"] == server);
    prometheus.wait_for(&failovers, |_, rate| rate > 0.0);
    let alert = format!("ALERTS{{alertname=\"CacheServerDown\",server={server:?}}}");
    prometheus.wait_for(&alert, |series, _| series.labels["alertstate"] == "pending");
    site.servers[0].cont();
    let up = format!("memcached_client_server_state{{server={server:?},state=\"connected\"}}");
    prometheus.wait_for(&up, |_, is_up| is_up == 1.0);
    prometheus.wait_for(&hit_ratio, |_, ratio| ratio >= before.points[0].1 / 2.0);
}

#[tokio::test]
async fn a_hot_key() {
    let [busiest, skew] = queries("A hot key");
    let site = Site::start();
    let usual = site.load();
    drop(usual);
    let config = Config::new().namespace("shop:");
    let client = Client::with_config(site.servers.each_ref().map(remcache_testkit::Memcached::addr), config).unwrap();
    let server = client.locate("user:hot").unwrap().unwrap().name().to_owned();
    let _load = Load::start(&site.service, hot_path);
    site.prometheus.wait_for(&skew, |_, times| times > 2.0);
    let found = site.prometheus.query(&busiest);
    assert_eq!(found[0].labels["server"], server, "{found:?}");
}

#[test]
fn a_slow_loader() {
    let [by_operation, by_outcome] = queries("A slow loader");
    let site = Site::start();
    drop(site.load());
    let _load = Load::start(&site.service, slow_path);
    let prometheus = &site.prometheus;
    let is = |label: &str, value: &str, series: &remcache_testkit::prometheus::Series| series.labels[label] == value;
    prometheus.wait_for(&by_operation, |series, seconds| is("operation", "fetch", series) && seconds > 0.25);
    prometheus.wait_for(&by_outcome, |series, seconds| is("outcome", "loaded", series) && seconds > 0.25);
    let seconds = |found: &[remcache_testkit::prometheus::Series], label: &str, value: &str| {
        found.iter().find(|series| is(label, value, series)).unwrap().points[0].1
    };
    let found = prometheus.query(&by_operation);
    assert!(seconds(&found, "operation", "get") < seconds(&found, "operation", "fetch"), "{found:?}");
}
