//! TLS streams for clients whose users open the streams.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::HOST;

/// Opens TLS streams to servers with certificates of one authority.
pub(super) struct Connector(TlsConnector);

impl Connector {
    /// Creates a connector that trusts the authority in this file.
    pub(super) fn trusting(authority: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(authority);
        for certificate in certificates.with_context(|| format!("reading {}", authority.display()))? {
            roots.add(certificate?)?;
        }
        // Named explicitly, because the features of other packages enable two providers.
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Performs a TLS handshake on an open connection.
    pub(super) async fn connect(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
        let host = ServerName::try_from(HOST)?;
        self.0.connect(host, stream).await.context("the TLS handshake")
    }
}
