//! Hostile data: keys, a server with a hostile name that has them, and a server whose answers are hostile.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use remcache::config::ProtocolSetting;
use remcache::{Client, Config};
use remcache_testkit::{Memcached, scratch};
use tempfile::TempDir;

/// Keys that clear a screen, reverse a line, look like another key, end a line, run as a formula, or leave a
/// directory.
pub(super) const KEYS: &[&[u8]] = &[
    b"clear\x1b[2J\x1b]0;title\x07",
    b"c1\xc2\x9b2J",
    b"raw-c1\x9b2J",
    "reversed\u{202e}yek".as_bytes(),
    "invisible\u{200b}\u{feff}\u{e0041}".as_bytes(),
    b"line\nend",
    b"return\rcarriage",
    b"del\x7f\x08",
    b"=HYPERLINK(\"http://a.invalid\")",
    b"=1+1",
    b"@SUM(A1)",
    b"+cmd|' /C calc'!A0",
    b"../outside",
    b"\xff\xfe\x00",
];

/// A text that the other data contains.
pub(super) const EVIL: &str = "\x1b[2J\u{9b}2J\u{202e}\u{200b}\x07=1+1";

/// Characters that no output may contain.
pub(super) fn is_unsafe(c: char) -> bool {
    let is_invisible =
        matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    (c.is_control() && !matches!(c, '\n' | '\t')) || is_invisible || matches!(c, '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

pub(super) fn os_string(bytes: &[u8]) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec())
}

/// Keys that an argument can hold.
pub(super) fn arguments() -> Vec<&'static [u8]> {
    KEYS.iter().copied().filter(|key| !key.contains(&0) && !key.starts_with(b"@")).collect()
}

/// A memcached with a hostile name, and the hostile keys with hostile values.
pub(super) struct Hostile {
    pub(super) server: Memcached,
    pub(super) name: String,
    /// The directory of its socket, for other files too.
    pub(super) directory: TempDir,
}

impl Hostile {
    pub(super) fn start() -> Self {
        let directory = scratch();
        let name = directory.path().join(format!("=1+1{EVIL}.sock"));
        let name = name.to_str().expect("a path in UTF-8").to_owned();
        let server = Memcached::start_unix(&name, &["-m", "8"]);
        store(&server);
        Self { server, name, directory }
    }
}

/// Stores the hostile keys, each as its own value.
pub(super) fn store(server: &Memcached) {
    let config = Config::new().protocol(ProtocolSetting::Binary).timeout(Duration::from_secs(20));
    let client = Client::with_config([server.addr()], config).expect("an address");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for key in KEYS.iter().filter(|key| !key.contains(&0)) {
            assert!(client.set(key, key).await.expect("the server answers").is_applied());
        }
    });
}

/// A server whose version, statistics and errors are hostile.
pub(super) struct FakeServer {
    pub(super) address: String,
}

impl FakeServer {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || answer(stream));
            }
        });
        Self { address }
    }
}

fn answer(mut stream: TcpStream) {
    let Ok(reader) = stream.try_clone() else { return };
    for line in BufReader::new(reader).split(b'\n') {
        let Ok(line) = line else { return };
        let line = String::from_utf8_lossy(&line).trim().to_owned();
        let reply = match line.split(' ').next().unwrap_or_default() {
            "version" => format!("VERSION 1.6.{EVIL}\r\n"),
            "stats" => stats(),
            "get" | "gets" => "END\r\n".to_owned(),
            "mn" => "MN\r\n".to_owned(),
            _ => format!("SERVER_ERROR {EVIL}\r\n"),
        };
        if stream.write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}

/// Statistics of all groups at once.
fn stats() -> String {
    let lines = [
        format!("version 1.6.{EVIL}"),
        "pid 1".to_owned(),
        "uptime 5".to_owned(),
        "curr_items 1".to_owned(),
        format!("{EVIL} {EVIL}"),
        format!("items:1:number {EVIL}"),
        format!("items:1:{EVIL} 1"),
        format!("1:chunk_size {EVIL}"),
        format!("5:addr {EVIL}"),
        format!("5:state {EVIL}"),
        format!("evictions {EVIL}"),
        format!("hash_algorithm {EVIL}"),
    ];
    lines.map(|line| format!("STAT {line}\r\n")).concat() + "END\r\n"
}
