//! The example, as it is run from the command line.

use remcache_testkit::{Memcached, example_output};

#[test]
fn the_example_prints_what_it_documents() {
    let memcached = Memcached::start(&[]);
    let printed = example_output(env!("CARGO_MANIFEST_DIR"), "memoize", &memcached);
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.starts_with("7 * 7 = 49, after ")), "{printed}");
}
