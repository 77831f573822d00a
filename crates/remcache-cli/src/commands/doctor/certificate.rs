//! The check of a server's certificate: it should not expire soon.

use std::time::{SystemTime, UNIX_EPOCH};

use x509_parser::parse_x509_certificate;

use super::{Finding, ServerInfo};
use crate::output::number;

/// Certificates are renewed by hand in many places: this leaves time to do it.
const SOON: u64 = 30 * 86_400;

pub(super) fn certificate(info: &ServerInfo) -> Option<Finding> {
    let (_, certificate) = parse_x509_certificate(info.certificate.as_deref()?).ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let not_after = certificate.validity().not_after;
    // A certificate that has expired is refused by the handshake.
    let left = u64::try_from(not_after.timestamp()).ok()?.saturating_sub(now);
    (left < SOON).then(|| {
        Finding::new(
            format!("its certificate expires in {}, on {}", number::age(left), date(not_after.timestamp())),
            "renew it before then; memcached reads changed files after the command refresh_certs",
        )
    })
}

fn date(timestamp: i64) -> String {
    jiff::Timestamp::from_second(timestamp).map_or_else(|_| String::new(), |time| time.strftime("%F").to_string())
}
