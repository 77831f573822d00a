//! Runs every case on every protocol, on a real server and on two versions of the embedded one, and writes the table of
//! docs/protocols.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use remcache::Error;
use remcache::proto::{Connection, Deadline, Limits, Protocol, Rejected, Reply, Request, ServerVersion, Status, Tag};
use remcache_server::Server;
use remcache_testkit::Memcached;
use tokio::runtime::Runtime;

use super::case::Case;
use super::cases::cases;
use super::session::{Session, real_version};

/// The versions that the embedded server emulates.
const VERSIONS: [&str; 2] = ["1.6.18", "1.6.45"];

/// A server under test.
struct TestServer {
    name: String,
    address: String,
    version: ServerVersion,
}

impl TestServer {
    /// Runs all cases on this protocol, each on a new connection.
    fn run_all(&self, protocol: Protocol) {
        let outcome = |case: &Case| self.run(case, protocol).err();
        let failed =
            |case: Case| outcome(&case).map(|what| format!("{}, {protocol}: {}: {what}", self.name, case.name));
        let failures: Vec<_> = cases().into_iter().filter_map(failed).collect();
        assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
    }

    fn run(&self, case: &Case, protocol: Protocol) -> Result<(), String> {
        let mut session = Session::open_at(&self.address, self.version, protocol);
        let steps = (case.steps)();
        let is_known = case.since.is_none_or(|feature| self.version.has(feature));
        if !case.protocols.contains(&protocol) || !is_known {
            let last = steps.last().ok_or("a case without steps")?;
            let found = session.call_one(&last.request(1)).status;
            // An older server may reject the command itself.
            let refusals = [Status::Unsupported, Status::InvalidKey, Status::UnknownCommand];
            let is_unsent = session.connection.in_flight() == 0 && !session.connection.has_output();
            return match refusals[..if is_known { 2 } else { 3 }].contains(&found) && is_unsent {
                true => Ok(()),
                false => Err(format!("{found:?} for an unsupported request")),
            };
        }
        let mut last_cas = 0;
        for (index, step) in steps.iter().enumerate() {
            let replies = session.call(&step.request(last_cas));
            step.check(&replies, protocol).map_err(|what| format!("step {}: {what}", index + 1))?;
            last_cas = replies.last().map_or(0, |reply| reply.cas);
        }
        Ok(())
    }
}

#[test]
fn memcached_conforms_on_each_protocol() {
    // One server per protocol, because a case leaves items under its keys.
    for protocol in Protocol::ALL {
        let server = Memcached::start(&[]);
        let target = TestServer { name: "memcached".into(), address: server.addr(), version: real_version() };
        target.run_all(protocol);
    }
}

#[test]
fn the_embedded_server_conforms_on_each_protocol() {
    let runtime = Runtime::new().expect("a runtime");
    for version in VERSIONS {
        for protocol in Protocol::ALL {
            let server = runtime.block_on(Server::builder().version(version).start()).expect("a free port");
            let target = TestServer {
                name: format!("embedded {version}"),
                address: server.address(),
                version: ServerVersion::parse(version),
            };
            target.run_all(protocol);
        }
    }
}

#[test]
fn no_two_cases_share_a_name() {
    let mut names: Vec<_> = cases().iter().map(|case| case.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}

// ---- Items stored on one protocol and read on another ----

/// Returns keys that are encoded differently on each protocol.
fn awkward_keys() -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![b'k', byte, b'k']).collect();
    keys.extend([
        b"\x00\x01\xff bin".to_vec(),
        b"AAH/IGJpbg==".to_vec(),
        b" ".to_vec(),
        b" k ".to_vec(),
        b"get k\r\nflush_all\r\n".to_vec(),
        "\u{43a}\u{43b}\u{44e}\u{447}".into(),
        vec![0xff; 250],
        vec![b'k'; 250],
        vec![b' '; 186],
    ]);
    keys
}

fn can_express(protocol: Protocol, key: &[u8]) -> bool {
    protocol != Protocol::Text || !key.iter().any(|byte| *byte <= b' ' || *byte == 0x7f)
}

fn find_each_others_items(address: &str, version: ServerVersion) {
    let open = |protocol| Session::open_at(address, version, protocol);
    let mut sessions: BTreeMap<_, _> = Protocol::ALL.map(|protocol| (protocol.name(), open(protocol))).into();
    for (number, key) in awkward_keys().into_iter().enumerate() {
        for storing in Protocol::ALL.into_iter().filter(|protocol| can_express(*protocol, &key)) {
            let value = format!("{number} by {storing}");
            let stored = sessions.get_mut(storing.name()).expect("a protocol").call_one(&Request::set(&key, &value));
            assert!(stored.is_ok(), "{storing}: {}: {stored:?}", key.escape_ascii());
            for finding in Protocol::ALL.into_iter().filter(|protocol| can_express(*protocol, &key)) {
                let session = sessions.get_mut(finding.name()).expect("a protocol");
                let found = session.call_one(&Request::get(&key).with_key());
                let what = format!("{finding} after {storing}: {}: {found:?}", key.escape_ascii());
                assert_eq!((&found.key[..], &found.value[..]), (&key[..], value.as_bytes()), "{what}");
            }
        }
    }
}

#[test]
fn items_are_readable_on_every_protocol() {
    let server = Memcached::start(&[]);
    find_each_others_items(&server.addr(), real_version());
    let runtime = Runtime::new().expect("a runtime");
    for version in VERSIONS {
        let server = runtime.block_on(Server::builder().version(version).start()).expect("a free port");
        find_each_others_items(&server.address(), ServerVersion::parse(version));
    }
}

// ---- The table ----

/// Returns the error of a case that a protocol does not support, or `None` if it does.
fn refusal(case: &Case, protocol: Protocol) -> Option<Reply> {
    let now = Instant::now();
    let newest = ServerVersion::parse("99.0.0");
    let mut connection = Connection::with_protocol(protocol, newest, Limits::default(), 0, now);
    let deadline = Deadline { at: now + Duration::from_secs(1), extend_by: Duration::ZERO };
    let request = (case.steps)().pop()?.request(1);
    match connection.submit(&request, Some(Tag(0)), deadline, now) {
        Err(Rejected::Invalid(invalid)) => Some(Reply::invalid(&invalid)),
        _ => None,
    }
}

fn table() -> String {
    let mut table = String::from("| what | binary | meta | text | memcached since |\n|---|---|---|---|---|\n");
    let mut words: Vec<(String, Vec<usize>)> = Vec::new();
    for (row, case) in cases().iter().enumerate() {
        let cell = |protocol: Protocol| match refusal(case, protocol) {
            None => "yes".to_owned(),
            Some(reply) => format!("`{:?}`", Error::from(&reply).kind()),
        };
        let [binary, meta, text] = Protocol::ALL.map(cell);
        let since = case.since.map_or_else(String::new, first_version);
        writeln!(table, "| {} | {binary} | {meta} | {text} | {since} |", case.name).expect("a string");
        for reply in Protocol::ALL.into_iter().filter_map(|protocol| refusal(case, protocol)) {
            let said = reply.text().into_owned();
            match words.iter_mut().find(|(known, _)| *known == said) {
                Some((_, rows)) => rows.push(row),
                None => words.push((said, vec![row])),
            }
        }
    }
    table.push_str("\nThe error texts:\n\n");
    for (said, _) in words {
        writeln!(table, "- {said}").expect("a string");
    }
    table
}

/// Returns the first version that has a feature.
fn first_version(feature: remcache::proto::Feature) -> String {
    let versions = (0..=99).map(|patch| format!("1.6.{patch}"));
    versions.into_iter().find(|version| ServerVersion::parse(version).has(feature)).unwrap_or_default()
}

const BEGIN: &str = "<!-- The conformance suite writes the following part. -->\n";
const END: &str = "<!-- End of the generated part. -->\n";
/// Command that rewrites the table.
const COMMAND: &str =
    "REMCACHE_WRITE_DOCS=1 cargo test -p remcache --all-features --test it conformance::table::the_table";

#[test]
fn the_table_in_the_document_is_what_the_suite_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocols.md");
    let text = fs::read_to_string(&path).expect("docs/protocols.md");
    let (before, rest) = text.split_once(BEGIN).expect("the marker before the table");
    let (_, after) = rest.split_once(END).expect("the marker after the table");
    let expected = format!("{before}{BEGIN}\n{}\n{END}{after}", table());
    println!("{}", table());
    if std::env::var_os("REMCACHE_WRITE_DOCS").is_some() {
        fs::write(&path, expected).expect("the document is writable");
        return;
    }
    assert_eq!(text, expected, "the table is outdated, run: {COMMAND}");
}
