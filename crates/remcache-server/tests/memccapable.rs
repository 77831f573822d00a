//! Runs `memccapable`, the server test of libmemcached, against the embedded server.

use std::process::Command;

use remcache_server::Server;
use tokio::runtime::Runtime;

const TESTS: usize = 27;

#[test]
fn memccapable_passes_all_binary_tests() {
    check("-b", TESTS);
}

#[test]
fn memccapable_passes_all_text_tests() {
    check("-a", TESTS);
}

fn check(protocol: &str, tests: usize) {
    let runtime = Runtime::new().expect("a runtime");
    let server = runtime.block_on(Server::start()).expect("a loopback port");
    let output = Command::new("memccapable")
        .args([protocol, "-h", "127.0.0.1", "-p", &server.port().to_string()])
        .output()
        .unwrap_or_else(|error| {
            panic!("cannot run memccapable: {error}; install it with `apt-get install libmemcached-tools`")
        });
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success(), "{text}");
    assert_eq!(text.lines().filter(|line| line.ends_with("[pass]")).count(), tests, "{text}");
    assert!(text.contains("All tests passed") && !text.contains("[FAIL]"), "{text}");
}
