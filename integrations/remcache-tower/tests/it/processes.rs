//! Several processes and one memcached.

use std::thread;

use remcache_testkit::{Memcached, ServerProcess};

#[test]
fn four_processes_let_through_exactly_the_limit() {
    let memcached = Memcached::start(&[]);
    let start = || ServerProcess::start_example(env!("CARGO_MANIFEST_DIR"), "rate_limit", &memcached);
    let processes = [start(), start(), start(), start()];
    let responses: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = processes
            .iter()
            .flat_map(|process| [process, process])
            .map(|process| scope.spawn(|| (0..25).map(|_| process.get_with_cookie("")).collect::<Vec<_>>()))
            .collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client does not panic")).collect()
    });
    let count = |status: &str| responses.iter().filter(|response| response.starts_with(status)).count();
    assert_eq!((count("HTTP/1.1 200 "), count("HTTP/1.1 429 ")), (100, 100), "{responses:?}");
}
