//! A fake server on a socket of the loopback interface.

use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::fake_server::{FakeServer, ServerStream, serve};

/// Accepts connections for a fake server until it is dropped; open connections stay.
#[derive(Debug)]
pub(crate) struct LoopbackServer {
    address: String,
    acceptor: JoinHandle<()>,
}

impl LoopbackServer {
    pub(crate) async fn start(fake: &Arc<FakeServer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address").to_string();
        let acceptor = tokio::spawn(accept(listener, Arc::clone(fake)));
        Self { address, acceptor }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for LoopbackServer {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn accept(listener: TcpListener, fake: Arc<FakeServer>) {
    loop {
        let (stream, _) = listener.accept().await.expect("connections can be accepted");
        // Pieces that are sent separately must arrive separately.
        stream.set_nodelay(true).expect("a socket takes options");
        tokio::spawn(serve(stream, Arc::clone(&fake)));
    }
}

impl ServerStream for TcpStream {
    fn reset(self) {
        SockRef::from(&self).set_linger(Some(Duration::ZERO)).expect("a socket takes options");
    }
}
