//! Conformance of the protocols: the same requests have the same replies on each protocol of a real server.

mod case;
mod cases;
#[cfg(feature = "tls")]
mod serverless;
mod session;
mod table;

use std::io::Read;
use std::time::{Duration, Instant};

use bytes::Bytes;
use remcache::proto::{MetaOptions, Operation, Protocol, ProtocolError, Reply, Request, Status, Ttl};
use remcache_testkit::Memcached;
use session::Session;

/// Returns the fields of a reply that are the same on every protocol.
fn protocol_independent_fields(reply: &Reply) -> (Status, Option<u64>, Bytes, Bytes) {
    // Error texts differ between protocols.
    let is_error = !matches!(reply.status, Status::NoError | Status::KeyNotFound | Status::KeyExists);
    let value = if is_error { Bytes::new() } else { reply.value.clone() };
    (reply.status, reply.number, reply.key.clone(), value)
}

/// Returns requests, in an order in which later ones depend on the effects of earlier ones.
fn scenario() -> Vec<Request<'static>> {
    let minute = Duration::from_secs(60);
    vec![
        Request::noop(),
        Request::get("k"),
        Request::get("k").with_key(),
        Request::replace("k", "no"),
        Request::append("k", "no"),
        Request::prepend("k", "no"),
        Request::delete("k"),
        Request::touch("k", minute),
        Request::get_and_touch("k", minute),
        Request::increment("k", 1),
        Request::set("k", "val").cas(9),
        Request::replace("k", "val").cas(9),
        Request::add("k", "val").flags(7),
        Request::get("k"),
        Request::get("k").with_key(),
        Request::add("k", "no"),
        Request::add("k", "no").cas(1),
        Request::set("k", "no").cas(u64::MAX),
        Request::replace("k", "no").cas(u64::MAX),
        Request::append("k", ">").quiet(),
        Request::prepend("k", "<"),
        Request::get("k"),
        Request::increment("k", 1),
        Request::decrement("k", 1),
        Request::get_and_touch("k", minute).with_key(),
        Request::touch("k", Ttl::Never),
        Request::replace("k", "a\r\nEND\r\nEN\r\n"),
        Request::get("k"),
        Request::set("k", ""),
        Request::get("k"),
        Request::set("n", "10"),
        Request::increment("n", 5),
        Request::decrement("n", 10),
        Request::decrement("n", 100),
        Request::set("n", "18446744073709551615"),
        Request::increment("n", 2),
        Request::set("gone", "x").ttl(Ttl::Expired),
        Request::get("gone"),
        Request::set("k", vec![b'v'; 100_000]).quiet(),
        Request::get("k"),
        Request::delete("k").quiet(),
        Request::delete("k").quiet(),
        Request::get("k").quiet(),
        Request::set("large", vec![b'v'; 1_048_570]),
        Request::get("large"),
        Request::set("key-of-250-bytes".repeat(16)[..250].to_owned(), "v"),
        Request::get("\u{43a}\u{43b}\u{44e}\u{447}").with_key(),
        Request::version(),
        Request::stat("no such group"),
        Request::flush(),
        Request::get("n"),
    ]
}

#[test]
fn requests_have_the_same_result_on_each_protocol() {
    let expected: Vec<_> = {
        let server = Memcached::start(&[]);
        let mut session = Session::open(&server, Protocol::Binary);
        scenario().iter().map(|request| session.call_one(request)).collect()
    };
    for protocol in [Protocol::Meta, Protocol::Text] {
        let server = Memcached::start(&[]);
        let mut session = Session::open(&server, protocol);
        for (request, expected) in scenario().iter().zip(&expected) {
            let found = session.call_one(request);
            let (mut found_meaning, expected_meaning) =
                (protocol_independent_fields(&found), protocol_independent_fields(expected));
            // A missing reply has no text; a protocol that makes the request non-quiet returns one.
            if request.is_quiet() && !found.is_ok() {
                found_meaning.3 = expected_meaning.3.clone();
            }
            assert_eq!(found_meaning, expected_meaning, "{protocol}: {request:?}: {found:?}");
            if request.operation().is_fetch() || (protocol == Protocol::Meta && request.operation() == Operation::Touch)
            {
                assert_eq!(found.flags, expected.flags, "{protocol}: {request:?}");
                assert_eq!(found.cas != 0, expected.cas != 0, "{protocol}: {request:?}");
            }
            if protocol == Protocol::Meta && expected.is_ok() && !request.is_quiet() {
                assert_eq!(found.cas != 0, expected.cas != 0, "{request:?}");
            }
        }
    }
}

/// Returns requests that only the binary and meta protocols can express.
fn conditional_scenario() -> Vec<Request<'static>> {
    vec![
        Request::increment("n", 1).initial(41),
        Request::increment("n", 1).initial(7),
        Request::decrement("m", 1).initial(3).ttl(Duration::from_secs(60)),
        Request::increment("n", 1).cas(u64::MAX),
        Request::increment("absent", 1).cas(u64::MAX),
        Request::append("n", "x").cas(u64::MAX),
        Request::append("absent", "x").cas(5),
        Request::prepend("absent", "x").cas(5),
        Request::delete("n").cas(u64::MAX),
        Request::delete("absent").cas(5),
        Request::increment("n", 1).quiet(),
        Request::increment("q", 1).initial(1).quiet(),
        Request::get("n"),
        Request::set("a b\r\n\0\x7f", "binary key").flags(3),
        Request::get("a b\r\n\0\x7f").with_key(),
        Request::get("absent \r\n").with_key(),
        Request::delete("a b\r\n\0\x7f"),
    ]
}

#[test]
fn conditions_and_binary_keys_have_the_same_result_on_meta() {
    let (binary_server, meta_server) = (Memcached::start(&[]), Memcached::start(&[]));
    let mut binary = Session::open(&binary_server, Protocol::Binary);
    let mut meta = Session::open(&meta_server, Protocol::Meta);
    for request in conditional_scenario() {
        let (expected, found) = (binary.call_one(&request), meta.call_one(&request));
        // Older servers answer a quiet request that creates a counter.
        let (mut found_meaning, expected_meaning) =
            (protocol_independent_fields(&found), protocol_independent_fields(&expected));
        if request.is_quiet() {
            found_meaning.1 = expected_meaning.1;
        }
        assert_eq!(found_meaning, expected_meaning, "{request:?}: {found:?}");
        assert_eq!((found.flags, found.is_ok()), (expected.flags, expected.is_ok()), "{request:?}");
    }
}

#[test]
fn inexpressible_requests_are_refused_before_sending() {
    let server = Memcached::start(&[]);
    let mut text = Session::open(&server, Protocol::Text);
    for request in conditional_scenario() {
        let is_plain = matches!(request.operation(), Operation::Get | Operation::Set | Operation::Delete)
            || request.expected_cas() == 0 && request.initial_value().is_none();
        let has_word_key = request.key().unwrap().as_bytes().iter().all(u8::is_ascii_graphic);
        if is_plain && has_word_key && request.expected_cas() == 0 {
            continue;
        }
        let status = text.call_one(&request).status;
        let expected = if has_word_key { Status::Unsupported } else { Status::InvalidKey };
        assert_eq!(status, expected, "{request:?}");
        assert_eq!(text.connection.in_flight(), 0);
    }
    for protocol in [Protocol::Binary, Protocol::Text] {
        let mut session = Session::open(&server, protocol);
        assert_eq!(session.call_one(&Request::inspect("k")).status, Status::Unsupported);
        assert_eq!(session.call_one(&Request::debug("k")).status, Status::Unsupported);
    }
    let mut binary = Session::open(&server, Protocol::Binary);
    for request in [Request::metadump("all"), Request::watch(""), Request::shutdown(), Request::cluster_config()] {
        assert_eq!(binary.call_one(&request).status, Status::Unsupported);
    }
    for protocol in [Protocol::Meta, Protocol::Text] {
        assert_eq!(Session::open(&server, protocol).call_one(&Request::sasl_list()).status, Status::Unsupported);
    }
}

#[test]
fn statistics_have_the_same_names_on_each_protocol() {
    let server = Memcached::start(&[]);
    let names = |protocol, group: &'static str| {
        let replies = Session::open(&server, protocol).call(&Request::stat(group));
        assert!(replies.iter().all(Reply::is_ok), "{protocol}");
        replies.into_iter().map(|reply| reply.key).collect::<Vec<_>>()
    };
    Session::open(&server, Protocol::Meta).call(&Request::set("k", "v"));
    for group in ["", "settings", "items", "slabs", "sizes", "reset"] {
        let expected = names(Protocol::Binary, group);
        assert!(group == "reset" || expected.len() > 1);
        for protocol in [Protocol::Meta, Protocol::Text] {
            assert_eq!(names(protocol, group), expected, "{protocol}: {group}");
        }
    }
}

#[test]
fn replies_of_a_pipeline_are_in_order() {
    let server = Memcached::start(&[]);
    for protocol in Protocol::ALL {
        let mut session = Session::open(&server, protocol);
        let value = |number: usize| vec![b'a' + (number % 26) as u8; number * 37];
        for number in 0..200 {
            let key = number.to_string();
            let request = Request::set(&key, value(number));
            session.submit(&if number % 3 == 0 { request } else { request.quiet() }).unwrap();
            session.submit(&Request::get(&key)).unwrap();
            let absent = Request::get("absent");
            session.submit(&if number % 2 == 0 { absent } else { absent.quiet() }).unwrap();
        }
        session.send();
        let mut replies = session.replies(600).unwrap();
        replies.sort_by_key(|(tag, _)| *tag);
        for (number, three) in replies.chunks(3).enumerate() {
            assert_eq!(three[0].1.status, Status::NoError, "{protocol}: set {number}");
            assert_eq!(three[1].1.value, value(number), "{protocol}: get {number}");
            assert_eq!(three[2].1.status, Status::KeyNotFound, "{protocol}: absent {number}");
        }
    }
}

#[test]
fn an_oversized_value_affects_no_other_request() {
    let server = Memcached::start(&[
        "-I",
        "1024",
        "-o",
        if Memcached::version() >= (1, 6, 24) { "slab_chunk_max=1" } else { "slab_chunk_max=1024" },
    ]);
    for protocol in Protocol::ALL {
        let mut session = Session::open(&server, protocol);
        for (key, length) in [("a", 10), ("b", 1200), ("c", 10)] {
            session.submit(&Request::set(key, vec![b'v'; length])).unwrap();
        }
        session.send();
        let statuses: Vec<_> = session.replies(3).unwrap().into_iter().map(|(_, reply)| reply.status).collect();
        assert_eq!(statuses, [Status::NoError, Status::ValueTooLarge, Status::NoError], "{protocol}");
    }
}

#[test]
fn a_refused_value_in_a_quiet_batch_on_meta_cannot_be_attributed() {
    let server = Memcached::start(&[
        "-I",
        "1024",
        "-o",
        if Memcached::version() >= (1, 6, 24) { "slab_chunk_max=1" } else { "slab_chunk_max=1024" },
    ]);
    let mut session = Session::open(&server, Protocol::Meta);
    for length in [10, 1200, 10] {
        session.submit(&Request::set("k", vec![b'v'; length]).quiet()).unwrap();
    }
    session.send();
    assert!(matches!(session.replies(3), Err(ProtocolError::UnattributedError(_))));
}

#[test]
fn leases_are_won_once_and_stale_items_are_marked() {
    let server = Memcached::start(&[]);
    let mut session = Session::open(&server, Protocol::Meta);
    let lease = MetaOptions::new().vivify(Duration::from_secs(30));
    let fetch = || Request::get("page").meta(lease.clone());
    let first = session.call_one(&fetch());
    let info = first.info.unwrap();
    assert!(first.value.is_empty() && info.won && !info.already_won);
    assert!(session.call_one(&fetch()).info.unwrap().already_won);
    assert!(session.call_one(&Request::set("page", "fresh").cas(first.cas)).is_ok());
    assert_eq!(session.call_one(&fetch()).info, None);

    let stale = MetaOptions::new().stale().update_ttl(Duration::from_secs(30));
    assert!(session.call_one(&Request::delete("page").meta(stale)).is_ok());
    let found = session.call_one(&Request::get("page"));
    assert_eq!(found.value, "fresh");
    let info = found.info.unwrap();
    assert!(info.stale && info.won);
}

#[test]
fn an_inspection_returns_the_metadata_without_an_access() {
    let server = Memcached::start(&[]);
    let mut session = Session::open(&server, Protocol::Meta);
    session.call(&Request::set("a b", "val").flags(9).ttl(Duration::from_secs(100)));
    for _ in 0..2 {
        let found = session.call_one(&Request::inspect("a b"));
        let info = found.info.unwrap();
        assert_eq!((found.flags, found.value.len(), info.size, info.fetched), (9, 0, Some(3), Some(false)));
        let Some(Ttl::After(left)) = info.remaining_ttl else { panic!("{info:?}") };
        assert!(left <= Duration::from_secs(100) && left >= Duration::from_secs(90));
        assert!(info.last_access.is_some());
    }
    assert_eq!(session.call_one(&Request::inspect("absent")).status, Status::KeyNotFound);
    let debug = session.call_one(&Request::debug("a b"));
    assert!(debug.is_ok() && debug.text().contains("cls=1"), "{debug:?}");
    assert_eq!(session.call_one(&Request::debug("absent")).status, Status::KeyNotFound);
    assert!(session.call_one(&Request::noop()).is_ok());
}

#[test]
fn dumps_list_every_item() {
    let server = Memcached::start(&[]);
    for protocol in [Protocol::Meta, Protocol::Text] {
        Session::open(&server, Protocol::Binary).call(&Request::set("a b%", "val"));
        let mut session = Session::open(&server, protocol);
        let items = session.call(&Request::metadump("all"));
        let item = remcache::proto::text::MetadumpItem::parse(&items[0].value).unwrap();
        assert_eq!((&item.key[..], &items[0].key[..], items.len()), (&b"a b%"[..], &b"a b%"[..], 2));
        assert!(session.call_one(&Request::noop()).is_ok(), "the connection still works");
        session.submit(&Request::noop()).unwrap();
        assert_eq!(session.submit(&Request::metadump("all")).unwrap_err().status, Status::Unsupported);
    }
}

#[test]
fn a_watch_logs_the_requests_of_other_connections() {
    let server = Memcached::start(&[]);
    let mut watcher = Session::open(&server, Protocol::Text);
    watcher.submit(&Request::watch("fetchers")).unwrap();
    watcher.send();
    let mut lines = Vec::new();
    let mut other = Session::open(&server, Protocol::Meta);
    while lines.len() < 2 {
        while let Some(event) = watcher.connection.poll_event(&mut watcher.input).unwrap() {
            assert!(!event.last);
            lines.push(event.reply.value);
            other.call(&Request::get("key"));
        }
        let mut buffer = [0; 4096];
        let count = watcher.stream.read(&mut buffer).expect("more log lines");
        watcher.input.extend(&buffer[..count]);
        while let Some(event) = watcher.connection.poll_event(&mut watcher.input).unwrap() {
            lines.push(event.reply.value);
            other.call(&Request::get("key"));
        }
    }
    assert!(lines[0].is_empty());
    let line = remcache::proto::text::LogLine::parse(&lines[1]);
    assert_eq!(line.kind(), Some(&b"item_get"[..]));
    assert_eq!(line.key().unwrap(), "key");
}

#[test]
fn administrative_commands_are_answered() {
    let server = Memcached::start(&[]);
    for protocol in [Protocol::Meta, Protocol::Text] {
        let mut session = Session::open(&server, protocol);
        for (request, expected) in [
            (Request::verbosity(0), Status::NoError),
            (Request::memory_limit(100), Status::NoError),
            (Request::memory_limit(7), Status::InvalidArguments),
            (Request::slabs("automove 1"), Status::NoError),
            (Request::slabs("reassign 1 1"), Status::InvalidArguments),
            (Request::lru("mode segmented"), Status::NoError),
            (Request::lru_crawler("crawl all"), Status::NoError),
            (Request::lru_crawler("crawl 9999"), Status::InvalidArguments),
            (Request::cluster_config(), Status::UnknownCommand),
            (Request::shutdown(), Status::Unsupported),
            (Request::stat("detail on"), Status::NoError),
            (Request::stat("nonsense"), Status::KeyNotFound),
            (Request::noop(), Status::NoError),
        ] {
            assert_eq!(session.call_one(&request).status, expected, "{protocol}: {request:?}");
        }
    }
}

#[test]
fn the_end_of_the_connection_completes_a_quit() {
    let server = Memcached::start(&[]);
    for protocol in [Protocol::Meta, Protocol::Text] {
        let mut session = Session::open(&server, protocol);
        session.submit(&Request::quit()).unwrap();
        session.send();
        assert_eq!(session.stream.read(&mut [0; 8]).unwrap(), 0, "the server closes");
        session.connection.close(&Bytes::from("closed"), Instant::now());
        let event = session.connection.poll_event(&mut session.input).unwrap().unwrap();
        assert_eq!(event.reply.status, Status::NoError);
    }
}

#[test]
fn a_server_with_a_password_file_requires_credentials() {
    let dir = remcache_testkit::scratch();
    let users = dir.path().join("users");
    std::fs::write(&users, "foo:bar\nuser2:p:w2\n").expect("the directory is writable");
    let server = Memcached::start(&["-Y", users.to_str().expect("a plain path")]);
    for protocol in [Protocol::Meta, Protocol::Text] {
        let mut session = Session::open(&server, protocol);
        assert_eq!(session.call_one(&Request::authenticate("foo", "baz")).status, Status::AuthError);
        assert_eq!(session.call_one(&Request::authenticate("user2", "p:w2")).status, Status::NoError);
        assert!(session.call_one(&Request::set("k", "v")).is_ok());
    }
    let mut other_client = Session::open(&server, Protocol::Meta);
    other_client.submit(&Request::get("k")).unwrap();
    other_client.submit(&Request::noop()).unwrap();
    other_client.send();
    assert!(matches!(other_client.replies(2), Err(ProtocolError::Desynchronized(_))));
}
