//! TLS: whom to trust, who we are, and the handshake.
pub(crate) mod peer_alert;

mod explain;
mod pem;
#[cfg(feature = "dangerous-tls")]
mod unverified;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::address::Address;
use crate::failure::Failure;
use crate::transport::Stream;
use crate::transport::tls::peer_alert::Beginning;
pub(crate) use explain::failure;
use pem::Pem;

/// Whom to trust, and who we are, when a connection is encrypted.
///
/// The server's certificate is checked in full: that a trusted authority signed it, its dates, and
/// that it is for the host of the server's address. TLS 1.2 and 1.3 are spoken.
///
/// Certificates are read again for each connection, so that one renewed in place is used
/// without a restart.
///
/// ```
/// use remcache::Config;
/// use remcache::transport::Tls;
///
/// let config = Config::new().tls(Tls::with_roots_file("/etc/memcached/ca.pem"));
/// let from_url = Config::from_url("memcacheds://cache1,cache2")?; // the system's authorities
/// # Ok::<(), remcache::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tls {
    trust: Trust,
    identity: Option<Identity>,
    server_name: Option<String>,
}

#[derive(Clone, Debug)]
enum Trust {
    System,
    Roots(Pem),
    #[cfg(feature = "dangerous-tls")]
    Everybody,
}

/// A certificate of ours, and its key.
#[derive(Clone, Debug)]
struct Identity {
    certificate: Pem,
    key: Pem,
}

impl Default for Tls {
    /// As [`Tls::with_system_roots`].
    fn default() -> Self {
        Self::with_system_roots()
    }
}

impl Tls {
    fn trusting(trust: Trust) -> Self {
        Self { trust, identity: None, server_name: None }
    }

    /// Trusts the authorities that the system trusts.
    pub fn with_system_roots() -> Self {
        Self::trusting(Trust::System)
    }

    /// Trusts the authorities whose certificates are in this PEM file, and no others.
    pub fn with_roots_file(path: impl Into<PathBuf>) -> Self {
        Self::trusting(Trust::Roots(Pem::File(path.into())))
    }

    /// Trusts the authorities whose certificates are in this PEM text, and no others.
    pub fn with_roots_pem(pem: impl Into<Vec<u8>>) -> Self {
        Self::trusting(Trust::Roots(Pem::text(pem)))
    }

    /// Trusts any peer: **no certificate is checked**, so anyone on the path can read and
    /// change everything, passwords included. For experiments.
    #[cfg(feature = "dangerous-tls")]
    pub fn dangerous_without_verification() -> Self {
        Self::trusting(Trust::Everybody)
    }

    /// Shows this certificate (with its chain) to servers that ask for one; both are PEM files.
    #[must_use]
    pub fn client_certificate(self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.identity(Pem::File(certificate.into()), Pem::File(key.into()))
    }

    /// The same from PEM texts; the key's memory is overwritten when the last clone is dropped.
    #[must_use]
    pub fn client_certificate_pem(self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.identity(Pem::text(certificate), Pem::text(key))
    }

    fn identity(self, certificate: Pem, key: Pem) -> Self {
        Self { identity: Some(Identity { certificate, key }), ..self }
    }

    /// The name for which the servers' certificates must be, instead of the host of each address:
    /// where addresses are numbers or Unix sockets, and certificates are for names.
    #[must_use]
    pub fn server_name(self, name: impl Into<String>) -> Self {
        Self { server_name: Some(name.into()), ..self }
    }

    /// Refuses what cannot work with any server.
    pub(crate) fn check(&self) -> Result<(), String> {
        match &self.server_name {
            Some(name) => parse_name(name).map(drop),
            None => Ok(()),
        }
    }

    /// Agrees on TLS with a server; the caller limits how long it may take.
    pub(crate) async fn connect(&self, stream: Box<dyn Stream>, address: &Address) -> Result<Box<dyn Stream>, Failure> {
        let name = self.name_for(address).map_err(Failure::Tls)?;
        let settings = self.clone();
        // Files are read here, which may block.
        let prepared = tokio::task::spawn_blocking(move || settings.prepare()).await;
        let prepared = prepared.map_err(|_| Failure::Tls("the certificates could not be read".into()))?;
        let connector = TlsConnector::from(Arc::new(prepared.map_err(Failure::Tls)?));
        match connector.connect(name, Beginning::new(stream)).into_fallible().await {
            Ok(stream) => Ok(Box::new(stream)),
            Err((error, stream)) => Err(explain::handshake(&error, stream.bytes())),
        }
    }

    fn name_for(&self, address: &Address) -> Result<ServerName<'static>, String> {
        match (&self.server_name, address) {
            (Some(name), _) => parse_name(name),
            // An IPv6 zone names an interface of this machine, and is not in a certificate.
            (None, Address::Tcp { host, .. }) => parse_name(host.split('%').next().unwrap_or(host)),
            (None, Address::Unix(_)) => {
                Err("the certificate of a server on a Unix socket has no host name to check: set Tls::server_name"
                    .into())
            }
        }
    }

    fn prepare(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match self.trust.roots(&provider)? {
            Verification::Roots(roots) => builder.with_root_certificates(roots),
            #[cfg(feature = "dangerous-tls")]
            Verification::Custom(verifier) => builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)),
        };
        match &self.identity {
            None => Ok(builder.with_no_client_auth()),
            Some(Identity { certificate, key }) => builder
                .with_client_auth_cert(certificate.certificates("client certificate")?, key.private_key()?)
                .map_err(|error| {
                    format!("the client certificate and its key cannot be used: {}", explain::in_words(&error))
                }),
        }
    }
}

enum Verification {
    Roots(RootCertStore),
    #[cfg(feature = "dangerous-tls")]
    Custom(unverified::Unverified),
}

impl Trust {
    #[cfg_attr(not(feature = "dangerous-tls"), expect(unused_variables, reason = "only who trusts everybody needs it"))]
    fn roots(&self, provider: &Arc<CryptoProvider>) -> Result<Verification, String> {
        let mut roots = RootCertStore::empty();
        match self {
            Self::System => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    return Err("the system has no trusted authorities: install ca-certificates, or pass a file to Tls::with_roots_file".into());
                }
            }
            Self::Roots(pem) => {
                for certificate in pem.certificates("authority's certificate")? {
                    roots.add(certificate).map_err(|error| {
                        format!("{pem} is not an authority's certificate: {}", explain::spelled_out(&error))
                    })?;
                }
            }
            #[cfg(feature = "dangerous-tls")]
            Self::Everybody => return Ok(Verification::Custom(unverified::Unverified(Arc::clone(provider)))),
        }
        Ok(Verification::Roots(roots))
    }
}

fn parse_name(name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is not a valid TLS server name"))
}

/// The error of rustls within one of a socket.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_setting_or_the_address() {
        let tcp = Address::Tcp { host: "::1".into(), port: 1 };
        let unix = Address::Unix("/run/cache.sock".into());
        let tls = Tls::with_system_roots();
        assert_eq!(tls.name_for(&tcp).unwrap().to_str(), "::1");
        let local = Address::Tcp { host: "fe80::1%eth0".into(), port: 1 };
        assert_eq!(tls.name_for(&local).unwrap().to_str(), "fe80::1");
        assert!(tls.name_for(&unix).unwrap_err().contains("server_name"));
        let tls = tls.server_name("cache.example");
        assert_eq!(tls.name_for(&unix).unwrap().to_str(), "cache.example");
        assert!(Tls::default().server_name("not a name").check().unwrap_err().contains("not a name"));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (tls, words) in [
            (Tls::with_roots_file("/nowhere/ca.pem"), ["/nowhere/ca.pem", "authority"]),
            (Tls::with_roots_pem("nothing"), ["PEM text", "authority"]),
            (Tls::default().client_certificate("/nowhere/a.pem", "/nowhere/b.pem"), ["/nowhere/a.pem", "client"]),
        ] {
            let said = tls.prepare().unwrap_err();
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
        }
    }

    #[test]
    fn keys_are_not_shown() {
        let tls = Tls::default().client_certificate_pem("certificate", "canary");
        assert!(!format!("{tls:?}").contains("canary"));
    }
}
