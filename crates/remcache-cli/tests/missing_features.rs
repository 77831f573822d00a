//! Error messages of a tool without its optional features.
#![cfg_attr(not(feature = "full"), expect(clippy::unwrap_used, reason = "a test fails by panicking"))]
#![cfg(not(feature = "full"))]

use std::process::{Command, Output};

fn remcache(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_remcache")).args(args).env_clear().output().unwrap()
}

/// Checks that the error for these arguments names the missing feature.
fn check(args: &[&str], feature: &str) {
    let output = remcache(args);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {errors}");
    assert!(errors.contains(&format!("cargo install remcache-cli --features {feature}")), "{args:?}: {errors}");
}

#[test]
fn errors_name_the_missing_feature() {
    #[cfg(not(feature = "top"))]
    check(&["top", "-i", "50ms", "-s", "localhost"], "top");
    #[cfg(not(feature = "serve-metrics"))]
    check(&["serve-metrics", ":0"], "serve-metrics");
    #[cfg(not(feature = "charts"))]
    check(&["bench", "--embedded", "1", "--svg", "curve.svg"], "charts");
    #[cfg(not(feature = "dns"))]
    check(&["get", "k", "-s", "dns+memcached://localhost"], "dns");
    #[cfg(not(feature = "tls"))]
    for args in [&["get", "k", "--tls"][..], &["get", "k", "--tls-name", "a"], &["get", "k", "-s", "memcacheds://a"]] {
        check(args, "tls");
    }
}

#[test]
fn the_rest_of_the_tool_works() {
    let output = remcache(&["set", "k", "v", "--embedded", "1"]);
    assert!(output.status.success(), "{output:?}");
}
