//! Advice on servers that cannot be examined.

use remcache::ErrorKind;

use super::Verdict;

/// Returns the name of the check that an error belongs to, and the error as a problem.
///
/// The error says what to do about its cause, so the advice on TLS and authentication only names the options.
pub(super) fn explain(kind: ErrorKind, reason: &str) -> (&'static str, Verdict) {
    let (check, advice) = match kind {
        ErrorKind::Tls => ("TLS", "the options of TLS are --tls, --tls-ca, --tls-cert, --tls-key and --tls-name"),
        ErrorKind::Auth => ("authentication", "the options of authentication are --user and --password-file"),
        _ => ("availability", "check that it is running, and its address: remcache ping"),
    };
    (check, Verdict::problem(reason, advice))
}
