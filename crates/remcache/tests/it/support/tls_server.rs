//! An embedded server with TLS, and its certificate authority.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use remcache::Config;
use remcache::transport::Tls;
use remcache_server::rustls::ServerConfig;
use remcache_server::rustls::crypto::ring;
use remcache_server::rustls::pki_types::pem::PemObject;
use remcache_server::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use remcache_server::{Builder, Server};
use remcache_testkit::{Authority, Certificate, Dates};

/// Issues certificates for servers, and is trusted by clients.
pub(crate) struct TlsServers {
    authority: Authority,
    certificate: Certificate,
}

impl TlsServers {
    pub(crate) fn new() -> Self {
        let authority = Authority::new("test authority");
        let certificate = authority.certify(&["localhost", "127.0.0.1"], Dates::Now);
        Self { authority, certificate }
    }

    /// Starts a server with the certificate.
    pub(crate) async fn start(&self, builder: Builder) -> Server {
        let chain = vec![CertificateDer::from_pem_file(self.certificate.file()).unwrap()];
        let key = PrivateKeyDer::from_pem_file(self.certificate.key_file()).unwrap();
        // By name: with all features there are two providers.
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        builder.tls(config.with_single_cert(chain, key).unwrap()).start().await.unwrap()
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Settings of a client that trusts the servers.
    pub(crate) fn trusted_by(&self, config: Config) -> Config {
        config.tls(Tls::with_roots_file(self.authority.file()))
    }
}
