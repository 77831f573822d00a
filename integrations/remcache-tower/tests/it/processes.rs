//! Several processes and one memcached.

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
        let mut program = Command::new(example(env!("CARGO_MANIFEST_DIR"), "rate_limit"));
        let mut child = program.arg(memcached.addr()).stdout(Stdio::piped()).spawn().expect("the example runs");
        let mut address = String::new();
        let stdout = child.stdout.take().expect("the output is piped");
        BufReader::new(stdout).read_line(&mut address).expect("the output is text");
        Self { child, address: address.trim().to_owned() }
    }

    /// Sends a request and returns the status line of the response.
    fn get(&self) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("the process listens");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").expect("the process reads");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response");
        response.lines().next().unwrap_or_default().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn four_processes_let_through_exactly_the_limit() {
    let memcached = Memcached::start(&[]);
    let processes: Vec<Process> = (0..4).map(|_| Process::start(&memcached)).collect();
    let responses: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = processes
            .iter()
            .flat_map(|process| [process, process])
            .map(|process| scope.spawn(|| (0..25).map(|_| process.get()).collect::<Vec<_>>()))
            .collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client does not panic")).collect()
    });
    let count = |status: &str| responses.iter().filter(|response| response.contains(status)).count();
    assert_eq!((count(" 200 "), count(" 429 ")), (100, 100), "{responses:?}");
}
