//! PEM certificates and keys, in files or in memory.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// A source of PEM, whose contents `Debug` does not show.
#[derive(Clone)]
pub(crate) enum Pem {
    /// A file, read each time.
    File(PathBuf),
    /// A text.
    Text(PemBytes),
}

/// The bytes of a PEM text: zeroized when the last clone is dropped, and not shown by `Debug`.
#[derive(Clone, PartialEq)]
pub(crate) struct PemBytes(Arc<Zeroizing<Vec<u8>>>);

impl PemBytes {
    fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }
}

impl fmt::Debug for PemBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Pem {
    pub(crate) fn text(pem: impl Into<Vec<u8>>) -> Self {
        Self::Text(PemBytes::new(pem.into()))
    }

    /// Reads all certificates, at least one.
    pub(crate) fn certificates(&self, what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
        self.certificates_in(&self.read(what)?, what)
    }

    /// Parses the certificates in bytes that were read from this source.
    pub(crate) fn certificates_in(&self, bytes: &PemBytes, what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes.0).collect();
        match found {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            Ok(_) => Err(format!("{self} holds no {what}")),
            Err(error) => Err(format!("{self} holds no {what}: {error}")),
        }
    }

    /// Parses the private key in bytes that were read from this source.
    pub(crate) fn private_key_in(&self, bytes: &PemBytes) -> Result<PrivateKeyDer<'static>, String> {
        // The parser's error is dropped, because it could contain a part of the key.
        PrivateKeyDer::from_pem_slice(&bytes.0).map_err(|_| format!("{self} holds no private key"))
    }

    pub(crate) fn read(&self, what: &str) -> Result<PemBytes, String> {
        match self {
            Self::Text(secret) => Ok(secret.clone()),
            Self::File(path) => match std::fs::read(path) {
                Ok(bytes) => Ok(PemBytes::new(bytes)),
                Err(error) => Err(format!("the {what} cannot be read from {}: {error}", path.display())),
            },
        }
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Text(_) => f.write_str("the PEM text"),
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
