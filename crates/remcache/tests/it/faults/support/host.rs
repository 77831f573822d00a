//! The same server on a real socket of the loopback interface.

use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::serve::{Peer, World, serve};

/// A server that listens until it is dropped; connections stay.
#[derive(Debug)]
pub(crate) struct Host {
    address: String,
    acceptor: JoinHandle<()>,
}

impl Host {
    pub(crate) async fn start(world: &Arc<World>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address").to_string();
        let acceptor = tokio::spawn(accept(listener, Arc::clone(world)));
        Self { address, acceptor }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn accept(listener: TcpListener, world: Arc<World>) {
    loop {
        let (stream, _) = listener.accept().await.expect("connections can be accepted");
        // What is sent in pieces has to travel in pieces.
        stream.set_nodelay(true).expect("a socket takes options");
        tokio::spawn(serve(stream, Arc::clone(&world)));
    }
}

impl Peer for TcpStream {
    fn reset(self) {
        SockRef::from(&self).set_linger(Some(Duration::ZERO)).expect("a socket takes options");
    }
}
