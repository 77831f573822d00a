//! The example: an application with four workers that share one client.

use std::thread;

use remcache_testkit::{Memcached, ServerProcess};

#[test]
fn four_workers_share_sessions_through_one_client() {
    let mut memcached = Memcached::start(&[]);
    let process = ServerProcess::start_example(env!("CARGO_MANIFEST_DIR"), "visits", &memcached);
    let cookies: Vec<String> = thread::scope(|scope| {
        let visitors: Vec<_> = (0..20).map(|_| scope.spawn(|| visit(&process))).collect();
        visitors.into_iter().map(|visitor| visitor.join().expect("a visitor does not panic")).collect()
    });
    memcached.kill();
    let response = process.get_with_cookie(&cookies[0]);
    assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("1 visits"), "{response}");
    memcached.restart();
    memcached.stop();
    let response = process.get_with_cookie(&cookies[0]);
    assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("1 visits"), "{response}");
}

/// Visits several times, each time with another worker perhaps, and returns the cookie.
fn visit(process: &ServerProcess) -> String {
    let response = process.get_with_cookie("");
    assert!(response.ends_with("1 visits"), "{response}");
    let mut cookie = cookie(&response);
    for visits in 2..12 {
        let response = process.get_with_cookie(&cookie);
        assert!(response.ends_with(&format!("{visits} visits")), "{response}");
        cookie = self::cookie(&response);
    }
    cookie
}

/// Returns the cookie that a response sets.
fn cookie(response: &str) -> String {
    let cookie = response.lines().find_map(|line| line.strip_prefix("set-cookie: ")?.split(';').next());
    cookie.expect("a cookie").to_owned()
}
