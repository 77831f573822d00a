//! The check of a server's certificate: it should not expire soon.

use std::time::{SystemTime, UNIX_EPOCH};

use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::{Finding, ServerInfo};
use crate::output::number;

/// Certificates are renewed by hand in many places: this leaves time to do it.
const SOON: u64 = 30 * 86_400;

pub(super) fn certificate(info: &ServerInfo) -> Option<Finding> {
    let certificate = Certificate::from_der(info.certificate.as_deref()?).ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let not_after = certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs();
    // A certificate that has expired is refused by the handshake.
    let remaining = not_after.saturating_sub(now);
    (remaining < SOON).then(|| {
        Finding::new(
            format!("its certificate expires in {}, on {}", number::age(remaining), date(not_after)),
            "renew it before then; memcached reads changed files after the command refresh_certs",
        )
    })
}

fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map(|time| time.strftime("%F").to_string()).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use remcache_testkit::Authority;
    pub(in crate::commands::doctor) use remcache_testkit::Dates;

    use super::*;

    /// A certificate in DER.
    pub(in crate::commands::doctor) fn certificate_of(dates: Dates) -> Vec<u8> {
        let certificate = Authority::new("remcache test").certify(&["localhost"], dates);
        let pem = std::fs::read_to_string(certificate.file()).unwrap();
        let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        STANDARD.decode(base64).unwrap()
    }

    #[test]
    fn what_is_no_certificate_has_no_finding() {
        for certificate in [None, Some(vec![]), Some(b"text".to_vec()), Some(vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff])]
        {
            assert_eq!(super::certificate(&ServerInfo { certificate, ..ServerInfo::default() }), None);
        }
    }
}
