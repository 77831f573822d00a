//! Advice on servers that cannot be examined.

use remcache::ErrorKind;

use super::Verdict;

/// Returns the name of the check that an error belongs to, and the error as a problem with advice.
pub(super) fn explain(kind: ErrorKind, reason: &str) -> (&'static str, Verdict) {
    let (check, advice) = match kind {
        ErrorKind::Tls => ("TLS", "check --tls, --tls-ca and --tls-name, or the URL"),
        ErrorKind::Auth => ("authentication", "check --user and --password-file, or the URL"),
        _ => ("availability", "check that it is running, and its address: remcache ping"),
    };
    // The error's own advice knows more of the cause.
    let (problem, advice) = own_advice(reason).unwrap_or((reason, advice));
    (check, Verdict::problem(problem, advice))
}

/// Splits an error that has advice of its own, after a colon or a semicolon.
fn own_advice(reason: &str) -> Option<(&str, &str)> {
    let separators = reason.match_indices([':', ';']).map(|(at, _)| at);
    separators.filter_map(|at| Some((&reason[..at], reason.get(at + 2..)?))).find(|(_, rest)| is_advice(rest))
}

fn is_advice(text: &str) -> bool {
    ADVICE.iter().any(|start| text.starts_with(start))
}

/// The beginnings of advice in errors of the library, with the tool's options in place of its settings.
const ADVICE: &[&str] = &[
    "allow ",
    "connect by ",
    "if it is a port ",
    "is it a port ",
    "issue ",
    "it may ask for ",
    "leave out ",
    "pass ",
    "renew ",
    "set ",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_with_advice_gets_no_other() {
        for (reason, expected) in [
            (
                "the server answers in clear: it is a port without TLS: leave out --tls, or use memcached://",
                "leave out --tls, or use memcached://",
            ),
            (
                "the server's certificate expired on 2001-01-01: renew it, or set this machine's clock",
                "renew it, or set this machine's clock",
            ),
            (
                "it is for another host: not for a, but for b; connect by such a name, or pass one with --tls-name NAME",
                "connect by such a name, or pass one with --tls-name NAME",
            ),
            ("the server's certificate was revoked", "check --tls, --tls-ca and --tls-name, or the URL"),
            (
                "it does not accept our client certificate: it does not trust its issuer",
                "check --tls, --tls-ca and --tls-name, or the URL",
            ),
        ] {
            let (check, verdict) = explain(ErrorKind::Tls, reason);
            assert_eq!((check, verdict.finding().advice.as_str()), ("TLS", expected));
            assert!(reason.starts_with(&verdict.finding().problem) && !verdict.finding().problem.ends_with(':'));
        }
    }
}
