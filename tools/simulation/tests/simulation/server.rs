//! A small honest memcached on the simulated network; its items outlive a crash of its host.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use remcache::proto::{Operation, Protocol, Reply, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::{TcpListener, TcpStream};

use crate::support::{RequestDecoder, ServerRequest};

/// The port on which servers listen.
pub(crate) const PORT: u16 = 11_211;

/// The items of a server, and how often each counter was raised.
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
            _ => vec![self.change(request)],
        }
    }

    fn get(&self, key: &Bytes) -> Reply {
        match self.items.get(key) {
            Some(value) => Reply::with_text(Status::NoError, value.clone()),
            None => Reply::new(Status::KeyNotFound),
        }
    }

    /// A counter starts where it is absent, whatever is asked.
    fn change(&mut self, request: &ServerRequest) -> Reply {
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
            other => panic!("nobody asks for {other:?}"),
        }
        reply
    }
}

/// Serves whoever connects, until the host crashes.
pub(crate) async fn run(protocol: Protocol, store: Arc<Mutex<Store>>) -> turmoil::Result {
    let listener = TcpListener::bind((IpAddr::from(Ipv4Addr::UNSPECIFIED), PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let store = Arc::clone(&store);
        // A connection ends by an error when its network does.
        tokio::spawn(async move { drop(serve(stream, protocol, &store).await) });
    }
}

async fn serve(mut stream: TcpStream, protocol: Protocol, store: &Mutex<Store>) -> std::io::Result<()> {
    let mut decoder = RequestDecoder::new(protocol);
    while stream.read_buf(decoder.spare()).await? > 0 {
        let mut said = Vec::new();
        while let Some(request) = decoder.next() {
            let replies = store.lock().expect("no server panics").execute(&request);
            said.extend(request.encode_replies(&replies));
        }
        stream.write_all(&said.concat()).await?;
    }
    Ok(())
}
