//! Tests of TLS and of the profile of ElastiCache Serverless, which requires it.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use remcache_server::rustls::crypto::ring;
use remcache_server::rustls::pki_types::pem::PemObject;
use remcache_server::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use remcache_server::rustls::{ClientConfig, RootCertStore, ServerConfig};
use remcache_server::{Builder, Close, Fault, Profile, Server};
use remcache_testkit::{Authority, Dates};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

// Reached only if the server misbehaves.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server with a certificate, and the configuration of a client that trusts it.
struct Tls {
    server: Arc<ServerConfig>,
    connector: TlsConnector,
}

impl Tls {
    fn new() -> Self {
        let authority = Authority::new("test authority");
        let certificate = authority.certify(&["localhost"], Dates::Now);
        let chain = vec![CertificateDer::from_pem_file(certificate.file()).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_file(certificate.key_file()).expect("a private key");
        // By name: with the features of other packages there are two.
        let provider = Arc::new(ring::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let server = server.expect("protocol versions").with_no_client_auth();
        let server = server.with_single_cert(chain, key).expect("a valid pair");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority.file()).expect("a certificate")).expect("an authority");
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let client = client.expect("protocol versions").with_root_certificates(roots).with_no_client_auth();
        Self { server: Arc::new(server), connector: TlsConnector::from(Arc::new(client)) }
    }

    async fn start(&self, builder: Builder) -> Server {
        builder.tls(Arc::clone(&self.server)).start().await.expect("a loopback port")
    }

    async fn connect(&self, server: &Server) -> Client {
        let stream = TcpStream::connect(server.address()).await.expect("the server listens");
        let name = ServerName::try_from("localhost").expect("a valid name");
        Client(self.connector.connect(name, stream).await.expect("a TLS handshake"))
    }
}

struct Client(TlsStream<TcpStream>);

impl Client {
    /// Sends a command and reads a reply of the expected length.
    async fn command(&mut self, command: impl AsRef<[u8]>, reply: &str) {
        self.0.write_all(command.as_ref()).await.expect("the server reads");
        let mut bytes = vec![0; reply.len()];
        let read = timeout(PATIENCE, self.0.read_exact(&mut bytes)).await.expect("the server answers");
        assert!(read.is_ok(), "{read:?} for {}", command.as_ref().escape_ascii());
        assert_eq!(String::from_utf8_lossy(&bytes), reply, "{}", command.as_ref().escape_ascii());
    }

    /// Reads to the end of the stream.
    async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // The end may be an error: a reset, or a missing close_notify.
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut bytes)).await.expect("the server closes");
        bytes
    }
}

#[tokio::test]
async fn a_server_speaks_all_protocols_over_tls() {
    let tls = Tls::new();
    let server = tls.start(Server::builder()).await;
    let mut client = tls.connect(&server).await;
    client.command("set k 0 0 1\r\nv\r\n", "STORED\r\n").await;
    client.command("mg k v\r\n", "VA 1\r\nv\r\n").await;
    let mut client = tls.connect(&server).await;
    // A binary no-op.
    let mut request = [0; 24];
    (request[0], request[1]) = (0x80, 0x0a);
    client.0.write_all(&request).await.expect("the server reads");
    let mut reply = [0; 24];
    client.0.read_exact(&mut reply).await.expect("the server answers");
    assert_eq!((reply[0], reply[1]), (0x81, 0x0a));
    assert_eq!((server.tls_handshakes(), server.connections()), (2, 2));
}

#[tokio::test]
async fn a_large_value_passes_through_tls() {
    let tls = Tls::new();
    let server = tls.start(Server::builder()).await;
    let mut client = tls.connect(&server).await;
    let value = "v".repeat(1_000_000);
    client.command(format!("ms k 1000000\r\n{value}\r\n"), "HD\r\n").await;
    client.command("mg k v\r\n", &format!("VA 1000000\r\n{value}\r\n")).await;
}

#[tokio::test]
async fn resumed_sessions_are_counted() {
    let tls = Tls::new();
    let server = tls.start(Server::builder()).await;
    for resumptions in 0..3 {
        let mut client = tls.connect(&server).await;
        // Reading a reply also reads the session tickets that the server sent before it.
        client.command("mn\r\n", "MN\r\n").await;
        assert_eq!((server.tls_handshakes(), server.tls_resumptions()), (resumptions + 1, resumptions));
    }
}

#[tokio::test]
async fn a_client_without_tls_is_disconnected() {
    let tls = Tls::new();
    let server = tls.start(Server::builder()).await;
    let mut client = TcpStream::connect(server.address()).await.expect("the server listens");
    client.write_all(b"version\r\n").await.expect("a new connection");
    let mut bytes = Vec::new();
    // The end may be a reset, because the server does not read everything.
    let _ = timeout(PATIENCE, client.read_to_end(&mut bytes)).await.expect("the server closes");
    assert!(!bytes.starts_with(b"VERSION"));
    assert_eq!(server.tls_handshakes(), 0);
}

#[tokio::test]
async fn faults_apply_within_tls() {
    let tls = Tls::new();
    let server = tls.start(Server::builder()).await;
    for close in [Close::Fin, Close::Rst] {
        let mut client = tls.connect(&server).await;
        server.inject(Fault::Disconnect { after: 1, close }.on_reply(1));
        client.0.write_all(b"mn\r\n").await.expect("the server reads");
        let rest = client.rest().await;
        assert!(rest == b"M" || close == Close::Rst && rest.is_empty(), "{close:?} {}", rest.escape_ascii());
    }
}

#[tokio::test]
async fn tls_works_over_a_pipe() {
    let tls = Tls::new();
    let server = tls.start(Server::builder().without_listener()).await;
    let (client, stream) = tokio::io::duplex(64);
    tokio::spawn(server.serve(stream));
    let name = ServerName::try_from("localhost").expect("a valid name");
    let mut client = tls.connector.connect(name, client).await.expect("a TLS handshake");
    client.write_all(b"mn\r\n").await.expect("the server reads");
    let mut reply = [0; 4];
    client.read_exact(&mut reply).await.expect("the server answers");
    assert_eq!(&reply, b"MN\r\n");
}

fn serverless() -> Builder {
    Server::builder().profile(Profile::ElastiCacheServerless)
}

#[tokio::test]
async fn serverless_requires_tls() {
    let error = serverless().start().await.expect_err("there is no TLS configuration");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("Builder::tls"), "{error}");
    serverless().without_listener().start().await.expect("the caller may wrap the streams in TLS");
}

#[tokio::test]
async fn serverless_executes_classic_and_meta_commands() {
    let tls = Tls::new();
    let server = tls.start(serverless()).await;
    let mut client = tls.connect(&server).await;
    for (command, reply) in [
        ("version\r\n", "VERSION 1.6.22\r\n"),
        ("set k 0 0 1\r\n5\r\n", "STORED\r\n"),
        ("gets k\r\n", "VALUE k 0 1 1\r\n5\r\nEND\r\n"),
        ("incr k 2\r\n", "7\r\n"),
        ("touch k 100\r\n", "TOUCHED\r\n"),
        ("mg k v t\r\n", "VA 1 t100\r\n7\r\n"),
        ("ms k 1\r\n8\r\n", "HD\r\n"),
        ("ma k v\r\n", "VA 1\r\n9\r\n"),
        ("md k\r\n", "HD\r\n"),
        ("mn\r\n", "MN\r\n"),
        ("flush_all\r\n", "OK\r\n"),
        ("flush_all 0\r\n", "OK\r\n"),
        ("stats reset\r\n", "RESET\r\n"),
        ("stats\r\n", "STAT pid "),
    ] {
        client.command(command, reply).await;
    }
}

#[tokio::test]
async fn serverless_refuses_other_commands() {
    let tls = Tls::new();
    let server = tls.start(serverless().cluster(1, [])).await;
    let mut client = tls.connect(&server).await;
    for command in [
        "me k",
        "stats items",
        "stats settings",
        "stats detail on",
        "stats cachedump 1 1",
        "lru_crawler metadump all",
        "watch",
        "verbosity 1",
        "cache_memlimit 64",
        "slabs automove 1",
        "shutdown",
    ] {
        client.command(format!("{command}\r\n"), "ERROR\r\n").await;
    }
    for delay in ["1", "3600", "-1", "1900000000"] {
        client.command(format!("flush_all {delay}\r\n"), "CLIENT_ERROR delayed flush_all not supported\r\n").await;
    }
}

#[tokio::test]
async fn serverless_closes_binary_connections() {
    let tls = Tls::new();
    let server = tls.start(serverless()).await;
    let mut client = tls.connect(&server).await;
    client.0.write_all(&[0x80; 24]).await.expect("a new connection");
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn serverless_limits_the_line_of_a_get_to_16_kib() {
    let tls = Tls::new();
    let server = tls.start(serverless()).await;
    let longest = format!("get {}kk", "k ".repeat(8189));
    assert_eq!(longest.len(), 16 * 1024);
    let mut client = tls.connect(&server).await;
    client.command(format!("{longest}\r\n"), "END\r\n").await;
    client.command(format!("{longest} k\r\n"), "CLIENT_ERROR line too long\r\n").await;
    assert_eq!(client.rest().await, b"");
    // Without a line end.
    let mut client = tls.connect(&server).await;
    client.command(format!("{longest} kkkkk"), "CLIENT_ERROR line too long\r\n").await;
}
