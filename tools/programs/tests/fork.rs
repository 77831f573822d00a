//! A blocking client that was created before a `fork`.

#![cfg(unix)]

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use remcache_testkit::Memcached;

/// Time after which the program counts as stuck.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_blocking_client_works_in_children_and_goes_on_in_the_parent() {
    let server = Memcached::start(&[]);
    let mut program =
        Command::new(env!("CARGO_BIN_EXE_forking")).arg(server.addr()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while program.try_wait().unwrap().is_none() {
        if start.elapsed() > PATIENCE {
            program.kill().unwrap();
            panic!("the program does not end");
        }
        thread::sleep(Duration::from_millis(10));
    }
    let output = program.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
