//! `serve-metrics`: metrics of the servers for Prometheus.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::Duration;

use remcache_testkit::Memcached;
use remcache_testkit::http_get;
use remcache_testkit::prometheus::{Dashboard, Prometheus, promtool};
use rustix::process::{Pid, Signal, kill_process};

use crate::tool::{KillOnDrop, remcache};

/// An address that nothing listens on.
const DEAD: &str = "127.0.0.1:1";

/// Starts the tool with metrics of these servers, and returns its address.
fn serve(servers: &str) -> (KillOnDrop, String) {
    serve_with(servers, &[])
}

fn serve_with(servers: &str, options: &[&str]) -> (KillOnDrop, String) {
    let mut child = remcache(["serve-metrics", "127.0.0.1:0"].iter().chain(options)).servers(servers).spawn();
    let stdout = child.stdout.as_mut().expect("it is a pipe");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("the tool prints its address");
    let address = line.trim().strip_prefix("http://").and_then(|rest| rest.strip_suffix("/metrics"));
    (KillOnDrop(child), address.expect("a URL").to_owned())
}

fn fetch(address: &str, path: &str) -> (u16, String) {
    http_get(address, path).expect("the tool answers")
}

#[test]
fn metrics_are_well_formed_and_report_servers_that_are_down() {
    let server = Memcached::start(&[]);
    remcache(["set", "k", "v"]).servers(server.addr()).run().exits(0);
    let (_tool, address) = serve(&format!("{},{DEAD}", server.addr()));
    let (status, text) = fetch(&address, "/metrics");
    assert_eq!(status, 200);
    let label = format!("{{server=\"{}\"}}", server.addr());
    for line in [
        format!("memcached_up{label} 1"),
        format!("memcached_up{{server=\"{DEAD}\"}} 0"),
        format!("memcached_current_items{label} 1"),
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    promtool(&["check", "metrics"], Path::new("."), &text).unwrap();
    assert_eq!(fetch(&address, "/other").0, 404);
    assert!(fetch(&address, "/").1.contains("/metrics"));
}

#[test]
fn slab_classes_can_be_left_out() {
    let server = Memcached::start(&[]);
    remcache(["set", "k", "v"]).servers(server.addr()).run().exits(0);
    for (options, has_classes) in [(&[][..], true), (&["--no-slabs"], false)] {
        let (_tool, address) = serve_with(&server.addr(), options);
        let text = fetch(&address, "/metrics").1;
        assert_eq!(text.contains("slab=") || text.contains("memcached_slab"), has_classes, "{text}");
        assert!(text.contains("memcached_current_items"), "{text}");
        promtool(&["check", "metrics"], Path::new("."), &text).unwrap();
    }
}

/// The requests of the tool have the metrics of the library.
#[test]
fn its_own_requests_have_the_names_of_the_library() {
    let server = Memcached::start(&[]);
    let (_tool, address) = serve(&format!("{},{DEAD}", server.addr()));
    let text = fetch(&address, "/metrics").1;
    for (outcome, server) in [("ok", &*server.addr()), ("Disconnected", DEAD)] {
        let labels = format!("{{operation=\"stats\",outcome=\"{outcome}\",server=\"{server}\"}}");
        let count = format!("db_client_operation_duration_seconds_count{labels} ");
        assert!(text.lines().any(|line| line.starts_with(&count)), "{count}\n{text}");
    }
    let up = format!("memcached_client_server_state{{state=\"connected\",server=\"{}\"}} 1", server.addr());
    assert!(text.contains(&up), "{up}\n{text}");
    assert!(text.contains("le=\"0.00005\""), "the buckets of the library");
}

#[test]
fn every_query_of_the_server_dashboard_returns_data() {
    let server = Memcached::start(&[]);
    let (_tool, address) = serve(&server.addr());
    let load = remcache(["bench", "--time", "1h", "--rate", "200", "--keys", "100"]);
    let _load = KillOnDrop(load.servers(server.addr()).spawn());
    let prometheus = Prometheus::start(&[&address], Duration::from_millis(500), None);
    prometheus.wait_for("memcached_up", |series, is_up| series.labels["server"] == server.addr() && is_up == 1.0);
    let dashboard = Dashboard::read(include_str!("../../../../docs/monitoring/grafana-server.json"), "10s");
    dashboard.wait_for_data(&prometheus);
}

#[test]
fn statistics_can_be_printed_as_metrics() {
    let server = Memcached::start(&[]);
    let run = remcache(["stats", "-f", "prometheus"]).servers(format!("{},{DEAD}", server.addr())).run().exits(3);
    assert!(run.lines().contains(&format!("memcached_up{{server=\"{DEAD}\"}} 0").as_str()), "{run:?}");
    remcache(["stats", "items", "-f", "prometheus"]).servers(DEAD).run().exits(2).reports_error("serve-metrics");
    remcache(["ping", "-f", "prometheus"]).servers(DEAD).run().exits(2).reports_error("-f prometheus is for stats");
}

#[test]
fn serve_metrics_ends_gracefully_and_names_a_port_in_use() {
    let (mut tool, address) = serve(DEAD);
    remcache(["serve-metrics", &address]).servers(DEAD).run().exits(2).reports_error(&address);
    remcache(["serve-metrics", "nonsense"]).run().exits(2).reports_error(":9150");
    kill_process(Pid::from_child(&tool.0), Signal::INT).unwrap();
    assert_eq!(tool.0.wait().unwrap().code(), Some(0));
    let (mut tool, _) = serve(DEAD);
    kill_process(Pid::from_child(&tool.0), Signal::TERM).unwrap();
    assert_eq!(tool.0.wait().unwrap().code(), Some(0));
}
