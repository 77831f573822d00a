//! Certificates of every kind, good and bad, made for a test.

use crate::scratch;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// An authority that signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    dir: TempDir,
}

/// When a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a date is past, present or future")]
pub enum Dates {
    /// Today.
    Now,
    /// Until the year 2001.
    Past,
    /// From the year 2100 on.
    Future,
}

/// A certificate and its key, in two files.
#[derive(Debug)]
pub struct Certificate {
    dir: TempDir,
}

impl Authority {
    /// A new authority, which nobody trusts yet.
    ///
    /// # Panics
    /// When the machine has no randomness.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = params(&[], name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        let pem = params.self_signed(&key).expect("an authority signs itself").pem();
        let dir = scratch();
        fs::write(dir.path().join(AUTHORITY), &pem).expect("the directory is writable");
        Self { issuer: Issuer::new(params, key), pem, dir }
    }

    /// The authority's certificate, as PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The file that holds it.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.dir.path().join(AUTHORITY)
    }

    /// Signs a certificate for these names, host names or addresses.
    ///
    /// # Panics
    /// When a name is none.
    #[must_use]
    pub fn certify(&self, names: &[&str], dates: Dates) -> Certificate {
        let dir = scratch();
        self.certify_into(dir.path(), names, dates);
        Certificate { dir }
    }

    /// Signs another one, which takes the place of `old` in its files.
    ///
    /// # Panics
    /// As [`Authority::certify`].
    pub fn renew(&self, old: &Certificate, names: &[&str], dates: Dates) {
        self.certify_into(old.dir.path(), names, dates);
    }

    fn certify_into(&self, dir: &Path, names: &[&str], dates: Dates) {
        let mut params = params(names, "a certificate of a test");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = match dates {
            Dates::Now => (date_time_ymd(2000, 1, 1), date_time_ymd(4000, 1, 1)),
            Dates::Past => (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1)),
            Dates::Future => (date_time_ymd(2100, 1, 1), date_time_ymd(4000, 1, 1)),
        };
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("an authority signs");
        // The server reads them as nobody.
        fs::write(dir.join(CERTIFICATE), certificate.pem()).expect("the directory is writable");
        fs::write(dir.join(KEY), key.serialize_pem()).expect("the directory is writable");
    }
}

impl Certificate {
    /// The file of the certificate.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.dir.path().join(CERTIFICATE)
    }

    /// The file of its key.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.dir.path().join(KEY)
    }

    /// What a memcached is told by `-o` to use it.
    #[must_use]
    pub fn server_options(&self) -> String {
        format!("ssl_chain_cert={},ssl_key={}", self.file().display(), self.key_file().display())
    }
}

fn params(names: &[&str], name: &str) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names that a certificate can be for");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

const AUTHORITY: &str = "authority.pem";
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";
