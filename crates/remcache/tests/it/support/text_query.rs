//! Queries over the text protocol that bypass the library, to verify what a server has stored.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

/// Sends one line and returns the first line of the response.
pub(crate) fn text_query(addr: &str, line: &str) -> String {
    let mut stream = TcpStream::connect(addr).expect("the server listens");
    stream.write_all(format!("{line}\r\n").as_bytes()).expect("the server reads");
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).expect("the server answers");
    answer.trim_end().to_owned()
}

/// Returns the flags and the remaining TTL in seconds of an item (−1 if it never expires), or `None` if it is missing.
pub(crate) fn flags_and_ttl(addr: &str, key: &str) -> Option<(u32, i64)> {
    let answer = text_query(addr, &format!("mg {key} f t"));
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
