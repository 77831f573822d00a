//! Tests of the real memcached processes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use remcache_testkit::{Memcached, SASL_PASSWORD, SASL_USER, scratch};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

fn command(mut stream: impl Read + Write, line: &str) -> String {
    stream.write_all(line.as_bytes()).unwrap();
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply).unwrap();
    reply
}

fn command_to(server: &Memcached, line: &str) -> String {
    command(TcpStream::connect(server.addr()).unwrap(), line)
}

fn is_alive(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_server_listens_on_a_port() {
    let server = Memcached::start(&[]);
    assert_eq!(server.addr(), format!("127.0.0.1:{}", server.port()));
    assert!(command_to(&server, "version\r\n").starts_with("VERSION "));
}

#[test]
fn a_server_listens_on_a_unix_socket() {
    let dir = scratch();
    let server = Memcached::start_unix(dir.path().join("socket"), &[]);
    let stream = UnixStream::connect(server.addr()).unwrap();
    assert!(command(stream, "version\r\n").starts_with("VERSION "));
}

#[test]
fn arguments_are_passed_to_the_server() {
    let server = Memcached::start(&["-I", "2m"]);
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.write_all(b"stats settings\r\n").unwrap();
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    let limit = lines.into_iter().find(|line| line.starts_with("STAT item_size_max "));
    assert_eq!(limit.as_deref(), Some("STAT item_size_max 2097152"));
}

#[test]
fn servers_can_be_started_concurrently() {
    let pids: Vec<String> = std::thread::scope(|scope| {
        let starters: Vec<_> = (0..8).map(|_| scope.spawn(|| Memcached::start(&[]))).collect();
        let servers: Vec<_> = starters.into_iter().map(|it| it.join().unwrap()).collect();
        servers
            .iter()
            .map(|server| {
                let line = command_to(server, "stats\r\n");
                assert_eq!(line.trim_end(), format!("STAT pid {}", server.pid()));
                line
            })
            .collect()
    });
    assert_eq!(pids.len(), 8);
}

#[test]
fn a_killed_server_refuses_connections_and_restarts_empty() {
    let mut server = Memcached::start(&[]);
    assert_eq!(command_to(&server, "set k 0 0 1\r\nv\r\n"), "STORED\r\n");
    let (port, pid) = (server.port(), server.pid());

    server.kill();
    let refused = TcpStream::connect(server.addr()).map_err(|error| error.kind());
    assert_eq!(refused.err(), Some(ErrorKind::ConnectionRefused));

    server.restart();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    assert_eq!(command_to(&server, "get k\r\n"), "END\r\n");
}

#[test]
fn a_stopped_server_answers_only_after_it_is_resumed() {
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
fn dropping_a_stopped_server_kills_it() {
    let server = Memcached::start(&[]);
    let pid = server.pid();
    server.stop();
    assert!(is_alive(pid));
    drop(server);
    assert!(!is_alive(pid));
}

#[test]
fn a_server_with_sasl_has_a_user() {
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
    assert_eq!(authenticate("wrong"), 0x20);
}

#[test]
#[should_panic(expected = "Number of threads")]
fn an_invalid_argument_is_reported() {
    let _ = Memcached::start(&["-t", "none"]);
}
