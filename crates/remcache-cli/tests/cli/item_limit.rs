//! Values around a server's item size limit: they are stored, or the existing item is kept.

use remcache_testkit::Memcached;
use serde_json::json;

use crate::tool::{Run, remcache};

const PROTOCOLS: [&str; 3] = ["binary", "meta", "text"];

fn store(server: &Memcached, args: &[&str], value: usize) -> Run {
    remcache(args).servers(server.addr()).input(vec![b'x'; value]).run()
}

fn value(server: &Memcached, key: &str) -> Vec<u8> {
    remcache(["get", key]).servers(server.addr()).run().exits(0).stdout
}

/// Returns the length of the longest value that memcached accepts for a key of three bytes.
const fn longest(limit: usize, has_flags: bool, has_cas: bool) -> usize {
    limit - 51 - 3 - if has_flags { 4 } else { 0 } - if has_cas { 8 } else { 0 }
}

#[test]
fn set_refuses_a_value_one_byte_too_long_and_keeps_the_old_one() {
    let servers = [
        (&["-I", "1m"][..], 1 << 20, true),
        (&["-I", "512k", "-C"], 512 << 10, false),
        (&["-I", "4k", "-o", "slab_chunk_max=4096"], 4 << 10, true),
    ];
    for (options, limit, has_cas) in servers {
        let server = Memcached::start(options);
        for protocol in PROTOCOLS {
            for flags in ["0", "7"] {
                let args = ["set", "big", "-", "--flags", flags, "--protocol", protocol];
                let longest = longest(limit, flags != "0", has_cas);
                store(&server, &args, longest).exits(0);
                assert_eq!(value(&server, "big").len(), longest, "{options:?}, {protocol}");
                remcache(["set", "big", "old"]).servers(server.addr()).run().exits(0);
                let refused = store(&server, &args, longest + 1).exits(5);
                for number in [limit, limit + 1] {
                    assert!(refused.stderr.contains(&number.to_string()), "exact numbers: {refused:?}");
                }
                for verb in ["add", "replace"] {
                    let args = [verb, "big", "-", "--flags", flags, "--protocol", protocol];
                    store(&server, &args, longest + 1).exits(5);
                }
                assert_eq!(value(&server, "big"), b"old", "{options:?}, {protocol}");
            }
        }
    }
}

#[test]
fn load_keeps_the_old_value_if_the_new_one_is_too_large() {
    let server = Memcached::start(&[]);
    for add in [&["--add"][..], &[]] {
        for protocol in PROTOCOLS {
            remcache(["set", "big", "old"]).servers(server.addr()).run().exits(0);
            let too_long = "x".repeat(longest(1 << 20, false, true) + 1);
            let line = format!("{}\n", json!({"key": "big", "value": too_long}));
            let args = [&["load", "-", "--protocol", protocol], add].concat();
            let loaded = remcache(args).servers(server.addr()).input(line).run().exits(1);
            assert!(loaded.stderr.contains("too large 1"), "{loaded:?}");
            assert_eq!(value(&server, "big"), b"old", "{protocol}, {add:?}");
        }
    }
}

#[test]
fn copy_keeps_the_value_of_the_destination_if_the_new_one_is_too_large() {
    let (from, to) = (Memcached::start(&["-I", "2m"]), Memcached::start(&[]));
    store(&from, &["set", "big", "-"], longest(1 << 20, false, true) + 1).exits(0);
    store(&from, &["set", "fit", "-"], longest(1 << 20, false, true)).exits(0);
    for key in ["big", "other"] {
        remcache(["set", key, "old"]).servers(to.addr()).run().exits(0);
    }
    let copied = remcache(["copy", "--timeout", "20s", "--from", &from.addr(), "--to", &to.addr()]).run().exits(1);
    assert!(copied.stderr.contains("1 copied  skipped: too large 1"), "{copied:?}");
    assert_eq!(value(&to, "big"), b"old");
    assert_eq!(value(&to, "fit").len(), longest(1 << 20, false, true));
}

#[test]
fn a_value_that_grows_too_large_is_reported() {
    let server = Memcached::start(&[]);
    remcache(["set", "k", "v"]).servers(server.addr()).run().exits(0);
    for command in ["append", "prepend"] {
        remcache([command, "k", "-"]).servers(server.addr()).input(vec![b'x'; 1_048_000]).run().exits(0);
        let run = remcache([command, "k", "-"]).servers(server.addr()).input(vec![b'x'; 1_000]).run().exits(5);
        assert!(run.stderr.contains("the value would be too large"), "{run:?}");
        remcache(["set", "k", "v"]).servers(server.addr()).run().exits(0);
    }
}
