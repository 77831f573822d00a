//! Certificates for tests, valid and invalid.

use crate::scratch;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    dir: TempDir,
}

/// The validity period of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a period is past, present or future")]
pub enum Dates {
    /// Valid today.
    Now,
    /// Valid today, and for five more days.
    EndingSoon,
    /// Expired in 2001.
    Past,
    /// Not valid before 2100.
    Future,
}

/// A certificate and its private key, in two files.
#[derive(Debug)]
pub struct Certificate {
    dir: TempDir,
}

impl Authority {
    /// Creates an authority with a new key.
    ///
    /// # Panics
    /// Panics if the key cannot be generated or the files cannot be written.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = params(&[], name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be generated");
        let pem = params.self_signed(&key).expect("an authority can sign its own certificate").pem();
        let dir = scratch();
        fs::write(dir.path().join(AUTHORITY), &pem).expect("the directory is writable");
        Self { issuer: Issuer::new(params, key), pem, dir }
    }

    /// Returns the authority's certificate as PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Returns the path of the PEM file with the authority's certificate.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.dir.path().join(AUTHORITY)
    }

    /// Issues a certificate for these host names or IP addresses.
    ///
    /// # Panics
    /// Panics if a name is invalid.
    #[must_use]
    pub fn certify(&self, names: &[&str], dates: Dates) -> Certificate {
        let dir = scratch();
        self.certify_into(dir.path(), names, dates);
        Certificate { dir }
    }

    /// Issues a certificate that replaces `old` in its files.
    ///
    /// # Panics
    /// Panics like [`Authority::certify`].
    pub fn renew(&self, old: &Certificate, names: &[&str], dates: Dates) {
        self.certify_into(old.dir.path(), names, dates);
    }

    fn certify_into(&self, dir: &Path, names: &[&str], dates: Dates) {
        let mut params = params(names, "test certificate");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = match dates {
            Dates::Now => (date_time_ymd(2000, 1, 1), date_time_ymd(4000, 1, 1)),
            Dates::EndingSoon => {
                (date_time_ymd(2000, 1, 1), (SystemTime::now() + Duration::from_secs(5 * 86_400)).into())
            }
            Dates::Past => (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1)),
            Dates::Future => (date_time_ymd(2100, 1, 1), date_time_ymd(4000, 1, 1)),
        };
        let key = KeyPair::generate().expect("a key can be generated");
        let certificate = params.signed_by(&key, &self.issuer).expect("an authority can sign");
        // World-readable, because a memcached that root starts drops its privileges.
        fs::write(dir.join(CERTIFICATE), certificate.pem()).expect("the directory is writable");
        fs::write(dir.join(KEY), key.serialize_pem()).expect("the directory is writable");
    }
}

impl Certificate {
    /// Returns the path of the certificate.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.dir.path().join(CERTIFICATE)
    }

    /// Returns the path of the private key.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.dir.path().join(KEY)
    }

    /// Returns the value of memcached's `-o` option that selects this certificate.
    #[must_use]
    pub fn server_options(&self) -> String {
        format!("ssl_chain_cert={},ssl_key={}", self.file().display(), self.key_file().display())
    }
}

fn params(names: &[&str], name: &str) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("valid names");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

const AUTHORITY: &str = "authority.pem";
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";
