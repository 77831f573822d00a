//! `top`: the screen as a terminal shows it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use remcache_testkit::Memcached;
use rustix::process::{Signal, kill_process};

use crate::tool::{KillOnDrop, remcache};

/// An address that nothing listens on.
const DEAD: &str = "127.0.0.1:1";

#[test]
fn it_shows_servers_up_and_down_and_restores_the_terminal() {
    let server = Memcached::start(&[]);
    remcache(["set", "k", "v"]).servers(server.addr()).run().exits(0);
    let mut top =
        remcache(["top", "-i", "50ms"]).servers(format!("{},{DEAD}", server.addr())).start_on_terminal(12, 110);
    let text = top.wait_for_text("1/2 up");
    assert!(text.contains("GET/s") && text.contains("1 overview"), "{text}");
    let text = top.wait_for_text("DOWN: ");
    assert!(text.lines().any(|line| line.starts_with(DEAD) && line.contains("refused")), "{text}");
    // The slab classes of the selected server, its LRU, its connections, and the events.
    top.press("2");
    top.wait_for_text("CHUNK");
    top.wait_for_text("96B");
    top.press("3");
    top.wait_for_text("EVICTED");
    top.press("5");
    top.wait_for_text("IDLE");
    top.press("6");
    top.wait_for_text("down: ");
    top.press("1?");
    top.wait_for_text("select a server");
    top.press("?/:1");
    top.press("\r");
    top.wait_for_text("filter: :1");
    top.press("q");
    assert_eq!(top.wait_for_exit(), (Some(0), true));
}

#[test]
fn it_shows_a_server_that_goes_down_and_recovers() {
    let mut server = Memcached::start(&[]);
    let mut top =
        remcache(["top", "-i", "50ms", "--timeout", "200ms"]).servers(server.addr()).start_on_terminal(12, 100);
    top.wait_for_text("1/1 up");
    server.kill();
    top.wait_for_text("0/1 up");
    top.wait_for_text("DOWN: ");
    server.restart();
    top.wait_for_text("1/1 up");
    top.press("6");
    top.wait_for_text("responds again");
    top.press("\x03");
    assert_eq!(top.wait_for_exit(), (Some(0), true));
}

#[test]
fn a_signal_restores_the_terminal() {
    let server = Memcached::start(&[]);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let top = remcache(["top"]).servers(server.addr()).start_on_terminal(5, 20);
        top.wait_for_text("1/1 up");
        kill_process(top.pid(), signal).unwrap();
        assert_eq!(top.wait_for_exit(), (Some(130), true), "{signal:?}");
    }
}

#[test]
fn twenty_columns_show_the_essentials() {
    let server = Memcached::start(&[]);
    let mut top = remcache(["top", "-i", "50ms"]).servers(format!("{},{DEAD}", server.addr())).start_on_terminal(8, 20);
    let text = top.wait_for_text("DOWN: ");
    assert!(text.starts_with("1/2 up") && text.contains("HIT%") && text.contains("? help"), "{text}");
    for (key, title) in [("2", "2 slabs"), ("3", "3 LRU"), ("4", "4 prefixes"), ("5", "5 conns"), ("6", "6 events")] {
        top.press(key);
        top.wait_for_text(title);
    }
    top.press("?");
    top.wait_for_text("Tab 1-6");
    top.press("q");
    assert_eq!(top.wait_for_exit(), (Some(0), true));
}

#[test]
fn prefixes_are_counted_on_request_and_until_the_end() {
    let server = Memcached::start(&[]);
    let is_counting = || {
        let settings = remcache(["stats", "settings", "-f", "ndjson"]).servers(server.addr()).run().exits(0).json();
        settings["stats"]["detail_enabled"] == "yes"
    };
    let mut top = remcache(["top", "-i", "50ms"]).servers(server.addr()).start_on_terminal(12, 100);
    top.wait_for_text("1/1 up");
    top.press("4");
    top.wait_for_text("prefixes are not counted");
    top.press("d");
    top.wait_for_text("which costs it a lock for each command? y/n");
    top.press("n");
    assert!(!is_counting());
    top.press("dy");
    top.wait_for_text("no key with a prefix yet");
    assert!(is_counting());
    // memcached does not count meta commands.
    for words in [&["set", "user:1", "v"][..], &["get", "user:1"]] {
        remcache(words.iter().chain(&["--protocol", "binary"])).servers(server.addr()).run().exits(0);
    }
    let text = top.wait_for_text("user ");
    assert!(text.contains("PREFIX") && text.contains("SHARE"), "{text}");
    top.press("q");
    assert_eq!(top.wait_for_exit(), (Some(0), true));
    assert!(!is_counting());
}

#[test]
fn prefix_counting_enabled_by_another_client_is_not_disabled() {
    let server = Memcached::start(&[]);
    let mut admin = TcpStream::connect(server.addr()).unwrap();
    admin.write_all(b"stats detail on\r\n").unwrap();
    admin.read_exact(&mut [0; 4]).unwrap();
    let mut top = remcache(["top", "-i", "50ms"]).servers(server.addr()).start_on_terminal(12, 100);
    top.press("4");
    top.wait_for_text("no key with a prefix yet");
    top.press("d");
    top.wait_for_text("it is left as it is");
    top.press("q");
    assert_eq!(top.wait_for_exit(), (Some(0), true));
    let settings = remcache(["stats", "settings", "-f", "ndjson"]).servers(server.addr()).run().exits(0).json();
    assert_eq!(settings["stats"]["detail_enabled"], "yes");
}

#[test]
fn a_signal_stops_the_counting_of_prefixes() {
    let server = Memcached::start(&[]);
    let mut top = remcache(["top", "-i", "50ms"]).servers(server.addr()).start_on_terminal(12, 100);
    top.press("4");
    top.wait_for_text("prefixes are not counted");
    top.press("dy");
    top.wait_for_text("no key with a prefix yet");
    kill_process(top.pid(), Signal::TERM).unwrap();
    assert_eq!(top.wait_for_exit(), (Some(130), true));
    let settings = remcache(["stats", "settings", "-f", "ndjson"]).servers(server.addr()).run().exits(0).json();
    assert_eq!(settings["stats"]["detail_enabled"], "no");
}

#[test]
fn the_log_of_the_selected_server_is_followed() {
    let server = Memcached::start(&[]);
    let mut top = remcache(["top", "-i", "50ms"]).servers(server.addr()).start_on_terminal(20, 100);
    top.wait_for_text("1/1 up");
    top.press("6");
    top.wait_for_text("evictions");
    top.press("w");
    top.wait_for_text("mutations");
    // Events before the start of the log are not reported, so the command is repeated.
    let started = std::time::Instant::now();
    while !top.text().contains("item_store") {
        remcache(["set", "seen-in-the-log", "v"]).servers(server.addr()).run().exits(0);
        assert!(started.elapsed().as_secs() < 20, "{}", top.text());
    }
    top.wait_for_text("seen-in-the-log");
    top.press("q");
    assert_eq!(top.wait_for_exit(), (Some(0), true));
}

#[test]
fn five_hundred_servers_most_of_them_down() {
    let server = Memcached::start(&[]);
    let dead: String = (1..500).map(|port| format!(",127.0.0.1:{port}")).collect();
    let top = remcache(["top", "-i", "200ms", "--timeout", "20s", "--connect-timeout", "20s"]);
    let mut top = top.servers(format!("{}{dead}", server.addr())).start_on_terminal(30, 120);
    top.wait_for_text("1/500 up");
    top.press("sr");
    top.wait_for_text("sort: SERVER reversed");
    top.press("q");
    assert_eq!(top.wait_for_exit(), (Some(0), true));
}

#[test]
fn five_hundred_servers_that_are_up() {
    let top = remcache(["top", "-i", "1s", "--embedded", "500", "--embedded-memory", "1m", "--timeout", "20s"]);
    let mut top = top.start_on_terminal(30, 140);
    top.wait_for_text("500/500 up");
    let text = top.wait_for_text("PING");
    assert!(text.contains("10s%") && text.contains("VERSION"), "{text}");
    // The page is about the last server when it is selected, and the list shows it.
    // Before the statistics arrive, the page shows the name, a colon and a message.
    let name = |line: &str| line.split(' ').next().unwrap().trim_end_matches(':').to_owned();
    let first = name(text.lines().nth(3).unwrap());
    top.press("G5");
    let last = name(top.wait_for_text("IDLE").lines().nth(2).unwrap());
    assert_ne!(first, last);
    top.press("1");
    let is_at_the_end = |text: &str| text.lines().rev().nth(1).is_some_and(|line| name(line) == last);
    top.wait_until(is_at_the_end, "the end of the list");
    top.press("q");
    assert_eq!(top.wait_for_exit(), (Some(0), true));
}

#[test]
fn rates_hits_and_order_are_correct() {
    let (busy, idle) = (Memcached::start(&[]), Memcached::start(&[]));
    let load = remcache(["bench", "--time", "1h", "--rate", "200", "--keys", "10", "--timeout", "60s"]);
    let _load = KillOnDrop(load.servers(busy.addr()).spawn());
    let list = format!("{},{}", idle.addr(), busy.addr());
    let mut top = remcache(["top", "-i", "200ms", "--timeout", "20s"]).servers(&list).start_on_terminal(12, 200);
    let row = |text: &str, server: &Memcached| {
        let line = text.lines().find(|line| line.starts_with(&server.addr())).map(str::to_owned);
        line.unwrap_or_else(|| panic!("{} in {text}", server.addr()))
    };
    // The column of the latest interval, and that since the start.
    let is_hit = |text: &str| text.contains("2/2 up") && row(text, &busy).matches("100.0").count() > 1;
    let text = top.wait_until(|text| is_hit(text) && text.contains('█'), "hits, and curves of them");
    assert!(!row(&text, &idle).contains("100.0"), "{text}");
    // By gets per second the busy server is the first, and in reverse order the last.
    let row_of = |text: &str, server: &Memcached| text.lines().position(|line| line.starts_with(&server.addr()));
    let is_first = |text: &str, one: &Memcached, other: &Memcached| row_of(text, one) < row_of(text, other);
    assert!(is_first(&text, &idle, &busy), "{text}");
    top.press("sss");
    top.wait_for_text("sort: GET/s");
    top.wait_until(|text| is_first(text, &busy, &idle), "the busy one first");
    top.press("r");
    top.wait_for_text("GET/s reversed");
    top.wait_until(|text| is_first(text, &idle, &busy), "the busy one last");
    top.press(&format!("/{}", busy.addr().rsplit(':').next().unwrap()));
    let text = top.wait_until(|text| text.contains("filter: ") && !text.contains(&idle.addr()), "one server alone");
    assert!(text.contains(&busy.addr()), "{text}");
    top.press("\x1b");
    top.wait_for_text(&idle.addr());
    top.press("q");
    assert_eq!(top.wait_for_exit(), (Some(0), true));
}

#[test]
fn long_pages_can_be_scrolled() {
    let server = Memcached::start(&[]);
    for exponent in 5..18 {
        let value = vec![b'x'; 1 << exponent];
        remcache(["set", &format!("k{exponent}"), "-"]).servers(server.addr()).input(value).run().exits(0);
    }
    let mut top = remcache(["top", "-i", "50ms"]).servers(server.addr()).start_on_terminal(9, 100);
    top.wait_for_text("1/1 up");
    top.press("2");
    let text = top.wait_for_text("  1-4 of 13");
    assert!(!text.contains("148K"), "{text}");
    // It stops at the end, and one step goes back.
    top.press("\x1b[6~\x1b[6~\x1b[6~");
    top.wait_for_text("  10-13 of 13");
    top.press("\x1b[5~");
    top.wait_for_text("  3-6 of 13");
    top.press("q");
    assert_eq!(top.wait_for_exit(), (Some(0), true));
}

#[test]
fn the_shown_servers_are_exported_to_a_file() {
    let server = Memcached::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let servers = format!("{},{DEAD}", server.addr());
    let mut top =
        remcache(["top", "-i", "50ms"]).servers(servers).directory(directory.path()).start_on_terminal(10, 100);
    top.wait_for_text("DOWN: ");
    top.press("e");
    top.wait_for_text("written: remcache-top-");
    let files: Vec<_> = std::fs::read_dir(directory.path()).unwrap().flatten().map(|entry| entry.path()).collect();
    let list: serde_json::Value = serde_json::from_slice(&std::fs::read(&files[0]).unwrap()).unwrap();
    assert_eq!((files.len(), &list[0]["server"]), (1, &server.addr().into()));
    assert!(list[0]["items"].is_u64() && list[0]["ping_us"].is_f64() && list[1]["error"].is_string(), "{list}");
    top.press("q");
    assert_eq!(top.wait_for_exit(), (Some(0), true));
}

#[test]
fn a_pause_freezes_the_screen_until_it_ends() {
    let server = Memcached::start(&[]);
    let mut top = remcache(["top", "-i", "50ms"]).servers(server.addr()).start_on_terminal(10, 100);
    top.wait_for_text(" 0 items");
    top.press("p");
    top.wait_for_text("PAUSED");
    remcache(["set", "k", "v"]).servers(server.addr()).run().exits(0);
    // Ten polls would have changed the screen in this time.
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(top.text().contains(" 0 items"), "{}", top.text());
    top.press("p");
    top.wait_for_text(" 1 items");
    top.press("q");
    assert_eq!(top.wait_for_exit(), (Some(0), true));
}

#[test]
fn the_screen_follows_the_size_of_the_terminal() {
    let server = Memcached::start(&[]);
    let mut top = remcache(["top", "-i", "50ms"]).servers(server.addr()).start_on_terminal(10, 30);
    let text = top.wait_for_text("HIT%");
    assert!(!text.contains("VERSION"), "{text}");
    top.resize(10, 160);
    top.wait_for_text("VERSION");
    top.wait_for_text("6 events");
    top.press("q");
    assert_eq!(top.wait_for_exit(), (Some(0), true));
}

#[test]
fn without_a_terminal_it_names_the_alternative() {
    remcache(["top"]).servers(DEAD).run().exits(2).reports_error("stats --watch");
}

#[test]
fn forty_columns_show_whole_numbers() {
    let server = Memcached::start(&[]);
    remcache(["set", "k", "v"]).servers(server.addr()).run().exits(0);
    let mut top = remcache(["top", "-i", "50ms"]).servers(server.addr()).start_on_terminal(9, 40);
    top.press("2");
    let text = top.wait_for_text("96B");
    let titles = text.lines().nth(3).unwrap();
    assert!(titles.contains("USED") && titles.contains("FREE") && !titles.contains("HITS"), "{text}");
    assert!(text.contains("(left out: "), "{text}");
    // One item of one class, and the free chunks of its page.
    let row: Vec<_> = text.lines().nth(4).unwrap().split_whitespace().map(str::to_owned).collect();
    assert_eq!(row, ["1", "96B", "1", "1", "10.9k"], "{text}");
    top.press("q");
    assert_eq!(top.wait_for_exit(), (Some(0), true));
}
