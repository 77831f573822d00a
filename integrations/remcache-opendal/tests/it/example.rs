//! The example, as it is run from the command line.

use remcache_testkit::{Memcached, example_output};

#[test]
fn the_example_prints_what_it_documents() {
    let memcached = Memcached::start(&[]);
    let printed = example_output(env!("CARGO_MANIFEST_DIR"), "store", &memcached);
    assert_eq!(printed, "2200000 bytes are stored\nbytes 2 to 9: content\nit exists: false\n");
}
