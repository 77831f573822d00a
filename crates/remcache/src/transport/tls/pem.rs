//! Certificates and keys in PEM, in files or in memory.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// Where PEM comes from. What it holds is never shown.
#[derive(Clone)]
pub(crate) enum Pem {
    /// A file, read each time.
    File(PathBuf),
    /// A text.
    Text(Arc<Zeroizing<Vec<u8>>>),
}

impl Pem {
    pub(crate) fn text(pem: impl Into<Vec<u8>>) -> Self {
        Self::Text(Arc::new(Zeroizing::new(pem.into())))
    }

    /// All certificates; at least one.
    pub(crate) fn certificates(&self, what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
        let bytes = self.read(what)?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        match found {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            Ok(_) => Err(format!("{self} holds no {what}")),
            Err(error) => Err(format!("{self} holds no {what}: {error}")),
        }
    }

    pub(crate) fn private_key(&self) -> Result<PrivateKeyDer<'static>, String> {
        let what = "private key";
        // Errors within a key are not shown: the text could contain a part of it.
        PrivateKeyDer::from_pem_slice(&self.read(what)?).map_err(|_| format!("{self} holds no {what}"))
    }

    fn read(&self, what: &str) -> Result<Arc<Zeroizing<Vec<u8>>>, String> {
        match self {
            Self::Text(bytes) => Ok(Arc::clone(bytes)),
            Self::File(path) => match std::fs::read(path) {
                Ok(bytes) => Ok(Arc::new(Zeroizing::new(bytes))),
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
