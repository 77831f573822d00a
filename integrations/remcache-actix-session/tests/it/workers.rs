//! The example: an application with four workers that share one client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;

use remcache_testkit::{Memcached, example};

/// A process of the example, killed when it is dropped.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn start(memcached: &Memcached) -> Self {
        let mut program = Command::new(example(env!("CARGO_MANIFEST_DIR"), "visits"));
        let mut child = program.arg(memcached.addr()).stdout(Stdio::piped()).spawn().expect("the example runs");
        let mut address = String::new();
        let stdout = child.stdout.take().expect("the output is piped");
        BufReader::new(stdout).read_line(&mut address).expect("the output is text");
        Self { child, address: address.trim().to_owned() }
    }

    /// Sends a request on a new connection, which any worker may get; returns the cookie that is set and the response.
    fn get(&self, cookie: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).expect("the process listens");
        let request = format!("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("the process reads");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response");
        let cookie = response.lines().find_map(|line| line.strip_prefix("set-cookie: ")?.split(';').next());
        (cookie.unwrap_or_default().to_owned(), response)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn four_workers_share_sessions_through_one_client() {
    let mut memcached = Memcached::start(&[]);
    let process = Process::start(&memcached);
    let cookies: Vec<String> = thread::scope(|scope| {
        let visitors: Vec<_> = (0..20).map(|_| scope.spawn(|| visit(&process))).collect();
        visitors.into_iter().map(|visitor| visitor.join().expect("a visitor does not panic")).collect()
    });
    memcached.kill();
    let (_, response) = process.get(&cookies[0]);
    assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("1 visits"), "{response}");
    memcached.restart();
    memcached.stop();
    let (_, response) = process.get(&cookies[0]);
    assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("1 visits"), "{response}");
}

/// Visits several times, and returns the cookie.
fn visit(process: &Process) -> String {
    let (mut cookie, response) = process.get("");
    assert!(response.ends_with("1 visits"), "{response}");
    for visits in 2..12 {
        let (next, response) = process.get(&cookie);
        assert!(response.ends_with(&format!("{visits} visits")), "{response}");
        cookie = next;
    }
    cookie
}
