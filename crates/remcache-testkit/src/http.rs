//! A client for HTTP requests of tests.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Returns the status and the body of `GET path`; `None` if the server does not answer within a minute.
#[must_use]
pub fn http_get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    // With HTTP/1.0 the body is not split into chunks, and ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut response = String::new();
    stream.read_to_string(&mut response).ok()?;
    let (head, body) = response.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
