//! The protocol layer alone, as the gem offers its own.

use super::*;

/// The protocol layer alone, on a blocking socket.
struct BlockingClient {
    connection: Connection,
    stream: TcpStream,
    input: InputBuffer,
}

impl BlockingClient {
    fn connect(server: &Memcached, first_opaque: u32) -> Self {
        let stream = TcpStream::connect(server.addr()).unwrap();
        let connection = Connection::new(Limits::default(), first_opaque, Instant::now());
        Self { connection, stream, input: InputBuffer::new() }
    }

    fn submit(&mut self, request: &Request<'_>, tag: u64) {
        let now = Instant::now();
        let deadline = Deadline { at: now + seconds(60), extend_by: Duration::ZERO };
        self.connection.submit(request, Some(Tag(tag)), deadline, now).unwrap();
    }

    /// Writes all submitted requests and reads until all are answered.
    fn exchange(&mut self) -> Vec<(u64, Reply)> {
        let mut output = Output::new();
        self.connection.take_output(&mut output);
        let bytes = output.copy_to_bytes(output.remaining());
        self.stream.write_all(&bytes).unwrap();
        self.connection.handle_written(bytes.len());
        let mut replies = Vec::new();
        let mut buffer = [0; 4096];
        while self.connection.in_flight() > 0 {
            let count = self.stream.read(&mut buffer).unwrap();
            assert!(count > 0, "the server closed");
            self.input.extend(&buffer[..count]);
            self.connection.handle_received(Instant::now());
            while let Some(event) = self.connection.poll_event(&mut self.input).unwrap() {
                replies.push((event.tag.0, event.reply));
            }
        }
        replies
    }
}

#[test]
fn opaques_wrap() {
    let server = Memcached::start(&[]);
    let mut client = BlockingClient::connect(&server, u32::MAX - 500);
    for n in 0..100 {
        client.submit(&Request::set(format!("k{n}"), format!("v{n}")).quiet(), n);
    }
    assert_eq!(client.exchange().len(), 100);
    for round in 0..5 {
        for n in 0..200 {
            let request = Request::get(format!("k{n}"));
            client.submit(&if n % 3 == 0 { request.quiet() } else { request }, n);
        }
        let replies = client.exchange();
        assert_eq!(replies.len(), 200, "round {round}");
        for (index, (n, reply)) in replies.into_iter().enumerate() {
            assert_eq!(n, index as u64, "replies are in order");
            match n < 100 {
                true => assert_eq!(reply.text(), format!("v{n}")),
                false => assert_eq!(reply.status, Status::KeyNotFound),
            }
        }
    }
}

#[tokio::test]
async fn each_layer_can_be_used_alone() {
    let server = Memcached::start(&[]);
    // The protocol.
    let mut client = BlockingClient::connect(&server, 0);
    client.submit(&Request::set("k", "v"), 7);
    assert!(matches!(&client.exchange()[..], [(7, reply)] if reply.is_ok()));
    // Requests and replies.
    let client = client_of(&server);
    assert_eq!(client.call(Request::get("k")).await.text(), "v");
    assert_eq!(only_server(&client).call(Request::get("k")).await.text(), "v");
    // Typed operations.
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
}
