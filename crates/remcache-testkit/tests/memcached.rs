//! The real server: it starts, answers, dies, comes back, falls silent.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use remcache_testkit::{Memcached, SASL_PASSWORD, SASL_USER, scratch};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

fn ask(mut stream: impl Read + Write, line: &str) -> String {
    stream.write_all(line.as_bytes()).unwrap();
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply).unwrap();
    reply
}

fn ask_server(server: &Memcached, line: &str) -> String {
    ask(TcpStream::connect(server.addr()).unwrap(), line)
}

fn is_alive(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_server_answers_on_a_port() {
    let server = Memcached::start(&[]);
    assert_eq!(server.addr(), format!("127.0.0.1:{}", server.port()));
    assert!(ask_server(&server, "version\r\n").starts_with("VERSION "));
}

#[test]
fn a_server_answers_on_a_socket() {
    let dir = scratch();
    let server = Memcached::start_unix(dir.path().join("socket"), &[]);
    let stream = UnixStream::connect(server.addr()).unwrap();
    assert!(ask(stream, "version\r\n").starts_with("VERSION "));
}

#[test]
fn arguments_reach_the_server() {
    let server = Memcached::start(&["-I", "2m"]);
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.write_all(b"stats settings\r\n").unwrap();
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    let limit = lines.into_iter().find(|line| line.starts_with("STAT item_size_max "));
    assert_eq!(limit.as_deref(), Some("STAT item_size_max 2097152"));
}

#[test]
fn servers_started_together_do_not_meet() {
    let pids: Vec<String> = std::thread::scope(|scope| {
        let starters: Vec<_> = (0..8).map(|_| scope.spawn(|| Memcached::start(&[]))).collect();
        let servers: Vec<_> = starters.into_iter().map(|it| it.join().unwrap()).collect();
        servers
            .iter()
            .map(|server| {
                let told = ask_server(server, "stats\r\n");
                assert_eq!(told.trim_end(), format!("STAT pid {}", server.pid()));
                told
            })
            .collect()
    });
    assert_eq!(pids.len(), 8);
}

#[test]
fn a_killed_server_refuses_and_comes_back_empty() {
    let mut server = Memcached::start(&[]);
    assert_eq!(ask_server(&server, "set k 0 0 1\r\nv\r\n"), "STORED\r\n");
    let (port, pid) = (server.port(), server.pid());

    server.kill();
    let refused = TcpStream::connect(server.addr()).map_err(|error| error.kind());
    assert_eq!(refused.err(), Some(ErrorKind::ConnectionRefused));

    server.restart();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    assert_eq!(ask_server(&server, "get k\r\n"), "END\r\n");
}

#[test]
fn a_stopped_server_is_silent_until_it_goes_on() {
    let server = Memcached::start(&[]);
    server.stop();
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.write_all(b"mn\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let silence = stream.read(&mut [0; 8]).map_err(|error| error.kind());
    assert_eq!(silence, Err(ErrorKind::WouldBlock));

    server.cont();
    stream.set_read_timeout(None).unwrap();
    let mut reply = [0; 4];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"MN\r\n");
}

#[test]
fn a_dropped_server_is_gone_even_if_it_was_stopped() {
    let server = Memcached::start(&[]);
    let pid = server.pid();
    server.stop();
    assert!(is_alive(pid));
    drop(server);
    assert!(!is_alive(pid));
}

#[test]
fn a_server_with_sasl_knows_its_user() {
    let server = Memcached::start_sasl(&[]);
    let authenticate = |password: &str| {
        let message = format!("\0{SASL_USER}\0{password}");
        let mut packet = vec![0x80, 0x21, 0, 5, 0, 0, 0, 0, 0, 0, 0];
        packet.push(u8::try_from(5 + message.len()).unwrap());
        packet.extend([0; 12]);
        packet.extend(b"PLAIN");
        packet.extend(message.bytes());
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.write_all(&packet).unwrap();
        let mut header = [0; 24];
        stream.read_exact(&mut header).unwrap();
        u16::from_be_bytes([header[6], header[7]])
    };
    assert_eq!(authenticate(SASL_PASSWORD), 0x00);
    assert_eq!(authenticate("another"), 0x20);
}

#[test]
#[should_panic(expected = "Number of threads")]
fn a_wrong_argument_is_told() {
    let _ = Memcached::start(&["-t", "none"]);
}
