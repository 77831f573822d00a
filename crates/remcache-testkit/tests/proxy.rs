//! Tests of the proxy.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use remcache_testkit::{Close, Direction, Disconnect, Proxy, Splits, seed};
use std::future::Future;
use std::io::ErrorKind;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Runs a test with a proxy before an echo server.
fn run<F: Future<Output = ()>>(test: impl FnOnce(Proxy) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let proxy = Proxy::start(echo_server().await).await;
        timeout(LIMIT, test(proxy)).await.expect("the test ends in time");
    });
}

async fn echo_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    addr
}

async fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.addr()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

async fn echo(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(text).await?;
    let mut reply = vec![0; text.len()];
    stream.read_exact(&mut reply).await?;
    Ok(reply)
}

/// Reads to the end of the stream. Also returns the error that ended it.
async fn read_to_end(stream: &mut TcpStream) -> (Vec<u8>, Result<(), ErrorKind>) {
    let mut got = Vec::new();
    let end = stream.read_to_end(&mut got).await;
    (got, end.map(|_| ()).map_err(|error| error.kind()))
}

#[test]
fn without_rules_everything_is_forwarded_and_counted() {
    run(|proxy| async move {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let mut stream = connect(&proxy).await;
        let (mut read, mut write) = stream.split();
        let mut got = Vec::new();
        let (sent, received) = tokio::join!(
            async {
                write.write_all(&bytes).await?;
                write.shutdown().await
            },
            read.read_to_end(&mut got)
        );
        sent.unwrap();
        assert_eq!(received.unwrap(), bytes.len());
        assert!(got == bytes);
        assert_eq!(proxy.accepted(), 1);
        assert_eq!(proxy.passed(Direction::Requests), 3_000_000);
        assert_eq!(proxy.passed(Direction::Replies), 3_000_000);
    });
}

#[test]
fn a_delay_applies_to_its_direction() {
    for direction in [Direction::Requests, Direction::Replies] {
        run(|proxy| async move {
            proxy.change(|rules| match direction {
                Direction::Requests => rules.requests.delay = DELAY,
                _ => rules.replies.delay = DELAY,
            });
            let mut stream = connect(&proxy).await;
            let start = Instant::now();
            assert_eq!(echo(&mut stream, b"late").await.unwrap(), b"late");
            assert!(start.elapsed() >= DELAY);
        });
    }
}

#[test]
fn a_delay_does_not_limit_the_bytes_in_flight() {
    run(|proxy| async move {
        proxy.change(|rules| rules.replies.delay = DELAY);
        let mut stream = connect(&proxy).await;
        // If the delays added up, they would exceed the time limit of the test.
        assert!(DELAY * u32::try_from(ROUNDS).unwrap() > LIMIT);
        let (mut read, mut write) = stream.split();
        let mut got = vec![0; ROUNDS];
        let (sent, received) = tokio::join!(
            async {
                for byte in 0..ROUNDS {
                    write.write_all(&[byte.to_le_bytes()[0]]).await?;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                std::io::Result::Ok(())
            },
            read.read_exact(&mut got)
        );
        sent.unwrap();
        received.unwrap();
        let in_order: Vec<u8> = (0..ROUNDS).map(|n| n.to_le_bytes()[0]).collect();
        assert_eq!(got, in_order);
    });
}

#[test]
fn throttling_limits_the_rate() {
    run(|proxy| async move {
        proxy.change(|rules| rules.replies.bytes_per_second = Some(1_000));
        let mut stream = connect(&proxy).await;
        let start = Instant::now();
        assert_eq!(echo(&mut stream, &[7; 300]).await.unwrap(), [7; 300]);
        assert!(start.elapsed() >= Duration::from_millis(299));
    });
}

#[test]
fn splits_arrive_in_pieces_with_all_bytes() {
    run(|proxy| async move {
        let seed = seed();
        proxy.change(|rules| {
            rules.replies.splits = Some(Splits::new(seed.value(), 7));
            // A pause after each piece, so that each is read by itself.
            rules.replies.bytes_per_second = Some(500);
        });
        let mut stream = connect(&proxy).await;
        let text: Vec<u8> = (0..=255).collect();
        stream.write_all(&text).await.unwrap();
        let (mut got, mut reads) = (Vec::<u8>::new(), 0);
        while got.len() < text.len() {
            let mut piece = [0; 256];
            let len = stream.read(&mut piece).await.unwrap();
            got.extend(&piece[..len]);
            reads += 1;
        }
        assert_eq!(got, text);
        assert!(reads > 1);
    });
}

#[test]
fn a_disconnect_forwards_exactly_the_bytes_before_it() {
    for after in [0, 1, 5, 99] {
        for (close, end) in [(Close::Fin, Ok(())), (Close::Rst, Err(ErrorKind::ConnectionReset))] {
            run(|proxy| async move {
                proxy.change(|rules| rules.replies.disconnect = Some(Disconnect::new(after, close)));
                let mut stream = connect(&proxy).await;
                stream.write_all(&[3; 100]).await.unwrap();
                let (got, ended) = read_to_end(&mut stream).await;
                assert_eq!(got.len() as u64, after);
                assert_eq!(ended, end);
                assert_eq!(proxy.passed(Direction::Replies), after);
            });
        }
    }
}

#[test]
fn a_disconnect_after_the_end_has_no_effect() {
    run(|proxy| async move {
        proxy.change(|rules| rules.replies.disconnect = Some(Disconnect::new(101, Close::Rst)));
        let mut stream = connect(&proxy).await;
        assert_eq!(echo(&mut stream, &[3; 100]).await.unwrap(), [3; 100]);
    });
}

#[test]
fn a_disconnect_within_a_request_closes_the_client() {
    run(|proxy| async move {
        proxy.change(|rules| rules.requests.disconnect = Some(Disconnect::new(5, Close::Fin)));
        let mut stream = connect(&proxy).await;
        stream.write_all(&[3; 100]).await.unwrap();
        let (_, ended) = read_to_end(&mut stream).await;
        assert_eq!(ended, Ok(()));
        assert_eq!(proxy.passed(Direction::Requests), 5);
    });
}

#[test]
fn a_black_hole_reads_everything_and_forwards_nothing() {
    run(|proxy| async move {
        let mut before = connect(&proxy).await;
        assert_eq!(echo(&mut before, b"hello").await.unwrap(), b"hello");
        proxy.change(|rules| rules.replies.black_hole = true);
        let silence = timeout(QUIET, echo(&mut before, b"lost")).await;
        assert!(silence.is_err());
        while proxy.passed(Direction::Requests) < 9 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(proxy.passed(Direction::Replies), 5);

        proxy.change(|rules| rules.replies.black_hole = false);
        let still_silent = timeout(QUIET, echo(&mut before, b"lost")).await;
        assert!(still_silent.is_err());
        let mut after = connect(&proxy).await;
        assert_eq!(echo(&mut after, b"hello").await.unwrap(), b"hello");
    });
}

#[test]
fn a_refusing_proxy_listens_on_its_port_again() {
    run(|proxy| async move {
        let mut before = connect(&proxy).await;
        assert_eq!(echo(&mut before, b"here").await.unwrap(), b"here");

        proxy.refuse().await;
        let refused = TcpStream::connect(proxy.addr()).await;
        let kind = refused.map_err(|error| error.kind()).err();
        assert_eq!(kind, Some(ErrorKind::ConnectionRefused));
        assert_eq!(echo(&mut before, b"still").await.unwrap(), b"still");

        proxy.resume().await;
        let mut after = connect(&proxy).await;
        assert_eq!(echo(&mut after, b"again").await.unwrap(), b"again");
        assert_eq!(proxy.accepted(), 2);
    });
}

#[test]
fn open_connections_can_be_closed() {
    for (close, end) in [(Close::Fin, Ok(())), (Close::Rst, Err(ErrorKind::ConnectionReset))] {
        run(|proxy| async move {
            let mut stream = connect(&proxy).await;
            assert_eq!(echo(&mut stream, b"open").await.unwrap(), b"open");
            proxy.close_connections(close);
            assert_eq!(read_to_end(&mut stream).await, (Vec::new(), end));
            let mut next = connect(&proxy).await;
            assert_eq!(echo(&mut next, b"open").await.unwrap(), b"open");
        });
    }
}

#[test]
fn a_dropped_proxy_resets_its_connections() {
    run(|proxy| async move {
        let mut stream = connect(&proxy).await;
        assert_eq!(echo(&mut stream, b"open").await.unwrap(), b"open");
        drop(proxy);
        let (_, end) = read_to_end(&mut stream).await;
        assert_eq!(end, Err(ErrorKind::ConnectionReset));
    });
}

#[tokio::test]
async fn the_client_of_an_unreachable_server_gets_a_reset() {
    let upstream = format!("127.0.0.1:{}", remcache_testkit::unused_port());
    let proxy = Proxy::start(upstream).await;
    let mut stream = connect(&proxy).await;
    let (_, end) = read_to_end(&mut stream).await;
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
}

const DELAY: Duration = Duration::from_millis(300);
const ROUNDS: usize = 300;
const QUIET: Duration = Duration::from_millis(200);
// Reached only if a test hangs.
const LIMIT: Duration = Duration::from_secs(60);
