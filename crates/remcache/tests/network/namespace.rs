//! A test in a network namespace of its own, which ends with it, and what is lost there.
//!
//! The program of the test starts itself again under `unshare`, for the one test that asked for it. The
//! server and the client are both inside, and talk over the loopback interface; the packet filter
//! of the namespace throws away what is sent to a port or from it. Outside nothing changes.

use std::env;
use std::future::Future;
use std::process::{Command, Output};

/// Runs the body of a test in a namespace of its own.
///
/// # Panics
/// When the body does, or when no namespace can be made: then with what to do about it.
pub(crate) fn isolated(test: &str, body: impl Future<Output = ()>) {
    if env::var_os(INSIDE).is_none() {
        return start_again(test);
    }
    run("ip", &["link", "set", "lo", "up"]);
    run("nft", &["add table inet faults"]);
    run("nft", &["add chain inet faults input { type filter hook input priority 0 ; }"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(body);
}

fn start_again(test: &str) {
    let program = env::current_exe().expect("a program knows itself");
    let arguments = [test, "--exact", "--nocapture", "--test-threads=1"];
    let mut command = Command::new("unshare");
    command.args(unshare_options()).arg(program).args(arguments).env(INSIDE, "1");
    let output = output_of(&mut command);
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    assert!(said.contains("1 passed"), "no test is called {test}: {said}");
}

/// What makes a namespace here.
fn unshare_options() -> Options {
    choose(|options| {
        let output = output_of(Command::new("unshare").args(options).arg("true"));
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    })
    .unwrap_or_else(|advice| panic!("{advice}"))
}

type Options = &'static [&'static str];

/// As root, or in a user namespace; if neither works, what to do about it.
fn choose(attempt: impl Fn(Options) -> Result<(), String>) -> Result<Options, String> {
    let ways: [Options; 2] = [&["--net"], &["--user", "--map-current-user", "--keep-caps", "--net"]];
    let mut complaints = String::new();
    for way in ways {
        match attempt(way) {
            Ok(()) => return Ok(way),
            Err(complaint) => complaints += &format!("\n  unshare {}: {}", way.join(" "), complaint.trim()),
        }
    }
    Err(format!("no network namespace can be made:{complaints}\n{ADVICE}"))
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

/// Throws away what goes to this port.
pub(crate) fn lose_requests(port: u16) {
    rule(&format!("tcp dport {port} drop"));
}

/// Throws away what comes from this port.
pub(crate) fn lose_replies(port: u16) {
    rule(&format!("tcp sport {port} drop"));
}

/// Drops this percentage of packets to and from this port, at random.
pub(crate) fn lose_some(port: u16, percent: u8) {
    for direction in ["dport", "sport"] {
        rule(&format!("tcp {direction} {port} numgen random mod 100 < {percent} drop"));
    }
}

/// Lets everything pass again.
pub(crate) fn lose_nothing() {
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
        "{program} {}: {complained}\nthe kernel needs nf_tables, and inside of the namespace the right NET_ADMIN",
        arguments.join(" ")
    );
}

/// The search path is that of an administrator, for that is whose programs these are.
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

/// Set for the program inside.
const INSIDE: &str = "REMCACHE_NETWORK_NAMESPACE";
