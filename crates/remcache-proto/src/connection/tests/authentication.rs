//! Refusals for lack of authentication on the meta and text protocols.

use super::text::TextHarness;
use crate::*;

/// Sends requests and answers them with a line; returns whether the connection then requires authentication.
fn is_auth_required(protocol: Protocol, requests: &[Request<'_>], line: &str) -> bool {
    let mut harness = TextHarness::new(protocol);
    harness.connection.set_max_keys_per_multiget(100);
    for (tag, request) in requests.iter().enumerate() {
        harness.submit(request, tag as u64).unwrap();
    }
    harness.sent();
    harness.input.extend(format!("{line}\r\n").as_bytes());
    while let Ok(Some(_)) = harness.connection.poll_event(&mut harness.input) {}
    harness.connection.is_auth_required()
}

const UNAUTHENTICATED: &str = "CLIENT_ERROR unauthenticated";
const OUT_OF_MEMORY: &str = "SERVER_ERROR out of memory storing object";

#[test]
fn a_refused_request_shows_that_authentication_is_required() {
    for protocol in [Protocol::Meta, Protocol::Text] {
        let cases: &[&[Request<'_>]] = &[
            &[Request::set("k", "v")],
            &[Request::get("a"), Request::get("b")],
            // On the meta protocol, these are quiet requests of which any may have been refused.
            &[Request::set("k", "v").quiet(), Request::set("k", "v").quiet(), Request::noop()],
        ];
        for requests in cases {
            assert!(is_auth_required(protocol, requests, UNAUTHENTICATED), "{protocol}: {requests:?}");
            assert!(!is_auth_required(protocol, requests, OUT_OF_MEMORY), "{protocol}: {requests:?}");
        }
        assert!(!is_auth_required(protocol, &[Request::version()], "VERSION 1.6.18"));
    }
}

#[test]
fn a_refused_password_does_not_show_that_authentication_is_required() {
    let request = Request::authenticate("user", "password");
    assert!(!is_auth_required(Protocol::Text, &[request], "CLIENT_ERROR authentication failure"));
}
