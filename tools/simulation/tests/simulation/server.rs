//! A small memcached on the simulated network, whose items survive a crash of its host.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use remcache::proto::{Operation, Protocol, Reply, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::{TcpListener, TcpStream};

use crate::support::{RequestDecoder, ServerRequest};

/// The port of all servers.
pub(crate) const PORT: u16 = 11_211;

/// The items of a server, and the number of increments of each counter.
#[derive(Debug, Default)]
pub(crate) struct Store {
    items: HashMap<Bytes, Bytes>,
    counters: HashMap<Bytes, u64>,
}

impl Store {
    pub(crate) fn counter(&self, key: &str) -> u64 {
        self.counters.get(key.as_bytes()).copied().unwrap_or_default()
    }

    fn execute(&mut self, request: &ServerRequest) -> Vec<Reply> {
        match request.operation {
            Operation::Get => request.keys.iter().map(|key| self.get(key)).collect(),
            _ => vec![self.modify(request)],
        }
    }

    fn get(&self, key: &Bytes) -> Reply {
        match self.items.get(key) {
            Some(value) => Reply::with_text(Status::NoError, value.clone()),
            None => Reply::new(Status::KeyNotFound),
        }
    }

    /// Executes a request that is not a get. An increment creates an absent counter.
    fn modify(&mut self, request: &ServerRequest) -> Reply {
        let key = request.key();
        let mut reply = Reply::new(Status::NoError);
        match request.operation {
            Operation::Set => {
                self.items.insert(key, request.value.clone());
            }
            Operation::Increment => {
                let counter = self.counters.entry(key).or_default();
                *counter += 1;
                reply.number = Some(*counter);
            }
            Operation::NoOp | Operation::Version => {}
            other => panic!("unexpected request: {other:?}"),
        }
        reply
    }
}

/// Serves all connections until the host crashes.
pub(crate) async fn run(protocol: Protocol, store: Arc<Mutex<Store>>) -> turmoil::Result {
    let listener = TcpListener::bind((IpAddr::from(Ipv4Addr::UNSPECIFIED), PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let store = Arc::clone(&store);
        // A connection ends with an error when its network fails.
        tokio::spawn(async move { drop(serve(stream, protocol, &store).await) });
    }
}

async fn serve(mut stream: TcpStream, protocol: Protocol, store: &Mutex<Store>) -> std::io::Result<()> {
    let mut decoder = RequestDecoder::new(protocol);
    while stream.read_buf(decoder.spare()).await? > 0 {
        let mut output = Vec::new();
        while let Some(request) = decoder.next() {
            let replies = store.lock().expect("no server panics").execute(&request);
            output.extend(request.encode_replies(&replies));
        }
        stream.write_all(&output.concat()).await?;
    }
    Ok(())
}
