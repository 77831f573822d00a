//! TLS: trusted authorities, the client certificate, and the handshake.
pub(crate) mod peer_alert;

mod explain;
mod pem;
#[cfg(feature = "dangerous-tls")]
mod unverified;

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::address::Address;
use crate::connection_failure::Failure;
use crate::transport::Stream;
use crate::transport::tls::peer_alert::RecordedStart;
pub(crate) use explain::failure;
use pem::{Pem, PemBytes};

/// TLS settings: trusted authorities and the client certificate.
///
/// The server's certificate is verified: its chain to a trusted authority, its validity period, and its name, which
/// must match the host of the server's address. TLS 1.2 and 1.3 are supported.
///
/// Certificate files are read for each connection, so that one renewed in place is used without a restart. While they
/// do not change, all connections of a client share one rustls configuration and its session cache: reconnecting to a
/// server resumes the TLS session, which saves a round trip and most of the cryptography.
///
/// The crypto provider is the process default (`CryptoProvider::install_default`) if there is one, otherwise that of
/// the feature `aws-lc-rs` or `ring`.
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
    /// The configuration that all connections share until its certificates change.
    prepared: Arc<Mutex<Option<Prepared>>>,
}

#[derive(Clone, Debug)]
enum Trust {
    System,
    Roots(Pem),
    /// A complete configuration provided by the caller.
    Custom(Arc<ClientConfig>),
    #[cfg(feature = "dangerous-tls")]
    Everybody,
}

/// The client certificate and its key.
#[derive(Clone, Debug)]
struct Identity {
    certificate: Pem,
    key: Pem,
}

impl Default for Tls {
    /// Returns the same settings as [`Tls::with_system_roots`].
    fn default() -> Self {
        Self::with_system_roots()
    }
}

impl Tls {
    fn with_trust(trust: Trust) -> Self {
        Self { trust, identity: None, server_name: None, prepared: Arc::default() }
    }

    /// Trusts the certificate authorities of the system.
    pub fn with_system_roots() -> Self {
        Self::with_trust(Trust::System)
    }

    /// Trusts only the certificate authorities in this PEM file.
    pub fn with_roots_file(path: impl Into<PathBuf>) -> Self {
        Self::with_trust(Trust::Roots(Pem::File(path.into())))
    }

    /// Trusts only the certificate authorities in this PEM text.
    pub fn with_roots_pem(pem: impl Into<Vec<u8>>) -> Self {
        Self::with_trust(Trust::Roots(Pem::text(pem)))
    }

    /// Uses a rustls configuration unchanged: for custom certificate verifiers, key stores or session resumption.
    ///
    /// It is never reloaded, and cannot be combined with [`client_certificate`](Tls::client_certificate).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use remcache::transport::{Tls, rustls};
    ///
    /// # fn f(roots: rustls::RootCertStore) {
    /// let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    /// let tls = Tls::custom(Arc::new(config));
    /// # }
    /// ```
    pub fn custom(config: Arc<ClientConfig>) -> Self {
        Self::with_trust(Trust::Custom(config))
    }

    /// Trusts any peer: **no certificate is verified**, so anyone on the path can read and change everything,
    /// including passwords. For experiments only.
    #[cfg(feature = "dangerous-tls")]
    pub fn dangerous_without_verification() -> Self {
        Self::with_trust(Trust::Everybody)
    }

    /// Presents this certificate (with its chain) to servers that request one; both paths are PEM files.
    #[must_use]
    pub fn client_certificate(self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.identity(Pem::File(certificate.into()), Pem::File(key.into()))
    }

    /// Like [`client_certificate`](Tls::client_certificate), with PEM texts; the key is zeroized when the last clone
    /// is dropped.
    #[must_use]
    pub fn client_certificate_pem(self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.identity(Pem::text(certificate), Pem::text(key))
    }

    fn identity(self, certificate: Pem, key: Pem) -> Self {
        // The prepared configuration belongs to the previous settings.
        Self { identity: Some(Identity { certificate, key }), prepared: Arc::default(), ..self }
    }

    /// Sets the name that servers' certificates must be issued for, instead of the host of each address: for addresses
    /// that are IP addresses or Unix sockets.
    #[must_use]
    pub fn server_name(self, name: impl Into<String>) -> Self {
        Self { server_name: Some(name.into()), ..self }
    }

    /// Checks the settings without connecting.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(name) = &self.server_name {
            parse_name(name)?;
        }
        match (&self.trust, &self.identity) {
            (Trust::Custom(_), Some(_)) => Err("Tls::custom cannot be combined with Tls::client_certificate: \
                give the certificate to the rustls configuration"
                .into()),
            (Trust::Custom(_), None) => Ok(()),
            _ => provider().map(drop),
        }
    }

    /// Performs the TLS handshake with a server; the caller applies the timeout.
    pub(crate) async fn connect(&self, stream: Box<dyn Stream>, address: &Address) -> Result<Box<dyn Stream>, Failure> {
        let name = self.name_for(address).map_err(|what| Failure::Tls(what.into()))?;
        let config = self.config().await.map_err(|what| Failure::Tls(what.into()))?;
        let connector = TlsConnector::from(config);
        match connector.connect(name, RecordedStart::new(stream)).into_fallible().await {
            Ok(stream) => Ok(Box::new(stream)),
            Err((error, stream)) => Err(explain::handshake(error, stream.bytes())),
        }
    }

    fn name_for(&self, address: &Address) -> Result<ServerName<'static>, String> {
        match (&self.server_name, address) {
            (Some(name), _) => parse_name(name),
            // An IPv6 zone names a local interface and is not part of a certificate.
            (None, Address::Tcp { host, .. }) => parse_name(host.split('%').next().unwrap_or(host)),
            (None, Address::Unix(_)) => {
                Err("the certificate of a server on a Unix socket has no host name to check: set Tls::server_name"
                    .into())
            }
        }
    }

    /// Returns the rustls configuration for a new connection.
    async fn config(&self) -> Result<Arc<ClientConfig>, String> {
        if let Trust::Custom(config) = &self.trust {
            return Ok(Arc::clone(config));
        }
        let settings = self.clone();
        // Reading files may block.
        let prepared = tokio::task::spawn_blocking(move || settings.prepare()).await;
        prepared.map_err(|_| "the certificates could not be read".to_owned())?
    }

    /// Returns the current configuration, or a new one if the certificates have changed.
    fn prepare(&self) -> Result<Arc<ClientConfig>, String> {
        let material = self.material()?;
        // Only ever replaced as a whole, so it is valid even after a panic.
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = prepared.as_ref().filter(|current| current.material == material) {
            return Ok(Arc::clone(&current.config));
        }
        let config = Arc::new(self.build(&material)?);
        *prepared = Some(Prepared { material, config: Arc::clone(&config) });
        Ok(config)
    }

    /// Reads the certificates and the key.
    fn material(&self) -> Result<Material, String> {
        let identity = match &self.identity {
            None => None,
            Some(Identity { certificate, key }) => {
                Some((certificate.read("client certificate")?, key.read("private key")?))
            }
        };
        Ok(Material { roots: self.trust.certificates()?, identity })
    }

    fn build(&self, material: &Material) -> Result<ClientConfig, String> {
        let provider = provider()?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match self.trust.verification(&material.roots, &provider)? {
            Verification::Roots(roots) => builder.with_root_certificates(roots),
            #[cfg(feature = "dangerous-tls")]
            Verification::Custom(verifier) => builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)),
        };
        let Some((Identity { certificate, key }, (chain, secret))) =
            self.identity.as_ref().zip(material.identity.as_ref())
        else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = certificate.certificates_in(chain, "client certificate")?;
        builder.with_client_auth_cert(chain, key.private_key_in(secret)?).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => explain::describe_error(&error),
            error => format!("the client certificate and its key cannot be used: {}", explain::describe_error(&error)),
        })
    }
}

/// A configuration and the certificates it was built from.
#[derive(Debug)]
struct Prepared {
    material: Material,
    config: Arc<ClientConfig>,
}

/// The contents of the certificates and the key.
#[derive(Debug, PartialEq)]
struct Material {
    roots: Vec<CertificateDer<'static>>,
    /// The PEM texts of the client certificate and of its key.
    identity: Option<(PemBytes, PemBytes)>,
}

/// Returns the crypto provider: the process default, or that of a feature.
fn provider() -> Result<Arc<CryptoProvider>, String> {
    if let Some(installed) = CryptoProvider::get_default() {
        return Ok(Arc::clone(installed));
    }
    provider_of_feature()
}

#[cfg(feature = "aws-lc-rs")]
#[expect(clippy::unnecessary_wraps, reason = "without a provider it fails")]
fn provider_of_feature() -> Result<Arc<CryptoProvider>, String> {
    Ok(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
#[expect(clippy::unnecessary_wraps, reason = "without a provider it fails")]
fn provider_of_feature() -> Result<Arc<CryptoProvider>, String> {
    Ok(Arc::new(rustls::crypto::ring::default_provider()))
}

#[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
fn provider_of_feature() -> Result<Arc<CryptoProvider>, String> {
    Err("TLS has no cryptography: turn on the feature `ring` or `aws-lc-rs` of remcache, \
        or install a default provider of rustls"
        .into())
}

/// Returns the peer's address, if this is an encrypted TCP connection.
pub(crate) fn peer_addr(stream: &dyn Any) -> Option<SocketAddr> {
    let encrypted = stream.downcast_ref::<TlsStream<RecordedStart>>()?;
    encrypted.get_ref().0.peer_addr()
}

/// Returns the certificate that the peer of an encrypted stream presented, in DER.
pub(crate) fn peer_certificate(stream: &dyn Any) -> Option<Vec<u8>> {
    let encrypted = stream.downcast_ref::<TlsStream<RecordedStart>>()?;
    encrypted.get_ref().1.peer_certificates()?.first().map(|certificate| certificate.to_vec())
}

enum Verification {
    Roots(RootCertStore),
    #[cfg(feature = "dangerous-tls")]
    Custom(unverified::Unverified),
}

impl Trust {
    /// Returns the certificates of the trusted authorities.
    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        match self {
            Self::System => Ok(rustls_native_certs::load_native_certs().certs),
            Self::Roots(pem) => pem.certificates("authority's certificate"),
            Self::Custom(_) => Ok(Vec::new()),
            #[cfg(feature = "dangerous-tls")]
            Self::Everybody => Ok(Vec::new()),
        }
    }

    #[cfg_attr(not(feature = "dangerous-tls"), expect(unused_variables, reason = "only who trusts everybody needs it"))]
    fn verification(
        &self,
        certificates: &[CertificateDer<'static>],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Verification, String> {
        let mut roots = RootCertStore::empty();
        match self {
            Self::Roots(pem) => {
                for certificate in certificates {
                    roots.add(certificate.clone()).map_err(|error| {
                        format!("{pem} is not an authority's certificate: {}", explain::variant_in_words(&error))
                    })?;
                }
            }
            #[cfg(feature = "dangerous-tls")]
            Self::Everybody => return Ok(Verification::Custom(unverified::Unverified(Arc::clone(provider)))),
            Self::System | Self::Custom(_) => {
                roots.add_parsable_certificates(certificates.iter().cloned());
                if roots.is_empty() {
                    return Err("the system has no trusted authorities: install ca-certificates, or pass a file to Tls::with_roots_file".into());
                }
            }
        }
        Ok(Verification::Roots(roots))
    }
}

fn parse_name(name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is not a valid TLS server name"))
}

/// Returns the rustls error inside an I/O error.
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
    fn missing_tools_are_named() {
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
