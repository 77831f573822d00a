//! Arbitrary bytes as replies during the handshake: versions, authentication results, errors. The first request
//! completes, nothing panics, and no error contains the password.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use remcache::config::{Address, Credentials, ProtocolSetting};
use remcache::transport::{Connect, ConnectFuture, Stream, TransportSettings};
use remcache::{Client, Config};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

pub(crate) fn run(data: &[u8]) {
    let Some((&choice, script)) = data.split_first() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(connect(choice, script));
}

async fn connect(choice: u8, script: &[u8]) {
    let protocol = ProtocolSetting::ALL[usize::from(choice & 3)];
    let config = Config::new().protocol(protocol).connector(Scripted::new(choice & 0x80 != 0, script)).seed(1);
    let known = Credentials::new("user", PASSWORD);
    let config = match choice >> 2 & 3 {
        0 => config,
        1 => config.credentials(known.optional()),
        _ => config.credentials(known),
    };
    let client = Client::with_config(["server"], config).expect("an address");
    for _ in 0..3 {
        let outcome = client.get("k").await;
        let text = outcome.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(!text.contains("task ended"), "the connection's task panicked: {text}");
        assert!(!text.contains(PASSWORD), "{text}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    client.close().await;
}

const PASSWORD: &str = "canary";

/// A connector to a server that replies to each read with the next piece of a script, over all connections. At the
/// end of the script it closes the connection, or never replies again.
#[derive(Clone, Debug)]
struct Scripted {
    pieces: Arc<Mutex<VecDeque<Vec<u8>>>>,
    hangs: bool,
}

impl Scripted {
    /// Parses a script of pieces, each preceded by its length; a length of 0xff closes the connection.
    fn new(hangs: bool, mut script: &[u8]) -> Self {
        let mut pieces = VecDeque::new();
        while let Some((&length, rest)) = script.split_first() {
            let (piece, others) = rest.split_at(usize::from(length % 0xff).min(rest.len()));
            pieces.push_back(piece.to_vec());
            script = others;
        }
        Self { pieces: Arc::new(Mutex::new(pieces)), hangs }
    }

    fn next(&self) -> Option<Vec<u8>> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    async fn serve(self, mut stream: DuplexStream) {
        let mut buffer = [0; 512];
        while let Ok(1..) = stream.read(&mut buffer).await {
            match self.next() {
                Some(piece) if piece.is_empty() => return,
                Some(piece) => {
                    let _ = stream.write_all(&piece).await;
                }
                None if self.hangs => pending().await,
                None => return,
            }
        }
    }
}

impl Connect for Scripted {
    fn connect<'a>(&'a self, _: &'a Address, _: &'a TransportSettings) -> ConnectFuture<'a> {
        let server = self.clone();
        Box::pin(async move {
            if server.pieces.lock().unwrap_or_else(PoisonError::into_inner).is_empty() && !server.hangs {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (client, stream) = duplex(4096);
            tokio::spawn(server.serve(stream));
            Ok(Box::new(client) as Box<dyn Stream>)
        })
    }
}
