//! The example, as it is run from the command line.

use remcache_testkit::{Memcached, example_output};

#[test]
fn the_example_prints_what_it_documents() {
    let memcached = Memcached::start(&[]);
    let printed = example_output(env!("CARGO_MANIFEST_DIR"), "shared", &memcached);
    assert_eq!(printed, "the server is called\nresponse: Hello\nresponse: Hello\n");
}
