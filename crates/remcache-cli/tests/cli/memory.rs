//! The memory of commands is bounded, whatever the number and size of items.
#![cfg(target_os = "linux")]

use remcache_testkit::{Memcached, scratch};

use crate::tool::remcache;

/// The documented limit of the bulk commands, in MiB.
const LIMIT: u64 = 64;

#[test]
fn a_million_keys_on_standard_input_take_little_memory() {
    let server = Memcached::start(&[]);
    let keys: String = (0..1_000_000).map(|number| format!("a key of the usual length:{number:08}\n")).collect();
    for args in [["locate", "-"], ["delete", "-"]] {
        let tool = remcache(args).arg("--timeout").arg("60s").servers(server.addr());
        let (exit, peak) = tool.input(keys.clone()).peak_memory();
        assert_eq!(exit, Some(i32::from(args[0] != "locate")), "{args:?}");
        assert!(peak < LIMIT, "{args:?}: {peak} MiB");
    }
}

#[test]
fn items_of_any_size_take_little_memory() {
    let (from, to) = (Memcached::start(&["-m", "512"]), Memcached::start(&["-m", "512"]));
    let directory = scratch();
    let file = directory.path().join("items.ndjson");
    let file = file.to_str().expect("a path in UTF-8");
    let items: String =
        (0..100).map(|number| format!("{{\"key\":\"k:{number}\",\"value\":\"{}\"}}\n", "x".repeat(900_000))).collect();
    std::fs::write(file, items).expect("the directory is writable");
    let url = |server: &Memcached| format!("memcached://{}/?timeout=60s", server.addr());
    let runs: [&[&str]; 4] = [
        &["load", file, "-s", &url(&from)],
        &["dump", file, "-s", &url(&from)],
        &["dump", "-s", &url(&from)],
        &["copy", "--from", &url(&from), "--to", &url(&to)],
    ];
    for args in runs {
        let (exit, peak) = remcache(args).peak_memory();
        assert_eq!(exit, Some(0), "{args:?}");
        assert!(peak < LIMIT, "{args:?}: {peak} MiB");
    }
}
