//! The expiry of a server's certificate.

use remcache::ServerHandle;

/// When a certificate expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiry {
    /// As Unix time in seconds.
    pub(crate) at: u64,
    /// Seconds from now; 0 if it has expired.
    pub(crate) remaining: u64,
}

impl Expiry {
    /// Returns the expiry of the certificate that a server presented; `None` without TLS.
    #[cfg(feature = "tls")]
    pub(crate) fn of(server: &ServerHandle) -> Option<Self> {
        Self::read(&server.peer_certificate()?)
    }

    #[cfg(not(feature = "tls"))]
    pub(crate) fn of(_: &ServerHandle) -> Option<Self> {
        None
    }

    /// Reads a certificate in DER; `None` if it is invalid.
    #[cfg(feature = "tls")]
    fn read(certificate: &[u8]) -> Option<Self> {
        use std::time::{SystemTime, UNIX_EPOCH};

        use x509_cert::Certificate;
        use x509_cert::der::Decode as _;

        let certificate = Certificate::from_der(certificate).ok()?;
        let at = certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        Some(Self { at, remaining: at.saturating_sub(now) })
    }

    /// Returns the days that remain.
    pub(crate) fn days(self) -> f64 {
        self.remaining as f64 / 86_400.0
    }

    /// Returns the date, in UTC.
    pub(crate) fn date(self) -> String {
        let time = i64::try_from(self.at).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        time.map(|time| time.strftime("%F").to_string()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_days() {
        let expiry = Expiry { at: 1_798_761_600, remaining: 43_200 };
        assert_eq!((expiry.date().as_str(), expiry.days()), ("2027-01-01", 0.5));
    }

    #[test]
    #[cfg(feature = "tls")]
    fn certificates_and_other_bytes() {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD;
        use remcache_testkit::{Authority, Dates};

        let certificate = Authority::new("remcache test").certify(&["localhost"], Dates::EndingSoon);
        let pem = std::fs::read_to_string(certificate.file()).unwrap();
        let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let days = Expiry::read(&STANDARD.decode(base64).unwrap()).unwrap().days();
        assert!((3.0..6.0).contains(&days), "{days}");
        for bytes in [&b""[..], b"text", b"\x30\x84\xff\xff\xff\xff"] {
            assert_eq!(Expiry::read(bytes), None);
        }
    }
}
