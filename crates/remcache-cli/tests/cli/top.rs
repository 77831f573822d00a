//! `top`: the screen as a terminal shows it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use remcache_testkit::Memcached;
use rustix::process::{Signal, kill_process};

use crate::tool::{Running, remcache};

/// An address that nothing listens on.
const DEAD: &str = "127.0.0.1:1";

#[test]
fn it_shows_servers_up_and_down_and_restores_the_terminal() {
    let server = Memcached::start(&[]);
    remcache(["set", "k", "v"]).servers(server.addr()).run().exits(0);
    let mut top = remcache(["top", "-i", "50ms"]).servers(format!("{},{DEAD}", server.addr())).live(12, 110);
    let text = top.shows("1/2 up");
    assert!(text.contains("GET/s") && text.contains("1 overview"), "{text}");
    let text = top.shows("DOWN: ");
    assert!(text.lines().any(|line| line.starts_with(DEAD) && line.contains("refused")), "{text}");
    // The slab classes of the selected server, its LRU, its connections, and the events.
    top.types("2");
    top.shows("CHUNK");
    top.shows("96B");
    top.types("3");
    top.shows("EVICTED");
    top.types("5");
    top.shows("IDLE");
    top.types("6");
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
fn it_shows_a_server_that_goes_down_and_recovers() {
    let mut server = Memcached::start(&[]);
    let mut top = remcache(["top", "-i", "50ms", "--timeout", "200ms"]).servers(server.addr()).live(12, 100);
    top.shows("1/1 up");
    server.kill();
    top.shows("0/1 up");
    top.shows("DOWN: ");
    server.restart();
    top.shows("1/1 up");
    top.types("6");
    top.shows("responds again");
    top.types("\x03");
    assert_eq!(top.ends(), (Some(0), true));
}

#[test]
fn a_signal_restores_the_terminal() {
    let server = Memcached::start(&[]);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let top = remcache(["top"]).servers(server.addr()).live(5, 20);
        top.shows("1/1 up");
        kill_process(top.pid(), signal).unwrap();
        assert_eq!(top.ends(), (Some(130), true), "{signal:?}");
    }
}

#[test]
fn twenty_columns_show_the_essentials() {
    let server = Memcached::start(&[]);
    let mut top = remcache(["top", "-i", "50ms"]).servers(format!("{},{DEAD}", server.addr())).live(8, 20);
    let text = top.shows("DOWN: ");
    assert!(text.starts_with("1/2 up") && text.contains("HIT%") && text.contains("? help"), "{text}");
    for (key, title) in [("2", "2 slabs"), ("3", "3 LRU"), ("4", "4 prefixes"), ("5", "5 conns"), ("6", "6 events")] {
        top.types(key);
        top.shows(title);
    }
    top.types("?");
    top.shows("Tab 1-6");
    top.types("q");
    assert_eq!(top.ends(), (Some(0), true));
}

#[test]
fn prefixes_are_counted_on_request_and_until_the_end() {
    let server = Memcached::start(&[]);
    let is_counting = || {
        let settings = remcache(["stats", "settings", "-f", "ndjson"]).servers(server.addr()).run().exits(0).json();
        settings["stats"]["detail_enabled"] == "yes"
    };
    let mut top = remcache(["top", "-i", "50ms"]).servers(server.addr()).live(12, 100);
    top.shows("1/1 up");
    top.types("4");
    top.shows("prefixes are not counted");
    top.types("d");
    top.shows("which costs it a lock for each command? y/n");
    top.types("n");
    assert!(!is_counting());
    top.types("dy");
    top.shows("no key with a prefix yet");
    assert!(is_counting());
    // memcached does not count meta commands.
    for words in [&["set", "user:1", "v"][..], &["get", "user:1"]] {
        remcache(words.iter().chain(&["--protocol", "binary"])).servers(server.addr()).run().exits(0);
    }
    let text = top.shows("user ");
    assert!(text.contains("PREFIX") && text.contains("SHARE"), "{text}");
    top.types("q");
    assert_eq!(top.ends(), (Some(0), true));
    assert!(!is_counting());
}

#[test]
fn prefix_counting_enabled_by_another_client_is_not_disabled() {
    let server = Memcached::start(&[]);
    let mut admin = TcpStream::connect(server.addr()).unwrap();
    admin.write_all(b"stats detail on\r\n").unwrap();
    admin.read_exact(&mut [0; 4]).unwrap();
    let mut top = remcache(["top", "-i", "50ms"]).servers(server.addr()).live(12, 100);
    top.types("4");
    top.shows("no key with a prefix yet");
    top.types("d");
    top.shows("it is left as it is");
    top.types("q");
    assert_eq!(top.ends(), (Some(0), true));
    let settings = remcache(["stats", "settings", "-f", "ndjson"]).servers(server.addr()).run().exits(0).json();
    assert_eq!(settings["stats"]["detail_enabled"], "yes");
}

#[test]
fn a_signal_stops_the_counting_of_prefixes() {
    let server = Memcached::start(&[]);
    let mut top = remcache(["top", "-i", "50ms"]).servers(server.addr()).live(12, 100);
    top.types("4");
    top.shows("prefixes are not counted");
    top.types("dy");
    top.shows("no key with a prefix yet");
    kill_process(top.pid(), Signal::TERM).unwrap();
    assert_eq!(top.ends(), (Some(130), true));
    let settings = remcache(["stats", "settings", "-f", "ndjson"]).servers(server.addr()).run().exits(0).json();
    assert_eq!(settings["stats"]["detail_enabled"], "no");
}

#[test]
fn the_log_of_the_selected_server_is_followed() {
    let server = Memcached::start(&[]);
    let mut top = remcache(["top", "-i", "50ms"]).servers(server.addr()).live(20, 100);
    top.shows("1/1 up");
    top.types("6");
    top.shows("evictions");
    top.types("w");
    top.shows("mutations");
    // Events before the start of the log are not reported, so the command is repeated.
    let begun = std::time::Instant::now();
    while !top.text().contains("item_store") {
        remcache(["set", "seen-in-the-log", "v"]).servers(server.addr()).run().exits(0);
        assert!(begun.elapsed().as_secs() < 20, "{}", top.text());
    }
    top.shows("seen-in-the-log");
    top.types("q");
    assert_eq!(top.ends(), (Some(0), true));
}

#[test]
fn five_hundred_servers_most_of_them_down() {
    let server = Memcached::start(&[]);
    let dead: String = (1..500).map(|port| format!(",127.0.0.1:{port}")).collect();
    let top = remcache(["top", "-i", "200ms", "--timeout", "20s", "--connect-timeout", "20s"]);
    let mut top = top.servers(format!("{}{dead}", server.addr())).live(30, 120);
    top.shows("1/500 up");
    top.types("sr");
    top.shows("sort: SERVER reversed");
    top.types("q");
    assert_eq!(top.ends(), (Some(0), true));
}

#[test]
fn five_hundred_servers_that_are_up() {
    let top = remcache(["top", "-i", "1s", "--embedded", "500", "--embedded-memory", "1m", "--timeout", "20s"]);
    let mut top = top.live(30, 140);
    top.shows("500/500 up");
    let text = top.shows("PING");
    assert!(text.contains("10s%") && text.contains("VERSION"), "{text}");
    // The page is about the last server when it is selected, and the list shows it.
    // Before the statistics arrive, the page shows the name, a colon and a message.
    let name = |line: &str| line.split(' ').next().unwrap().trim_end_matches(':').to_owned();
    let first = name(text.lines().nth(3).unwrap());
    top.types("G5");
    let last = name(top.shows("IDLE").lines().nth(2).unwrap());
    assert_ne!(first, last);
    top.types("1");
    let is_at_the_end = |text: &str| text.lines().rev().nth(1).is_some_and(|line| name(line) == last);
    top.shows_what(is_at_the_end, "the end of the list");
    top.types("q");
    assert_eq!(top.ends(), (Some(0), true));
}

#[test]
fn rates_hits_and_order_are_correct() {
    let (busy, idle) = (Memcached::start(&[]), Memcached::start(&[]));
    let load = remcache(["bench", "--time", "1h", "--rate", "200", "--keys", "10", "--timeout", "60s"]);
    let _load = Running(load.servers(busy.addr()).spawn());
    let list = format!("{},{}", idle.addr(), busy.addr());
    let mut top = remcache(["top", "-i", "200ms", "--timeout", "20s"]).servers(&list).live(12, 200);
    let row = |text: &str, server: &Memcached| {
        let line = text.lines().find(|line| line.starts_with(&server.addr())).map(str::to_owned);
        line.unwrap_or_else(|| panic!("{} in {text}", server.addr()))
    };
    // The column of the latest interval, and that since the start.
    let is_hit = |text: &str| text.contains("2/2 up") && row(text, &busy).matches("100.0").count() > 1;
    let text = top.shows_what(|text| is_hit(text) && text.contains('█'), "hits, and curves of them");
    assert!(!row(&text, &idle).contains("100.0"), "{text}");
    // By gets per second the busy server is the first, and in reverse order the last.
    let place = |text: &str, server: &Memcached| text.lines().position(|line| line.starts_with(&server.addr()));
    let is_first = |text: &str, one: &Memcached, other: &Memcached| place(text, one) < place(text, other);
    assert!(is_first(&text, &idle, &busy), "{text}");
    top.types("sss");
    top.shows("sort: GET/s");
    top.shows_what(|text| is_first(text, &busy, &idle), "the busy one first");
    top.types("r");
    top.shows("GET/s reversed");
    top.shows_what(|text| is_first(text, &idle, &busy), "the busy one last");
    top.types(&format!("/{}", busy.addr().rsplit(':').next().unwrap()));
    let text = top.shows_what(|text| text.contains("filter: ") && !text.contains(&idle.addr()), "one server alone");
    assert!(text.contains(&busy.addr()), "{text}");
    top.types("\x1b");
    top.shows(&idle.addr());
    top.types("q");
    assert_eq!(top.ends(), (Some(0), true));
}

#[test]
fn long_pages_can_be_scrolled() {
    let server = Memcached::start(&[]);
    for exponent in 5..18 {
        let value = vec![b'x'; 1 << exponent];
        remcache(["set", &format!("k{exponent}"), "-"]).servers(server.addr()).input(value).run().exits(0);
    }
    let mut top = remcache(["top", "-i", "50ms"]).servers(server.addr()).live(9, 100);
    top.shows("1/1 up");
    top.types("2");
    let text = top.shows("  1-4 of 13");
    assert!(!text.contains("148K"), "{text}");
    // It stops at the end, and one step goes back.
    top.types("\x1b[6~\x1b[6~\x1b[6~");
    top.shows("  10-13 of 13");
    top.types("\x1b[5~");
    top.shows("  3-6 of 13");
    top.types("q");
    assert_eq!(top.ends(), (Some(0), true));
}

#[test]
fn the_shown_servers_are_exported_to_a_file() {
    let server = Memcached::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let servers = format!("{},{DEAD}", server.addr());
    let mut top = remcache(["top", "-i", "50ms"]).servers(servers).directory(directory.path()).live(10, 100);
    top.shows("DOWN: ");
    top.types("e");
    top.shows("written: remcache-top-");
    let files: Vec<_> = std::fs::read_dir(directory.path()).unwrap().flatten().map(|entry| entry.path()).collect();
    let list: serde_json::Value = serde_json::from_slice(&std::fs::read(&files[0]).unwrap()).unwrap();
    assert_eq!((files.len(), &list[0]["server"]), (1, &server.addr().into()));
    assert!(list[0]["items"].is_u64() && list[0]["ping_us"].is_f64() && list[1]["error"].is_string(), "{list}");
    top.types("q");
    assert_eq!(top.ends(), (Some(0), true));
}

#[test]
fn a_pause_freezes_the_screen_until_it_ends() {
    let server = Memcached::start(&[]);
    let mut top = remcache(["top", "-i", "50ms"]).servers(server.addr()).live(10, 100);
    top.shows(" 0 items");
    top.types("p");
    top.shows("PAUSED");
    remcache(["set", "k", "v"]).servers(server.addr()).run().exits(0);
    // Ten polls would have changed the screen in this time.
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(top.text().contains(" 0 items"), "{}", top.text());
    top.types("p");
    top.shows(" 1 items");
    top.types("q");
    assert_eq!(top.ends(), (Some(0), true));
}

#[test]
fn the_screen_follows_the_size_of_the_terminal() {
    let server = Memcached::start(&[]);
    let mut top = remcache(["top", "-i", "50ms"]).servers(server.addr()).live(10, 30);
    let text = top.shows("HIT%");
    assert!(!text.contains("VERSION"), "{text}");
    top.resizes(10, 160);
    top.shows("VERSION");
    top.shows("6 events");
    top.types("q");
    assert_eq!(top.ends(), (Some(0), true));
}

#[test]
fn without_a_terminal_it_names_the_alternative() {
    remcache(["top"]).servers(DEAD).run().exits(2).complains_of("stats --watch");
}

#[test]
fn forty_columns_show_whole_numbers() {
    let server = Memcached::start(&[]);
    remcache(["set", "k", "v"]).servers(server.addr()).run().exits(0);
    let mut top = remcache(["top", "-i", "50ms"]).servers(server.addr()).live(9, 40);
    top.types("2");
    let text = top.shows("96B");
    let titles = text.lines().nth(3).unwrap();
    assert!(titles.contains("USED") && titles.contains("FREE") && !titles.contains("HITS"), "{text}");
    assert!(text.contains("(left out: "), "{text}");
    // One item of one class, and the free chunks of its page.
    let row: Vec<_> = text.lines().nth(4).unwrap().split_whitespace().map(str::to_owned).collect();
    assert_eq!(row, ["1", "96B", "1", "1", "10.9k"], "{text}");
    top.types("q");
    assert_eq!(top.ends(), (Some(0), true));
}
