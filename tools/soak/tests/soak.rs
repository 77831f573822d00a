//! The program itself, in short: what a long run checks is checked here too.

use std::process::Command;

/// Runs the program; what it has said.
fn run(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_remcache-soak")).args(arguments).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// With a deadline that a busy machine meets: what is healthy has to be answered.
#[test]
fn row_24_a_thousand_servers_of_which_three_hundred_flap() {
    let said = run(&["--flapping", "--seconds", "20", "--rest", "500", "--timeout", "60"]);
    assert!(said.contains("keys that moved: 0 of 1000"), "{said}");
    let flapping = said.lines().find(|line| line.starts_with("flapping:")).expect("a line");
    assert!(flapping.contains("0 failed, p50") && !flapping.contains(" 0 flaps"), "{said}");
}

#[test]
fn a_mixed_load_in_trouble_gets_no_wrong_value() {
    let said = run(&["--seconds", "15"]);
    assert!(said.contains("wrong values:  0"), "{said}");
    let troubles = said.lines().find(|line| line.starts_with("troubles:")).expect("a line");
    assert!(!troubles.contains(" 0 kills, 0 stops"), "{said}");
}

#[test]
fn row_21_pipelines_complete_on_each_protocol_with_and_without_tls() {
    let said = run(&["--pipelines", "--share", "100"]);
    assert!(said.contains("wrong values:  0") && said.contains("reconnects:    0"), "{said}");
    for protocol in ["binary", "meta", "text"] {
        for way in ["plain", "TLS"] {
            let lines = said.lines().filter(|line| line.starts_with(protocol) && line.contains(way));
            assert_eq!(lines.count(), 2, "{protocol}, {way}: {said}");
        }
    }
}

#[test]
fn an_order_that_is_none_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_remcache-soak")).args(["--seconds", "0"]).output().expect("it runs");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("a positive number"));
}
