//! Runs a test in its own network namespace, and drops packets there.
//!
//! The test binary runs itself again under `unshare`, for this test only. Server and client are both in the namespace,
//! and use its loopback interface; its packet filter drops packets to or from a port. The host is not affected.

use std::env;
use std::future::Future;
use std::process::{Command, Output};

/// Runs the body of a test in a new namespace.
///
/// # Panics
/// If the body does, or if no namespace can be created: the message says what to do.
pub(crate) fn isolated(test: &str, body: impl Future<Output = ()>) {
    if env::var_os(INSIDE).is_none() {
        return run_in_new_namespace(test);
    }
    run("ip", &["link", "set", "lo", "up"]);
    run("nft", &["add table inet faults"]);
    run("nft", &["add chain inet faults input { type filter hook input priority 0 ; }"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(body);
}

fn run_in_new_namespace(test: &str) {
    let program = env::current_exe().expect("the path of the test binary");
    let arguments = [test, "--exact", "--nocapture", "--test-threads=1"];
    let mut command = Command::new("unshare");
    command.args(unshare_options()).arg(program).args(arguments).env(INSIDE, "1");
    let output = output_of(&mut command);
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    assert!(said.contains("1 passed"), "no test is named {test}: {said}");
}

/// Returns the options of `unshare` that work on this host.
fn unshare_options() -> Options {
    choose(|options| {
        let output = output_of(Command::new("unshare").args(options).arg("true"));
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    })
    .unwrap_or_else(|advice| panic!("{advice}"))
}

type Options = &'static [&'static str];

/// Selects the first options that work: as root, or in a user namespace. The error says what to do if neither does.
fn choose(attempt: impl Fn(Options) -> Result<(), String>) -> Result<Options, String> {
    let ways: [Options; 2] = [&["--net"], &["--user", "--map-current-user", "--keep-caps", "--net"]];
    let mut complaints = String::new();
    for way in ways {
        match attempt(way) {
            Ok(()) => return Ok(way),
            Err(complaint) => complaints += &format!("\n  unshare {}: {}", way.join(" "), complaint.trim()),
        }
    }
    Err(format!("cannot create a network namespace:{complaints}\n{ADVICE}"))
}

const ADVICE: &str = "run the tests as root, in a container with --cap-add SYS_ADMIN,NET_ADMIN; or let users make \
     namespaces of their own: sysctl -w user.max_user_namespaces=1000, and where they exist \
     kernel.unprivileged_userns_clone=1 and kernel.apparmor_restrict_unprivileged_userns=0";

#[test]
fn a_network_namespace_is_created_or_the_error_names_the_missing_permission() {
    let refused = |options: Options| Err(format!("{}: Operation not permitted\n", options[0]));
    assert_eq!(choose(|_| Ok(())), Ok(&["--net"][..]));
    let as_user = choose(|options| if options.contains(&"--user") { Ok(()) } else { refused(options) });
    assert!(as_user.is_ok_and(|options| options.contains(&"--keep-caps")));
    let advice = choose(refused).expect_err("nothing works");
    for words in ["unshare --net: --net: Operation not permitted", "as root", "max_user_namespaces", "apparmor"] {
        assert!(advice.contains(words), "{advice}");
    }
}

/// Drops packets to this port.
pub(crate) fn drop_requests(port: u16) {
    rule(&format!("tcp dport {port} drop"));
}

/// Drops packets from this port.
pub(crate) fn drop_replies(port: u16) {
    rule(&format!("tcp sport {port} drop"));
}

/// Drops this percentage of packets to and from this port, at random.
pub(crate) fn drop_randomly(port: u16, percent: u8) {
    for direction in ["dport", "sport"] {
        rule(&format!("tcp {direction} {port} numgen random mod 100 < {percent} drop"));
    }
}

/// Stops dropping packets.
pub(crate) fn stop_dropping() {
    run("nft", &["flush chain inet faults input"]);
}

fn rule(rule: &str) {
    run("nft", &[&format!("add rule inet faults input {rule}")]);
}

fn run(program: &str, arguments: &[&str]) {
    let output = output_of(Command::new(program).args(arguments));
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {}: {complained}\nthe kernel needs nf_tables, and the namespace the capability NET_ADMIN",
        arguments.join(" ")
    );
}

/// Runs a command, also from directories for system administration programs.
fn output_of(command: &mut Command) -> Output {
    let path = env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let program = command.get_program().to_string_lossy().into_owned();
    command.output().unwrap_or_else(|error| {
        panic!(
            "{program}: {error}\ninstall it with: apt-get install nftables iproute2 util-linux, or run cargo xtask test"
        )
    })
}

/// Environment variable that is set in the namespace.
const INSIDE: &str = "REMCACHE_NETWORK_NAMESPACE";
