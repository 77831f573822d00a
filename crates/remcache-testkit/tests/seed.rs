//! Tests that the seed is printed if the test fails, and only then.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use remcache_testkit::seed;
use std::process::{Command, Output};

#[test]
fn a_failing_test_prints_its_seed() {
    let output = child("fails", "0x1234");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(stderr.contains("repeat with REMCACHE_SEED=0x1234\n"), "{stderr}");
}

#[test]
fn a_passing_test_does_not_print_its_seed() {
    let output = child("passes", "4660");
    assert!(output.status.success());
    assert!(!String::from_utf8_lossy(&output.stderr).contains("REMCACHE_SEED"));
}

#[test]
fn a_malformed_seed_is_rejected() {
    let output = child("passes", "seven");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("REMCACHE_SEED=seven: expected a number"), "{stderr}");
}

/// Runs this test binary again with `as_a_child` only, which passes or fails according to `role`.
fn child(role: &str, seed: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_process", "--nocapture"])
        .env("CHILD_ROLE", role)
        .env("REMCACHE_SEED", seed)
        .output()
        .unwrap()
}

#[test]
fn child_process() {
    let Ok(role) = std::env::var("CHILD_ROLE") else {
        return;
    };
    let seed = seed();
    assert_eq!(seed.value(), 0x1234);
    assert_eq!(seed.rng().u64(..), seed.rng().u64(..));
    assert_ne!(role, "fails");
}
