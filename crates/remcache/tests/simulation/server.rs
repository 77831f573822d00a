//! A small honest memcached on the simulated network; its items outlive a crash of its host.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes};
use remcache::proto::binary::{Opcode, Packet, decode_request, encode_reply};
use remcache::proto::{InputBuffer, Operation, Output, Reply, Request, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::{TcpListener, TcpStream};

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

    fn execute(&mut self, request: &Request<'_>) -> Reply {
        let key = request.key().map(|key| Bytes::copy_from_slice(key.as_bytes())).unwrap_or_default();
        let mut reply = Reply::new(Status::NoError);
        match request.operation() {
            Operation::Get => match self.items.get(&key) {
                Some(value) => reply.value = value.clone(),
                None => reply.status = Status::KeyNotFound,
            },
            Operation::Set => {
                self.items.insert(key, Bytes::copy_from_slice(request.value()));
            }
            Operation::Increment => {
                let counter = self.counters.entry(key).or_default();
                *counter += 1;
                reply.number = Some(*counter);
            }
            Operation::NoOp => {}
            other => panic!("nobody asks for {other:?}"),
        }
        reply
    }
}

/// Serves whoever connects, until the host crashes.
pub(crate) async fn run(store: Arc<Mutex<Store>>) -> turmoil::Result {
    let listener = TcpListener::bind((IpAddr::from(Ipv4Addr::UNSPECIFIED), PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let store = Arc::clone(&store);
        // A connection ends by an error when its network does.
        tokio::spawn(async move { drop(serve(stream, &store).await) });
    }
}

async fn serve(mut stream: TcpStream, store: &Mutex<Store>) -> std::io::Result<()> {
    let (mut input, mut output) = (InputBuffer::new(), Output::new());
    while stream.read_buf(input.spare()).await? > 0 {
        while let Some(packet) = Packet::decode(&mut input, 1 << 20).expect("a client sends packets") {
            let request = decode_request(&packet).expect("a client sends requests");
            let reply = store.lock().expect("no server panics").execute(&request);
            // Only changes are asked quietly here, and they all succeed.
            if !request.is_quiet() {
                encode_reply(&reply, Opcode(packet.header.opcode), packet.header.opaque, &mut output);
            }
        }
        stream.write_all(&output.copy_to_bytes(output.remaining())).await?;
    }
    Ok(())
}
