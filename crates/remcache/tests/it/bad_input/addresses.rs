//! Addresses at which no memcached answers.

use std::time::Duration;

use remcache::config::ProtocolSetting;
use remcache::health::ConnectionState;
use remcache::{Client, Delivery, Error, ErrorKind};
use remcache_testkit::{Memcached, unused_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::assert_error;
use crate::support::{only_server, patient_config, wait_until};

/// Sends a request and returns the error, after checking that the client considers the server down.
async fn error_from(address: &str, protocol: ProtocolSetting) -> Error {
    let config = patient_config().protocol(protocol);
    let client = Client::with_config([address], config).unwrap();
    // Its length byte is a line feed, so a server that reads lines receives a complete line.
    let error = client.get("ten-bytes!").await.unwrap_err();
    assert_eq!(error.server(), Some(address), "{error}");
    assert!(error.to_string().contains(address), "{error}");
    let condition = only_server(&client).status().state;
    assert!(!client.is_usable() && matches!(condition, ConnectionState::Down(_)), "{protocol}: {condition:?}: {error}");
    let again = client.get("ten-bytes!").await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Disconnected(Delivery::NotSent), "{again}");
    error
}

#[tokio::test]
async fn a_host_name_that_does_not_resolve_is_named() {
    let error = error_from("nonexistent.invalid:11211", ProtocolSetting::Auto).await;
    assert_error(&error, ErrorKind::Disconnected(Delivery::NotSent), &["nonexistent.invalid", "resolve"]);
}

#[tokio::test]
async fn a_refused_connection_is_named() {
    let error = error_from(&format!("127.0.0.1:{}", unused_port()), ProtocolSetting::Auto).await;
    assert_error(&error, ErrorKind::Disconnected(Delivery::NotSent), &["refused"]);
    let error = error_from("/nonexistent/memcached.sock", ProtocolSetting::Auto).await;
    assert_error(&error, ErrorKind::Disconnected(Delivery::NotSent), &["No such file"]);
}

/// Starts a server that answers every request with these bytes, and returns its address.
async fn start_answering(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
            while matches!(stream.read(&mut request).await, Ok(1..)) {}
        }
    });
    address
}

#[tokio::test]
async fn a_server_that_is_not_memcached_is_identified() {
    let http = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    for (answer, word) in [
        (&http[..], "HTTP"),
        // A TLS alert: unexpected message.
        (b"\x15\x03\x01\x00\x02\x02\x0a", "TLS"),
        // The first bytes of a TLS handshake.
        (b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03", "TLS"),
        (b"CLIENT_ERROR bad command line format\r\n", "text"),
        (b"ERROR\r\n", "text"),
        (b"-ERR unknown command\r\n", "not memcached"),
    ] {
        let error = error_from(&start_answering(answer).await, ProtocolSetting::Binary).await;
        assert_error(&error, ErrorKind::Disconnected(Delivery::MaybeSent), &[word]);
        if word != "text" {
            let error = error_from(&start_answering(answer).await, ProtocolSetting::Auto).await;
            assert_error(&error, ErrorKind::Disconnected(Delivery::NotSent), &[word]);
        }
    }
}

#[tokio::test]
async fn a_text_only_server_is_identified() {
    let server = Memcached::start(&["-B", "ascii"]);
    let error = error_from(&server.addr(), ProtocolSetting::Binary).await;
    assert_error(&error, ErrorKind::Disconnected(Delivery::MaybeSent), &["text"]);
}

#[tokio::test]
async fn a_server_that_closes_without_a_reply_is_not_a_miss() {
    for protocol in ProtocolSetting::ALL {
        let error = error_from(&start_answering(b"").await, protocol).await;
        assert_error(&error, ErrorKind::Disconnected(Delivery::MaybeSent), &["closed"]);
    }
}

#[tokio::test]
async fn a_server_that_requires_authentication_is_not_a_miss() {
    let server = Memcached::start_sasl(&[]);
    let client = Client::with_config([server.addr()], patient_config()).unwrap();
    let error = client.get("k").await.unwrap_err();
    assert_error(&error, ErrorKind::Auth, &[&server.addr(), "authentication"]);
    for _ in 0..20 {
        assert!(client.get("k").await.is_err());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    wait_until("nothing is in flight", async || only_server(&client).in_flight() == 0).await;
}

#[tokio::test]
async fn an_invalid_server_does_not_affect_the_others() {
    let server = Memcached::start(&[]);
    let addresses =
        [server.addr(), start_answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").await, "nonexistent.invalid".into()];
    let client = Client::with_config(addresses, patient_config()).unwrap();
    let keys: Vec<String> = (0..600).map(|n| format!("key{n}")).collect();
    let is_on_server = |key: &str| client.locate(key).unwrap().unwrap().name() == server.addr();
    let on_server = keys.iter().filter(|key| is_on_server(key)).count();
    assert!((50..550).contains(&on_server));
    for _ in 0..5 {
        let stored = client.set_many(keys.iter().map(|key| (key, key))).await;
        assert_eq!((stored.applied().count(), stored.failed().count()), (on_server, 600 - on_server));
        assert!(stored.failed().all(|(key, error)| !is_on_server(key) && error.is_disconnected()));
    }
}
