//! Short runs of the program, with the same checks as long ones.

use std::process::Command;

/// Runs the program, and returns its output.
fn run(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_remcache-soak")).args(arguments).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Requests to healthy servers must be answered; the long timeout is for busy machines.
#[test]
fn a_thousand_servers_of_which_three_hundred_flap() {
    let text = run(&["--flapping", "--seconds", "20", "--pause", "500", "--timeout", "60"]);
    assert!(text.contains("keys that moved: 0 of 1000"), "{text}");
    let flapping = text.lines().find(|line| line.starts_with("flapping:")).expect("a line");
    assert!(flapping.contains("0 failed, p50") && !flapping.contains(" 0 flaps"), "{text}");
}

#[test]
fn a_mixed_load_with_faults_gets_no_wrong_value() {
    let text = run(&["--seconds", "15"]);
    assert!(text.contains("wrong values:  0"), "{text}");
    let faults = text.lines().find(|line| line.starts_with("faults:")).expect("a line");
    assert!(!faults.contains(" 0 kills, 0 stops"), "{text}");
}

#[test]
fn callers_on_short_runtimes_get_no_wrong_value() {
    let text = run(&["--runtimes", "--seconds", "10"]);
    let late = text.lines().find_map(|line| line.strip_prefix("late:")).expect("a line");
    let late: u64 = late.split_whitespace().find_map(|word| word.parse().ok()).expect("a number");
    assert!(late < 10_000, "calls end by their deadline, with a margin for busy machines: {text}");
    for counted in ["runtimes:", "dropped calls:"] {
        let line = text.lines().find(|line| line.starts_with(counted)).expect("a line");
        assert!(!line.ends_with(" 0"), "{text}");
    }
}

#[test]
fn pipelines_complete_on_each_protocol_with_and_without_tls() {
    let text = run(&["--pipelines", "--share", "100"]);
    assert!(text.contains("wrong values:  0") && text.contains("reconnects:    0"), "{text}");
    for protocol in ["binary", "meta", "text"] {
        for security in ["plain", "TLS"] {
            let lines = text.lines().filter(|line| line.starts_with(protocol) && line.contains(security));
            assert_eq!(lines.count(), 2, "{protocol}, {security}: {text}");
        }
    }
}

#[test]
fn an_invalid_duration_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_remcache-soak")).args(["--seconds", "0"]).output().expect("it runs");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("not a positive number"));
}
