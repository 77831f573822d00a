//! Text servers without `gets`, such as old versions of Dragonfly and some proxies.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use remcache::config::ProtocolSetting;
use remcache::{Client, ErrorKind, Request, Status, Ttl};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::support::patient_config;

#[derive(Clone, Debug)]
struct WithoutGets {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Number of lines answered with `ERROR`.
    unknown: Arc<AtomicUsize>,
}

impl WithoutGets {
    async fn start(version: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server =
            Self { address: listener.local_addr().unwrap(), connections: Arc::default(), unknown: Arc::default() };
        let state = server.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                state.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(state.clone().serve(stream, version));
            }
        });
        server
    }

    async fn serve(self, stream: TcpStream, version: &str) {
        let mut stream = BufReader::new(stream);
        let mut items: HashMap<String, Vec<u8>> = HashMap::new();
        let mut line = Vec::new();
        while matches!(stream.read_until(b'\n', &mut line).await, Ok(1..)) {
            let text = String::from_utf8_lossy(&line).into_owned();
            let words: Vec<&str> = text.split_whitespace().collect();
            let mut reply = Vec::new();
            match words.as_slice() {
                ["version"] => reply.extend_from_slice(format!("VERSION {version}\r\n").as_bytes()),
                ["set", key, _, _, length] => {
                    let mut value = vec![0; length.parse::<usize>().unwrap() + 2];
                    stream.read_exact(&mut value).await.unwrap();
                    value.truncate(value.len() - 2);
                    items.insert((*key).to_owned(), value);
                    reply.extend_from_slice(b"STORED\r\n");
                }
                ["get", keys @ ..] => {
                    for key in keys {
                        if let Some(value) = items.get(*key) {
                            reply.extend_from_slice(format!("VALUE {key} 0 {}\r\n", value.len()).as_bytes());
                            reply.extend_from_slice(value);
                            reply.extend_from_slice(b"\r\n");
                        }
                    }
                    reply.extend_from_slice(b"END\r\n");
                }
                _ => {
                    self.unknown.fetch_add(1, Ordering::SeqCst);
                    reply.extend_from_slice(b"ERROR\r\n");
                }
            }
            if stream.write_all(&reply).await.is_err() {
                return;
            }
            line.clear();
        }
    }

    fn client(&self, protocol: ProtocolSetting) -> Client {
        Client::with_config([self.address.to_string()], patient_config().protocol(protocol)).unwrap()
    }
}

/// The version of a proxy, and one of a memcached, to which the client sends multigets.
const VERSIONS: [&str; 2] = ["0.5.0", "1.5.0"];

#[tokio::test]
async fn gets_falls_back_to_get_on_the_same_connection() {
    for version in VERSIONS {
        let server = WithoutGets::start(version).await;
        let client = server.client(ProtocolSetting::Text);
        // Without a CAS value, which `get` does not return.
        assert_eq!(client.get("absent").await.unwrap(), None);
        client.set("k", "of k").await.unwrap();
        let item = client.get("k").await.unwrap().unwrap();
        assert_eq!((&item.value[..], item.cas), (&b"of k"[..], 0), "{version}");
        assert_eq!(server.connections.load(Ordering::SeqCst), 1, "{version}: the connection was closed");
    }
}

#[tokio::test]
async fn other_requests_in_flight_do_not_fail() {
    for version in VERSIONS {
        let server = WithoutGets::start(version).await;
        let client = server.client(ProtocolSetting::Text);
        let tasks: Vec<_> = (0..200)
            .map(|number| {
                let client = client.clone();
                tokio::spawn(async move {
                    let key = format!("k{number}");
                    if number % 2 == 0 {
                        client.set(&key, &key).await.unwrap();
                        let item = client.get(&key).await.unwrap();
                        assert_eq!(item.unwrap().value, key.as_bytes());
                    } else {
                        assert_eq!(client.get(&key).await.unwrap(), None);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(server.connections.load(Ordering::SeqCst), 1, "{version}");
        // Only requests sent before the first reply.
        let unknown = server.unknown.load(Ordering::SeqCst);
        client.get("k0").await.unwrap();
        assert_eq!(server.unknown.load(Ordering::SeqCst), unknown, "{version}: gets is sent again");
    }
}

#[tokio::test]
async fn multi_key_gets_fall_back_too() {
    for version in VERSIONS {
        let server = WithoutGets::start(version).await;
        let client = server.client(ProtocolSetting::Text);
        let keys: Vec<String> = (0..500).map(|number| format!("k{number}")).collect();
        let _ = client.set_many(keys.iter().step_by(2).map(|key| (key, key))).await;
        for _ in 0..2 {
            let found = client.get_many(&keys).await;
            assert!(found.is_complete(), "{version}");
            assert_eq!(found.found().count(), 250, "{version}");
            assert!(found.found().all(|(key, item)| item.value == key.as_bytes()), "{version}");
        }
        assert_eq!(server.connections.load(Ordering::SeqCst), 1, "{version}");
    }
}

#[tokio::test]
async fn other_unknown_commands_are_reported_and_keep_the_connection() {
    let server = WithoutGets::start("1.5.0").await;
    let client = server.client(ProtocolSetting::Text);
    client.set("k", "v").await.unwrap();
    let (touched, item) = tokio::join!(client.get_and_touch("k", Ttl::Never), client.get("k"));
    let error = touched.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("gats"), "{error}");
    assert_eq!(item.unwrap().unwrap().value, "v");
    let deleted = client.call(Request::delete("k")).await;
    assert_eq!(deleted.status, Status::UnknownCommand);
    assert!(deleted.text().contains("delete"), "{}", deleted.text());
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}
