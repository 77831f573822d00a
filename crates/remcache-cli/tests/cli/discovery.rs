//! Servers that a source lists: `dns+`, `dnssrv+` and `elasticache+` before a URL.

use remcache_testkit::{Memcached, scratch, unused_port};

use crate::tool::{Run, remcache};

/// Starts a configuration endpoint of an engine before 1.4.14, which has the list of nodes as an item.
fn endpoint(nodes: &[Memcached]) -> Memcached {
    let endpoint = Memcached::start(&[]);
    let lines: Vec<String> = nodes.iter().map(|node| node.addr().replace(':', "||")).collect();
    let list = format!("1\n{}\n", lines.join(" "));
    run(&endpoint.addr(), &["set", "AmazonElastiCache:cluster", &list]).exits(0);
    endpoint
}

/// Returns the URL of a configuration endpoint.
fn elasticache(endpoint: &Memcached) -> String {
    format!("elasticache+memcached://{}/?timeout=20s", endpoint.addr())
}

fn run(servers: &str, args: &[&str]) -> Run {
    remcache(args).servers(servers).run()
}

fn nodes() -> [Memcached; 2] {
    [(), ()].map(|()| Memcached::start(&[]))
}

/// Returns the servers that answer, sorted.
fn pinged(servers: &str) -> Vec<String> {
    let run = run(servers, &["version", "-f", "json"]).exits(0);
    let lines = run.json();
    let servers = lines.as_array().expect("a list").iter();
    let mut names: Vec<String> = servers.map(|line| line["server"].as_str().expect("a name").to_owned()).collect();
    names.sort_unstable();
    names
}

fn addresses(nodes: &[Memcached]) -> Vec<String> {
    let mut addresses: Vec<String> = nodes.iter().map(Memcached::addr).collect();
    addresses.sort_unstable();
    addresses
}

#[test]
fn the_nodes_of_a_configuration_endpoint_are_the_servers() {
    let nodes = nodes();
    let endpoint = endpoint(&nodes);
    assert_eq!(pinged(&elasticache(&endpoint)), addresses(&nodes));
}

#[test]
fn the_addresses_of_a_name_are_the_servers() {
    // The hosts file of most systems has an IPv6 address of this name too.
    for url in ["dns+memcached://localhost:7/?timeout=20s", "dns+localhost:7"] {
        let run = run(url, &["ring", "balance", "--sample", "100"]).exits(0);
        assert!(run.text().contains("127.0.0.1:7"), "{run:?}");
    }
}

#[test]
fn sources_and_addresses_are_combined() {
    let nodes = nodes();
    let endpoint = endpoint(&nodes);
    let run = remcache(["-s", &elasticache(&endpoint), "-s", "cache3:7", "ring", "balance", "--sample", "100"]).run();
    let run = run.exits(0);
    assert!(addresses(&nodes).iter().all(|node| run.text().contains(node)), "{run:?}");
    assert!(run.text().contains("cache3:7"), "{run:?}");
}

#[test]
fn libmemcached_s_variable_may_name_a_source() {
    let nodes = nodes();
    let endpoint = endpoint(&nodes);
    let url = elasticache(&endpoint);
    remcache(["set", "key", "value"]).env("MEMCACHED_SERVERS", &url).run().exits(0);
    let all = addresses(&nodes).join(",");
    assert_eq!(run(&all, &["get", "key"]).exits(0).text().trim(), "value");
}

#[test]
fn items_are_copied_from_and_to_the_servers_of_sources() {
    let (old, new) = (nodes(), nodes());
    let endpoints = [endpoint(&old), endpoint(&new)];
    let [from, to] = endpoints.each_ref().map(elasticache);
    for number in 0..20 {
        run(&from, &["set", &format!("key {number}"), "value"]).exits(0);
    }
    remcache(["copy", "--timeout", "20s", "--from", &from, "--to", &to]).run().exits(0);
    assert_eq!(run(&to, &["keys", "--count"]).exits(0).text().trim(), "20");
    let all = addresses(&new).join(",");
    assert_eq!(run(&all, &["keys", "--count"]).exits(0).text().trim(), "20");
}

#[test]
fn lines_of_a_shell_use_the_servers_of_its_source_and_of_their_own() {
    let (shared, own) = (nodes(), nodes());
    let endpoints = [endpoint(&shared), endpoint(&own)];
    let [url, other] = endpoints.each_ref().map(elasticache);
    let lines = format!(
        "set key shared\nget key\nget key --timeout 20s\nset key other -s {other}\nget key -s {other}\nget key\nexit\n"
    );
    let run = remcache(["shell"]).servers(&url).input(lines).run().exits(0);
    let values: Vec<&str> = run.lines().into_iter().filter(|line| ["shared", "other"].contains(line)).collect();
    assert_eq!(values, ["shared", "shared", "other", "shared"], "{run:?}");
}

#[test]
fn a_context_may_name_a_source() {
    let nodes = nodes();
    let home = scratch();
    let home = home.path().to_str().expect("a path in UTF-8");
    let endpoint = endpoint(&nodes);
    let url = elasticache(&endpoint);
    let remcache = |args: &[&str]| remcache(args).env("HOME", home).run().exits(0);
    remcache(&["context", "add", "shop", "-s", &url]);
    remcache(&["--context", "shop", "set", "key", "value"]);
    assert_eq!(remcache(&["--context", "shop", "get", "key"]).text().trim(), "value");
}

#[test]
fn copy_takes_contexts_that_name_sources() {
    let (old, new) = (nodes(), nodes());
    let endpoints = [endpoint(&old), endpoint(&new)];
    let [from, to] = endpoints.each_ref().map(elasticache);
    for number in 0..20 {
        run(&from, &["set", &format!("shop:{number}"), "value"]).exits(0);
    }
    let home = scratch();
    let home = home.path().to_str().expect("a path in UTF-8");
    let remcache = |args: &[&str]| remcache(args).env("HOME", home).run().exits(0);
    remcache(&["context", "add", "old", "-s", &from, "--namespace", "shop:"]);
    remcache(&["context", "add", "new", "-s", &to, "--namespace", "store:"]);
    remcache(&["copy", "--timeout", "20s", "--from", "old", "--to", "new"]);
    let all = addresses(&new).join(",");
    let keys = run(&all, &["keys"]).exits(0);
    assert!(keys.lines().len() == 20 && keys.lines().iter().all(|key| key.starts_with("store:")), "{keys:?}");
}

#[test]
fn a_source_that_cannot_be_asked_is_named() {
    let address = format!("127.0.0.1:{}", unused_port());
    let url = format!("elasticache+memcached://{address}");
    assert!(run(&url, &["get", "key"]).stderr.contains(&format!("configuration endpoint {address}")));
    let run = run("dnssrv+memcached://_memcache._tcp.cache.invalid", &["get", "key"]);
    assert!(run.exit != Some(0) && run.stderr.contains("DNS service _memcache._tcp.cache.invalid"), "{run:?}");
    let run = remcache(["copy", "--from", &url, "--to", "localhost"]).run();
    assert!(run.exit != Some(0) && run.stderr.contains(&address), "{run:?}");
}

#[test]
fn a_source_that_cannot_be_asked_does_not_stop_commands_without_servers() {
    let url = format!("elasticache+memcached://127.0.0.1:{}", unused_port());
    let home = scratch();
    let home = home.path().to_str().expect("a path in UTF-8");
    let remcache = |args: &[&str]| remcache(args).env("HOME", home).run().exits(0);
    remcache(&["context", "add", "shop", "-s", &url]);
    remcache(&["context", "use", "shop"]);
    remcache(&["completions", "bash"]);
    remcache(&["context", "show"]);
    remcache(&["context", "rm", "shop"]);
}

#[test]
fn an_invalid_source_is_a_usage_error() {
    run("dns+unix:///run/memcached.sock", &["get", "key"]).reports_error("is a socket");
    run("elasticache+memcached://a,b", &["get", "key"]).reports_error("looks up one name");
}

#[test]
fn a_password_in_the_url_of_a_source_is_reported() {
    let address = format!("127.0.0.1:{}", unused_port());
    let url = format!("elasticache+memcached://bob:secret@{address}");
    let run = remcache(["-s", &url, "get", "key"]).run();
    assert!(run.stderr.contains("other users can see a password") && !run.stderr.contains("secret"), "{run:?}");
}
