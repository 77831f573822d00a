//! Reconnecting to a server that accepts connections but answers no requests, in virtual time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use remcache::config::{Address, ProtocolSetting};
use remcache::transport::{Connect, ConnectFuture, Stream, TransportSettings};
use remcache::{Client, Config};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::time::Instant;

/// A text and meta server that answers `version` and no-ops, and gets only while `answers_gets` is set.
#[derive(Clone, Debug, Default)]
struct ProbesOnly {
    answers_gets: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
}

impl ProbesOnly {
    async fn serve(self, stream: DuplexStream) {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while matches!(stream.read_line(&mut line).await, Ok(1..)) {
            let reply = match line.as_str() {
                "version\r\n" => "VERSION 1.6.18\r\n",
                "mn\r\n" => "MN\r\n",
                _ if self.answers_gets.load(Ordering::Relaxed) => "END\r\n",
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

impl Connect for ProbesOnly {
    fn connect<'a>(&'a self, _: &'a Address, _: &'a TransportSettings) -> ConnectFuture<'a> {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        self.connections.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(self.clone().serve(theirs));
        Box::pin(async move { Ok(Box::new(ours) as Box<dyn Stream>) })
    }
}

/// Makes calls one after the other for this duration. Returns how many waited for their whole timeout.
async fn call_for(client: &Client, length: Duration) -> usize {
    let start = Instant::now();
    let mut waited = 0;
    loop {
        let call = Instant::now();
        assert!(client.get("k").await.is_err());
        waited += usize::from(call.elapsed() >= Duration::from_millis(200));
        // No pause after the last call, in which the client could connect once more.
        if start.elapsed() >= length {
            return waited;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn answered_probes_do_not_shorten_the_wait_before_reconnecting() {
    for protocol in [ProtocolSetting::Text, ProtocolSetting::Meta, ProtocolSetting::Auto] {
        let server = ProbesOnly::default();
        let client = server.client(protocol);
        let waited = call_for(&client, Duration::from_secs(100)).await;
        // After the first few attempts, the waits are at least a third of 5 s.
        let connections = server.connections.load(Ordering::Relaxed);
        assert!(connections < 45, "{protocol}: {connections} connections in 100 s");
        assert!(waited < 3 * 45, "{protocol}: {waited} calls waited for their whole timeout");
        // The next attempt succeeds.
        server.answers_gets.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(client.get("k").await.unwrap(), None, "{protocol}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_answered_makes_the_next_wait_short_again() {
    let server = ProbesOnly::default();
    let client = server.client(ProtocolSetting::Text);
    call_for(&client, Duration::from_secs(60)).await;
    server.answers_gets.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(client.get("k").await.unwrap(), None);
    let before = server.connections.load(Ordering::Relaxed);
    server.answers_gets.store(false, Ordering::Relaxed);
    // Three timeouts, and an attempt within 50 ms.
    call_for(&client, Duration::from_millis(750)).await;
    assert_eq!(server.connections.load(Ordering::Relaxed), before + 1);
}
