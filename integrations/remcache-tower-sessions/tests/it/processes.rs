//! The example: an application that is restarted.

use remcache_testkit::{Memcached, ServerProcess};

#[test]
fn sessions_survive_a_restart_of_the_process_and_not_of_the_server() {
    let mut memcached = Memcached::start(&[]);
    let process = start(&memcached);
    let response = process.get_with_cookie("");
    assert!(response.ends_with("1 visits"), "{response}");
    let cookie = response.lines().find_map(|line| line.strip_prefix("set-cookie: ")?.split(';').next());
    let cookie = cookie.expect("a cookie");
    drop(process);
    let process = start(&memcached);
    let response = process.get_with_cookie(cookie);
    assert!(response.ends_with("2 visits"), "{response}");
    drop(process);
    memcached.restart();
    let response = start(&memcached).get_with_cookie(cookie);
    assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("1 visits"), "{response}");
}

fn start(memcached: &Memcached) -> ServerProcess {
    ServerProcess::start_example(env!("CARGO_MANIFEST_DIR"), "visitors", memcached)
}
