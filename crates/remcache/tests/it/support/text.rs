//! A second opinion: the server asked over its text protocol, without the library.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

/// The first line of the answer to one line.
pub(crate) fn ask(addr: &str, line: &str) -> String {
    let mut stream = TcpStream::connect(addr).expect("the server listens");
    stream.write_all(format!("{line}\r\n").as_bytes()).expect("the server reads");
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).expect("the server answers");
    answer.trim_end().to_owned()
}

/// What the server keeps beside a value: flags, and seconds to live (−1 for ever); `None` for a miss.
pub(crate) fn flags_and_ttl(addr: &str, key: &str) -> Option<(u32, i64)> {
    let answer = ask(addr, &format!("mg {key} f t"));
    let mut words = answer.split(' ');
    match words.next() {
        Some("HD") => {}
        Some("EN") => return None,
        _ => panic!("{answer}"),
    }
    let flags = words.next()?.strip_prefix('f')?.parse().ok()?;
    let ttl = words.next()?.strip_prefix('t')?.parse().ok()?;
    Some((flags, ttl))
}
