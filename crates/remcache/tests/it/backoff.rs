//! When a server is tried again that accepts connections and answers no real request, in virtual time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use remcache::config::{Address, ProtocolSetting};
use remcache::transport::{Connect, Connecting, Stream, TransportSettings};
use remcache::{Client, Config};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::time::Instant;

/// A server of text and meta that answers `version` and no-ops, and gets only while `works`.
#[derive(Clone, Debug, Default)]
struct HalfDead {
    works: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
}

impl HalfDead {
    async fn serve(self, stream: DuplexStream) {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while matches!(stream.read_line(&mut line).await, Ok(1..)) {
            let reply = match line.as_str() {
                "version\r\n" => "VERSION 1.6.18\r\n",
                "mn\r\n" => "MN\r\n",
                _ if self.works.load(Ordering::Relaxed) => "END\r\n",
                _ => "",
            };
            if stream.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
            line.clear();
        }
    }

    fn client(&self, protocol: ProtocolSetting) -> Client {
        let config = Config::new().protocol(protocol).timeout(Duration::from_millis(200)).connector(self.clone());
        Client::with_config(["server"], config).unwrap()
    }
}

impl Connect for HalfDead {
    fn connect<'a>(&'a self, _: &'a Address, _: &'a TransportSettings) -> Connecting<'a> {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        self.connections.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(self.clone().serve(theirs));
        Box::pin(async move { Ok(Box::new(ours) as Box<dyn Stream>) })
    }
}

/// Calls one after the other for this long; how many of them waited for their whole timeout.
async fn call_for(client: &Client, length: Duration) -> usize {
    let start = Instant::now();
    let mut waited = 0;
    while start.elapsed() < length {
        let call = Instant::now();
        assert!(client.get("k").await.is_err());
        waited += usize::from(call.elapsed() >= Duration::from_millis(200));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    waited
}

#[tokio::test(start_paused = true)]
async fn answered_probes_do_not_shorten_the_wait_before_reconnecting() {
    for protocol in [ProtocolSetting::Text, ProtocolSetting::Meta, ProtocolSetting::Auto] {
        let server = HalfDead::default();
        let client = server.client(protocol);
        let waited = call_for(&client, Duration::from_secs(100)).await;
        // After the first few attempts they are at least a third of 5 s apart, and on average more.
        let connections = server.connections.load(Ordering::Relaxed);
        assert!(connections < 45, "{protocol}: {connections} connections in 100 s");
        assert!(waited < 3 * 45, "{protocol}: {waited} calls waited for their whole timeout");
        // It comes back with the next attempt.
        server.works.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(client.get("k").await.unwrap(), None, "{protocol}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_answered_makes_the_next_wait_short_again() {
    let server = HalfDead::default();
    let client = server.client(ProtocolSetting::Text);
    call_for(&client, Duration::from_secs(60)).await;
    server.works.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(client.get("k").await.unwrap(), None);
    let before = server.connections.load(Ordering::Relaxed);
    server.works.store(false, Ordering::Relaxed);
    // Three timeouts, and an attempt within 50 ms.
    call_for(&client, Duration::from_millis(750)).await;
    assert_eq!(server.connections.load(Ordering::Relaxed), before + 1);
}
