//! Protocol detection: its cost, how long its result is kept, and servers that are replaced by another kind.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use remcache::config::{Address, Credentials, Overload, ProtocolSetting};
use remcache::transport::{Connect, ConnectFuture, Stream, TransportSettings};
use remcache::{Client, Config, Delivery, ErrorKind, Request, Status};
use remcache_server::{BindingProtocol, Server};
use remcache_testkit::{Memcached, Proxy, SASL_PASSWORD, SASL_USER};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::{Nutcracker, with_password_file, works};
use crate::support::patient_config;
use crate::support::wait_until;

/// A connector whose target can be changed; it counts connections and round trips.
#[derive(Clone, Debug)]
struct Route(Arc<Mutex<String>>, Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicUsize,
    round_trips: AtomicUsize,
}

impl Route {
    fn to(address: &str) -> Self {
        Self(Arc::new(Mutex::new(address.to_owned())), Arc::default())
    }

    fn redirect(&self, address: &str) {
        address.clone_into(&mut self.0.lock().unwrap());
    }

    /// Returns the numbers of connections and round trips since the last call.
    fn take(&self) -> (usize, usize) {
        let Counts { connections, round_trips } = &*self.1;
        (connections.swap(0, Ordering::Relaxed), round_trips.swap(0, Ordering::Relaxed))
    }

    fn client(&self, config: Config) -> Client {
        Client::with_config(["server"], config.connector(self.clone())).unwrap()
    }
}

impl Connect for Route {
    fn connect<'a>(&'a self, _: &'a Address, _: &'a TransportSettings) -> ConnectFuture<'a> {
        let address = self.0.lock().unwrap().clone();
        self.1.connections.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            let asked = AtomicBool::new(false);
            Ok(Box::new(Counted { stream, asked, counts: Arc::clone(&self.1) }) as Box<dyn Stream>)
        })
    }
}

/// A stream that counts round trips: reads after a write.
#[derive(Debug)]
struct Counted {
    stream: TcpStream,
    asked: AtomicBool,
    counts: Arc<Counts>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let outcome = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        if self.asked.swap(false, Ordering::Relaxed) {
            self.counts.round_trips.fetch_add(1, Ordering::Relaxed);
        }
        Poll::Ready(outcome)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.asked.store(true, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn known() -> Config {
    patient_config().credentials(Credentials::new(SASL_USER, SASL_PASSWORD))
}

/// Returns the cost of a first get, and of the first get after the server has closed the connection.
async fn costs(server: &mut Memcached, config: Config) -> [(usize, usize); 2] {
    let route = Route::to(&server.addr());
    let client = route.client(config);
    assert!(client.get("k").await.unwrap().is_none());
    let first = route.take();
    server.restart();
    // The end of an idle connection is not a failure: the next request opens a new one.
    wait_until("the client detects the close", async || client.servers()[0].metrics().open == 0).await;
    assert!(client.get("k").await.unwrap().is_none());
    [first, route.take()]
}

#[tokio::test]
async fn negotiation_and_authentication_take_one_round_trip() {
    let question_and_get = (1, 2);
    let any = costs(&mut Memcached::start(&[]), patient_config()).await;
    assert_eq!(any, [question_and_get; 2]);
    let text = costs(&mut Memcached::start(&["-B", "ascii"]), patient_config()).await;
    assert_eq!(text, [question_and_get; 2]);
    // A wrong first assumption costs one connection.
    let binary = costs(&mut Memcached::start(&["-B", "binary"]), patient_config()).await;
    assert_eq!(binary, [(2, 3), question_and_get]);
    let sasl = costs(&mut Memcached::start_sasl(&[]), known()).await;
    assert_eq!(sasl, [(2, 3), question_and_get]);
    let (mut server, _dir) = with_password_file();
    assert_eq!(costs(&mut server, known()).await, [(2, 3), question_and_get]);
    let optional = patient_config().credentials(Credentials::new("a", "b").optional());
    let not_asked_for = costs(&mut Memcached::start(&[]), optional).await;
    assert_eq!(not_asked_for, [question_and_get; 2]);
    let given = costs(&mut Memcached::start(&[]), patient_config().protocol(ProtocolSetting::Meta)).await;
    assert_eq!(given, [(1, 1); 2]);
}

#[tokio::test]
async fn a_negotiated_protocol_is_shared_by_all_connections() {
    let server = Memcached::start(&["-B", "binary"]);
    let route = Route::to(&server.addr());
    let client = route.client(patient_config().connections(4));
    for _ in 0..8 {
        client.get("k").await.unwrap();
    }
    assert_eq!(route.take().0, 1 + 4, "one assumption was wrong");
}

/// One server of every kind.
struct Kinds {
    real: Vec<(&'static str, Memcached)>,
    embedded: Vec<(&'static str, Server)>,
    proxy: Nutcracker,
    _dir: tempfile::TempDir,
}

impl Kinds {
    async fn start() -> Self {
        let (with_file, _dir) = with_password_file();
        let real = vec![
            ("any protocol", Memcached::start(&[])),
            ("binary alone", Memcached::start(&["-B", "binary"])),
            ("text alone", Memcached::start(&["-B", "ascii"])),
            ("SASL", Memcached::start_sasl(&[])),
            ("a password file", with_file),
        ];
        let proxy = Nutcracker::start(&[real[0].1.addr()]);
        let (old, other) = (Server::builder().version("1.4.39"), Server::builder().version("0.5.0"));
        let embedded = vec![
            ("an old version", old.start().await.unwrap()),
            ("a proxy that knows meta by chance", other.binding_protocol(BindingProtocol::Text).start().await.unwrap()),
        ];
        Self { real, embedded, proxy, _dir }
    }

    fn all(&self) -> Vec<(&'static str, String)> {
        let real = self.real.iter().map(|(kind, server)| (*kind, server.addr()));
        let embedded = self.embedded.iter().map(|(kind, server)| (*kind, server.address()));
        real.chain(embedded).chain([("nutcracker", self.proxy.address.clone())]).collect()
    }
}

/// A proxy that closes all connections, as happens when a server is replaced.
struct ClosingProxy(Proxy);

impl ClosingProxy {
    async fn before(address: &str) -> Self {
        Self(Proxy::start(address).await)
    }

    fn close(&self) {
        self.0.close_connections(remcache_testkit::Close::Fin);
    }
}

#[tokio::test]
async fn a_server_replaced_by_any_other_kind_is_used_again() {
    let kinds = Kinds::start().await;
    for (before, first) in kinds.all() {
        for (after, second) in kinds.all() {
            let (one, other) = (ClosingProxy::before(&first).await, ClosingProxy::before(&second).await);
            let route = Route::to(&one.0.addr());
            let optional = Credentials::new(SASL_USER, SASL_PASSWORD).optional();
            let config = patient_config()
                .credentials(optional)
                .reconnect_delay(Duration::from_millis(1), Duration::from_millis(5));
            // A binary-only server reads a short line as the start of a packet, and waits for the rest.
            let client = route.client(config.keepalive(Duration::from_secs(5), Duration::from_secs(1)));
            wait_until("the server is used", async || client.set("k", "v").await.is_ok()).await;
            route.redirect(&other.0.addr());
            one.close();
            let what = format!("{after} after {before}");
            wait_until(&what, async || client.set("k", "v").await.is_ok()).await;
            assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
        }
    }
}

#[tokio::test]
async fn a_server_that_no_longer_requires_a_password_is_rejected() {
    let (with_file, _dir) = with_password_file();
    let without = Memcached::start(&[]);
    let (one, other) = (ClosingProxy::before(&with_file.addr()).await, ClosingProxy::before(&without.addr()).await);
    let route = Route::to(&one.0.addr());
    let client = route.client(known());
    works(&client).await;
    route.redirect(&other.0.addr());
    one.close();
    wait_until(
        "the protocol changed",
        async || matches!(client.get("k").await, Err(error) if error.kind() == ErrorKind::Auth),
    )
    .await;
    let observer = Client::with_config([without.addr()], patient_config()).unwrap();
    let found = observer.servers()[0].metadump().next().await;
    assert!(found.is_none(), "the password was stored as an item: {found:?}");
}

#[tokio::test(start_paused = true)]
async fn requests_wait_for_the_negotiation_within_limits_and_deadlines() {
    /// A server that accepts connections and never replies.
    #[derive(Debug)]
    struct NeverReplies;

    impl Connect for NeverReplies {
        fn connect<'a>(&'a self, _: &'a Address, _: &'a TransportSettings) -> ConnectFuture<'a> {
            Box::pin(async {
                let (client, server) = tokio::io::duplex(4096);
                tokio::spawn(async move {
                    std::future::pending::<()>().await;
                    drop(server);
                });
                Ok(Box::new(client) as Box<dyn Stream>)
            })
        }
    }

    let config = Config::new().max_in_flight(10).overload(Overload::Fail).connector(NeverReplies);
    let config = config.timeout(Duration::from_secs(9)).connect_timeout(Duration::from_secs(3));
    let client = Client::with_config(["server"], config).unwrap();
    let call = |timeout: u64| {
        let client = client.clone();
        tokio::spawn(async move { client.get("k").timeout(Duration::from_secs(timeout)).await.unwrap_err().kind() })
    };
    let (short, long): (Vec<_>, Vec<_>) = ((0..5).map(|_| call(1)).collect(), (0..5).map(|_| call(9)).collect());
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(client.servers()[0].in_flight(), 10);
    assert_eq!(client.get("one too many").await.unwrap_err().kind(), ErrorKind::Overloaded);
    let started = tokio::time::Instant::now();
    for call in short {
        assert_eq!(call.await.unwrap(), ErrorKind::TimedOut(Delivery::NotSent));
    }
    assert!(started.elapsed() < Duration::from_secs(2));
    for call in long {
        assert_eq!(call.await.unwrap(), ErrorKind::Disconnected(Delivery::NotSent), "the probe was not answered");
    }
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn unsupported_requests_are_refused_without_sending_a_byte() {
    for (args, request) in
        [(["-B", "ascii"], Request::append("k", "v").cas(7)), (["-B", "binary"], Request::inspect("k"))]
    {
        let server = Memcached::start(&args);
        let proxy = Proxy::start(server.addr()).await;
        // The first request waits for the negotiation; the next one is executed.
        let client = Client::with_config([proxy.addr()], patient_config()).unwrap();
        let (refused, neighbour) = tokio::join!(client.call(request.clone()), client.get("neighbour"));
        // Current text servers support meta, which has all features.
        let expected = if args[1] == "ascii" { Status::ItemNotStored } else { Status::Unsupported };
        assert_eq!(refused.status, expected, "{request:?}");
        assert!(neighbour.unwrap().is_none());
        assert_eq!(client.call(request).await.status, expected);
    }
}
