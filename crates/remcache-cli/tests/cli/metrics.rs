//! `serve-metrics`: metrics of the servers for Prometheus.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use remcache_testkit::Memcached;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::tool::{Running, remcache};

/// An address that nothing listens on.
const DEAD: &str = "127.0.0.1:1";

/// Starts the tool with metrics of these servers, and returns its address.
fn serve(servers: &str) -> (Running, String) {
    let mut child = remcache(["serve-metrics", "127.0.0.1:0"]).servers(servers).spawn();
    let stdout = child.stdout.as_mut().expect("it is a pipe");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("the tool prints its address");
    let address = line.trim().strip_prefix("http://").and_then(|rest| rest.strip_suffix("/metrics"));
    (Running(child), address.expect("a URL").to_owned())
}

/// Returns the status line and the body of a response.
fn fetch(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("the exporter listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").expect("it takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers in text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

fn debian(program: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(program)).find(|path| path.is_file());
    Command::new(
        found.unwrap_or_else(|| panic!("{program} is missing: apt-get install -y --no-install-recommends prometheus")),
    )
}

#[test]
fn metrics_are_well_formed_and_report_servers_that_are_down() {
    let server = Memcached::start(&[]);
    remcache(["set", "k", "v"]).servers(server.addr()).run().exits(0);
    let (_tool, address) = serve(&format!("{},{DEAD}", server.addr()));
    let (status, text) = fetch(&address, "/metrics");
    assert!(status.ends_with("200 OK"), "{status}");
    let label = format!("{{server=\"{}\"}}", server.addr());
    for line in [
        format!("memcached_up{label} 1"),
        format!("memcached_up{{server=\"{DEAD}\"}} 0"),
        format!("memcached_current_items{label} 1"),
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    let mut promtool =
        debian("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    // promtool also criticizes names, which are those of memcached_exporter; for malformed text it exits with 1.
    assert_ne!(checked.status.code(), Some(1), "{}", String::from_utf8_lossy(&checked.stderr));
    assert!(fetch(&address, "/other").0.contains("404"));
    assert!(fetch(&address, "/").1.contains("/metrics"));
}

#[test]
fn prometheus_scrapes_them() {
    let server = Memcached::start(&[]);
    let (_tool, address) = serve(&server.addr());
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs: [{{job_name: cache, static_configs: [{{targets: ['{address}']}}]}}]\n"
    );
    std::fs::write(&config, text).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let prometheus = debian("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
        .arg(format!("--web.listen-address={free}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _prometheus = Running(prometheus.unwrap());
    let begun = Instant::now();
    let found = loop {
        let answer = TcpStream::connect(&free).is_ok().then(|| fetch(&free, "/api/v1/query?query=memcached_up").1);
        let answer: Value = answer.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        if let Some(metric) = answer.pointer("/data/result/0") {
            break metric.clone();
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{answer}");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(found["metric"]["server"], server.addr());
    assert_eq!(found["value"][1], "1");
}

#[test]
fn statistics_can_be_printed_as_metrics() {
    let server = Memcached::start(&[]);
    let run = remcache(["stats", "-f", "prometheus"]).servers(format!("{},{DEAD}", server.addr())).run().exits(3);
    assert!(run.lines().contains(&format!("memcached_up{{server=\"{DEAD}\"}} 0").as_str()), "{run:?}");
    remcache(["stats", "items", "-f", "prometheus"]).servers(DEAD).run().exits(2).complains_of("serve-metrics");
    remcache(["ping", "-f", "prometheus"]).servers(DEAD).run().exits(2).complains_of("-f prometheus is for stats");
}

#[test]
fn serve_metrics_ends_gracefully_and_names_a_port_in_use() {
    let (mut tool, address) = serve(DEAD);
    remcache(["serve-metrics", &address]).servers(DEAD).run().exits(2).complains_of(&address);
    remcache(["serve-metrics", "nonsense"]).run().exits(2).complains_of(":9150");
    kill_process(Pid::from_child(&tool.0), Signal::INT).unwrap();
    assert_eq!(tool.0.wait().unwrap().code(), Some(0));
    let (mut tool, _) = serve(DEAD);
    kill_process(Pid::from_child(&tool.0), Signal::TERM).unwrap();
    assert_eq!(tool.0.wait().unwrap().code(), Some(0));
}
