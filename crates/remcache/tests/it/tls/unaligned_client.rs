//! A client that writes its requests to TLS without aligning them to records.

use std::sync::Arc;

use remcache::proto::binary::{self, Packet};
use remcache::proto::{InputBuffer, Output, Request};
use remcache_testkit::{Authority, Memcached};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A TLS connection.
pub(crate) struct UnalignedClient(TlsStream<TcpStream>);

impl UnalignedClient {
    /// Connects to a server on `127.0.0.1`.
    pub(crate) async fn connect(server: &Memcached, authority: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(server.addr()).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        Self(TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap())
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// Reads `count` replies.
    pub(crate) async fn read_replies(&mut self, count: usize) {
        let mut input = InputBuffer::new();
        let mut seen = 0;
        while seen < count {
            while Packet::decode(&mut input, 1 << 20).unwrap().is_some() {
                seen += 1;
            }
            if seen < count {
                assert!(self.0.read_buf(input.spare_capacity()).await.unwrap() > 0, "the server closed the connection");
            }
        }
    }
}

/// Encodes `count` sets with values of this length, followed by a no-op.
pub(crate) fn sets_and_a_noop(count: usize, length: usize) -> Vec<u8> {
    let value = vec![b'v'; length];
    let mut output = Output::new();
    for opaque in 0..count {
        binary::encode(&Request::set(format!("key{opaque}"), &value[..]), opaque as u32, &mut output).unwrap();
    }
    binary::encode(&Request::noop(), count as u32, &mut output).unwrap();
    output.small().to_vec()
}
