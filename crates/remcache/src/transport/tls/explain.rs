//! Explains TLS errors and suggests fixes.

use std::sync::Arc;
use std::{fmt, io};

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use super::tls_error;
use crate::connection_failure::Failure;
use crate::proto::ProtocolError;
use crate::reason::Reason;

/// Explains an error of an open connection, if it is a TLS error.
pub(crate) fn failure(error: &io::Error) -> Option<Failure> {
    tls_error(error).map(|error| Failure::Tls(Reason::with_cause(describe_error(error), Arc::new(error.clone()))))
}

/// Explains a failed handshake; `beginning` is the first bytes from the peer.
pub(crate) fn handshake(error: io::Error, beginning: &[u8]) -> Failure {
    if beginning.starts_with(b"ERROR Too") {
        // The server sent this unencrypted, before any handshake.
        return Failure::Unreachable(ProtocolError::TooManyConnections.to_string().into());
    }
    if let Some(failure) = failure(&error) {
        return failure;
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            let text = "the server ended the connection during the TLS handshake: is it a port without TLS? then use memcached://";
            Failure::Closed(Reason::with_cause(text, Arc::new(error)))
        }
        _ => Failure::unreachable(format!("during the TLS handshake: {error}"), error),
    }
}

pub(super) fn describe_error(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(certificate) => describe_certificate_error(certificate),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the server answers in clear: it is a port without TLS; use memcached://".into()
        }
        Error::AlertReceived(alert) => describe_alert(*alert),
        Error::InconsistentKeys(_) => "the client certificate and its key do not belong together".into(),
        Error::PeerIncompatible(reason) => {
            format!("client and server have no TLS version or cipher in common ({})", variant_in_words(reason))
        }
        Error::PeerMisbehaved(reason) => format!("the server violates the TLS protocol ({})", variant_in_words(reason)),
        Error::InvalidMessage(reason) => {
            format!("the server sent an invalid TLS message ({}): is it a TLS port?", variant_in_words(reason))
        }
        other => other.to_string(),
    }
}

fn describe_certificate_error(error: &CertificateError) -> String {
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            let date = date(not_after.as_secs());
            format!("the server's certificate expired on {date}: renew it, or set this machine's clock")
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            let date = date(not_before.as_secs());
            format!("the server's certificate is not valid before {date}: set this machine's clock, or replace it")
        }
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the server's certificate is for another host: not for {}, but for {}; connect by such a name, or set Tls::server_name",
            expected.to_str(),
            names(presented),
        ),
        CertificateError::UnknownIssuer => {
            "the server's certificate was signed by an authority that is not trusted here: pass the authority's certificate to Tls::with_roots_file".into()
        }
        CertificateError::Revoked => "the server's certificate was revoked".into(),
        CertificateError::BadEncoding => "the server's certificate is malformed".into(),
        CertificateError::BadSignature => "the signature of the server's certificate is invalid".into(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the server's certificate is not for servers: issue one with the extended key usage serverAuth".into()
        }
        CertificateError::Other(other) if variant_in_words(other).contains("ca used as end entity") => {
            "the server's certificate is that of an authority (CA:TRUE), which is not valid for a server: issue a server certificate with CA:FALSE, for instance by `openssl req -x509 -addext basicConstraints=critical,CA:FALSE`, and a subjectAltName".into()
        }
        other => format!("the server's certificate is invalid ({})", variant_in_words(other)),
    }
}

/// Formats the names of a certificate, which rustls shows as `DnsName("cache1")` and `IpAddress(10.0.0.1)`.
fn names(presented: &[String]) -> String {
    let plain = |name: &String| match name.split_once('(') {
        Some((_, name)) => name.trim_end_matches(')').trim_matches('"').to_owned(),
        None => name.clone(),
    };
    match presented {
        [] => "no host (it has no subjectAltName)".into(),
        names => names.iter().map(plain).collect::<Vec<_>>().join(", "),
    }
}

/// Returns the innermost variant name of a nested enum in words: `ca used as end entity` for
/// `Other(OtherError(CaUsedAsEndEntity))`. rustls has no other description of most of its errors.
pub(super) fn variant_in_words(error: &impl fmt::Debug) -> String {
    let shown = format!("{error:?}");
    let name = shown.split(['{', '[', '"']).next().unwrap_or_default().trim_end_matches([')', '(', ' ']);
    let name = name.rsplit('(').next().unwrap_or(name);
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() && !words.ends_with(' ') {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

fn describe_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "the server asks for a client certificate: set Tls::client_certificate".into()
        }
        // Before TLS 1.3 there is no more specific alert for a missing certificate.
        AlertDescription::HandshakeFailure => {
            "the server refused the handshake: it may ask for a client certificate (Tls::client_certificate), or support none of our ciphers".into()
        }
        AlertDescription::ProtocolVersion => {
            "the server supports neither TLS 1.2 nor 1.3: allow one of them there".into()
        }
        AlertDescription::UnknownCA => {
            "the server does not accept our client certificate: it does not trust the authority that signed it".into()
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate => {
            format!("the server does not accept our client certificate ({})", variant_in_words(&alert))
        }
        other => format!("the server refused the handshake ({})", variant_in_words(&other)),
    }
}

/// Formats the UTC date of an instant in seconds since 1970. Errors show it instead of a relative time, because an
/// error is logged again when its text changes.
fn date(seconds: u64) -> String {
    // Years begin in March here, so that the leap day is the last one: 153 days for five months, 1,461 for four
    // years, 146,097 for four hundred.
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march_based = (5 * day + 2) / 153;
    let day = day - (153 * march_based + 2) / 5 + 1;
    let month = if march_based < 10 { march_based + 3 } else { march_based - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_rustls::rustls::{OtherError, PeerIncompatible, PeerMisbehaved};

    use super::*;

    #[test]
    fn days_are_told_by_the_calendar() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_798_761_599, "2026-12-31"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(date(seconds), day, "{seconds}");
        }
    }

    #[test]
    fn errors_of_rustls_are_spelled_out() {
        let nested = CertificateError::Other(OtherError(Arc::new(NamedByItsDebug("CaUsedAsEndEntity"))));
        let said = describe_certificate_error(&nested);
        assert!(said.contains("CA:FALSE") && !said.contains("EndEntity"), "{said}");
        for (error, expected) in [
            (Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon), "no cipher suites in common"),
            (Error::PeerMisbehaved(PeerMisbehaved::BadCertChainExtensions), "bad cert chain extensions"),
            (Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion), "unknown protocol version"),
            (Error::AlertReceived(AlertDescription::InternalError), "internal error"),
            (Error::AlertReceived(AlertDescription::UnknownCA), "does not trust the authority"),
            (Error::AlertReceived(AlertDescription::BadCertificate), "our client certificate (bad certificate)"),
        ] {
            let said = describe_error(&error);
            assert!(said.contains(expected), "{said}");
            assert!(!said.contains("Invalid") && !said.contains("Peer") && !said.contains("Error"), "{said}");
        }
    }

    #[derive(Clone, Copy)]
    struct NamedByItsDebug(&'static str);

    impl fmt::Debug for NamedByItsDebug {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl fmt::Display for NamedByItsDebug {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for NamedByItsDebug {}

    #[test]
    fn names_of_certificates_are_plain() {
        let presented = [r#"DnsName("cache1.example")"#.to_owned(), "IpAddress(10.0.0.1)".to_owned()];
        assert_eq!(names(&presented), "cache1.example, 10.0.0.1");
        assert!(names(&[]).contains("subjectAltName"));
    }

    #[test]
    fn a_plaintext_reply_to_tls_is_recognized() {
        let garbage = || {
            let error = Error::InvalidMessage(InvalidMessage::InvalidContentType);
            io::Error::new(io::ErrorKind::InvalidData, error)
        };
        assert!(matches!(handshake(garbage(), b"ERROR Too many open connections\r"), Failure::Unreachable(_)));
        let failure = handshake(garbage(), b"ERROR\r\n");
        assert!(matches!(&failure, Failure::Tls(reason) if reason.text().contains("memcached://")), "{failure:?}");
        let failure = handshake(io::ErrorKind::UnexpectedEof.into(), b"");
        assert!(matches!(&failure, Failure::Closed(reason) if reason.text().contains("without TLS")), "{failure:?}");
    }
}
