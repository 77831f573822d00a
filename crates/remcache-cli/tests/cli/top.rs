//! `top`: the screen as a terminal shows it.

use remcache_testkit::Memcached;
use rustix::process::{Signal, kill_process};

use crate::tool::remcache;

/// Nobody listens there.
const DEAD: &str = "127.0.0.1:1";

#[test]
fn it_shows_the_living_and_the_dead_and_leaves_the_terminal_as_it_was() {
    let server = Memcached::start(&[]);
    remcache(["set", "k", "v"]).servers(server.addr()).run().exits(0);
    let mut top = remcache(["top", "-i", "50ms"]).servers(format!("{},{DEAD}", server.addr())).live(12, 110);
    let text = top.shows("1/2 up");
    assert!(text.contains("GET/s") && text.contains("1 overview"), "{text}");
    let text = top.shows("DOWN: ");
    assert!(text.lines().any(|line| line.starts_with(DEAD) && line.contains("refused")), "{text}");
    // Slab classes of the selected server, its LRU, its connections, and what happened.
    top.types("2");
    top.shows("CHUNK");
    top.shows("96B");
    top.types("3");
    top.shows("EVICTED");
    top.types("4");
    top.shows("SILENT");
    top.types("5");
    top.shows("down: ");
    top.types("1?");
    top.shows("select a server");
    top.types("?/:1");
    top.types("\r");
    top.shows("filter: :1");
    top.types("q");
    assert_eq!(top.ends(), (Some(0), true));
}

#[test]
fn it_sees_a_server_go_and_come_back() {
    let mut server = Memcached::start(&[]);
    let mut top = remcache(["top", "-i", "50ms", "--timeout", "200ms"]).servers(server.addr()).live(12, 100);
    top.shows("1/1 up");
    server.kill();
    top.shows("0/1 up");
    top.shows("DOWN: ");
    server.restart();
    top.shows("1/1 up");
    top.types("5");
    top.shows("answers again");
    top.types("\x03");
    assert_eq!(top.ends(), (Some(0), true));
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let server = Memcached::start(&[]);
    for signal in [Signal::TERM, Signal::INT] {
        let top = remcache(["top"]).servers(server.addr()).live(5, 20);
        top.shows("remcache top");
        kill_process(top.pid(), signal).unwrap();
        assert_eq!(top.ends(), (Some(0), true), "{signal:?}");
    }
}

#[test]
fn five_hundred_servers_most_of_them_down() {
    let server = Memcached::start(&[]);
    let dead: String = (1..500).map(|port| format!(",127.0.0.1:{port}")).collect();
    let mut top = remcache(["top", "-i", "200ms"]).servers(format!("{}{dead}", server.addr())).live(30, 120);
    top.shows("1/500 up");
    top.types("sr");
    top.shows("sort: SERVER reversed");
    top.types("q");
    assert_eq!(top.ends(), (Some(0), true));
}

#[test]
fn without_a_terminal_it_says_what_to_use() {
    remcache(["top"]).servers(DEAD).run().exits(2).complains_of("stats --watch");
}
