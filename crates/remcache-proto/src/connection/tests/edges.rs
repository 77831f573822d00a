//! States that outlive what they belong to, and bounds that are easily forgotten: a test for each line
//! that could be removed unnoticed.

use std::time::Duration;

use bytes::Bytes;

use super::text::Bench;
use crate::*;

fn bench(protocol: Protocol, keys_in_line: usize) -> Bench {
    let mut bench = Bench::new(protocol);
    bench.connection.set_max_keys_per_line(keys_in_line);
    bench
}

fn close(bench: &mut Bench) {
    bench.connection.close(&Bytes::from_static(b"gone"), bench.at(0));
    bench.input = InputBuffer::new();
    // As the driver does it: without a look at what the input might cause.
    while bench.connection.poll_local_event().is_some() {}
}

fn submit_until(bench: &mut Bench, request: &Request<'_>, tag: Option<u64>, deadline: Deadline, at: u64) -> Ticket {
    let now = bench.at(at);
    bench.connection.submit(request, tag.map(Tag), deadline, now).unwrap()
}

// ---- What a closed connection must forget ----

#[test]
fn a_closed_connection_forgets_why_it_could_not_be_trusted() {
    let mut bench = bench(Protocol::Text, 1);
    bench.submit(&Request::set("k", "v"), 1).unwrap();
    bench.sent();
    // The refused value may be read as commands. The error is reported once the reply was delivered.
    bench.input.extend(b"CLIENT_ERROR bad data chunk\r\n");
    assert!(bench.connection.poll_event(&mut bench.input).unwrap().is_some());
    assert!(bench.connection.poll_event(&mut bench.input).is_err());
    close(&mut bench);
    bench.submit(&Request::get("k"), 2).unwrap();
    bench.sent();
    assert_eq!(bench.answer("END\r\n"), Ok(vec![(2, Status::KeyNotFound)]));
}

#[test]
fn a_closed_connection_forgets_which_requests_were_silent() {
    let mut bench = bench(Protocol::Meta, 1);
    for tag in 0..3 {
        bench.submit(&Request::get("k").quiet(), tag).unwrap();
    }
    bench.submit(&Request::noop(), 3).unwrap();
    bench.sent();
    // The reply settles the silent requests one event at a time; the connection ends after the first.
    bench.input.extend(b"MN\r\n");
    assert!(bench.connection.poll_event(&mut bench.input).unwrap().is_some());
    close(&mut bench);
    bench.submit(&Request::get("k"), 4).unwrap();
    bench.sent();
    assert_eq!(bench.events(), Ok(vec![]), "a request is settled before any byte of its reply");
}

#[test]
fn a_closed_connection_adds_no_keys_to_an_old_line() {
    let mut bench = bench(Protocol::Text, 100);
    bench.submit(&Request::get("a"), 1).unwrap();
    // The line is open until its bytes are taken, which they never are.
    close(&mut bench);
    bench.submit(&Request::get("b"), 2).unwrap();
    assert_eq!(bench.sent(), "gets b\r\n");
}

#[test]
fn a_closed_connection_uses_gets_again() {
    let mut bench = bench(Protocol::Text, 1);
    bench.submit(&Request::get("a"), 1).unwrap();
    bench.sent();
    assert_eq!(bench.answer("ERROR\r\n"), Ok(vec![]));
    assert_eq!(bench.sent(), "get a\r\n");
    close(&mut bench);
    bench.submit(&Request::get("b"), 2).unwrap();
    assert_eq!(bench.sent(), "gets b\r\n");
}

// ---- Requests that are given up ----

#[test]
fn only_a_request_that_a_caller_waits_for_can_be_abandoned() {
    let mut bench = bench(Protocol::Text, 1);
    let deadline = Deadline { at: bench.at(1000), extend_by: Duration::ZERO };
    let unawaited = submit_until(&mut bench, &Request::touch("k", Ttl::Never), None, deadline, 0);
    let awaited = bench.submit(&Request::get("k"), 1).unwrap();
    for _ in 0..2 {
        bench.connection.abandon(unawaited, bench.at(0));
        bench.connection.abandon(awaited, bench.at(0));
    }
    assert_eq!(bench.connection.abandoned(), 1);
}

#[test]
fn a_fetch_that_was_sent_again_can_still_be_abandoned() {
    for keys_in_line in [1, 100] {
        let mut bench = bench(Protocol::Text, keys_in_line);
        let tickets: Vec<Ticket> = (0..4).map(|tag| bench.submit(&Request::get("k"), tag).unwrap()).collect();
        let lines = bench.sent().matches("gets").count();
        bench.answer(&"ERROR\r\n".repeat(lines)).unwrap();
        // Its tag may belong to another request by the time of the reply.
        bench.connection.abandon(tickets[1], bench.at(0));
        assert_eq!(bench.connection.abandoned(), 1);
        let lines = bench.sent().matches("get ").count();
        let found = bench.answer(&"VALUE k 0 1\r\nv\r\nEND\r\n".repeat(lines)).unwrap();
        assert!(found.iter().all(|(tag, _)| *tag != 1), "{found:?}");
        assert_eq!((found.len(), bench.connection.abandoned()), (3, 0), "{found:?}");
        // What was abandoned before is not sent again.
        let ticket = bench.submit(&Request::get("k"), 9).unwrap();
        bench.connection.abandon(ticket, bench.at(0));
    }
}

#[test]
fn a_fetch_that_was_abandoned_is_not_sent_again() {
    let mut bench = bench(Protocol::Text, 1);
    let ticket = bench.submit(&Request::get("k"), 1).unwrap();
    bench.sent();
    bench.connection.abandon(ticket, bench.at(0));
    assert_eq!(bench.answer("ERROR\r\n"), Ok(vec![]));
    assert_eq!((bench.sent(), bench.connection.in_flight(), bench.connection.abandoned()), (String::new(), 0, 0));
}

#[test]
fn a_reply_to_a_fetch_that_has_not_been_sent_again_is_not_believed() {
    for keys_in_line in [1, 100] {
        let mut bench = bench(Protocol::Text, keys_in_line);
        bench.submit(&Request::get("k"), 1).unwrap();
        bench.sent();
        let answer = bench.answer("ERROR\r\nEND\r\n");
        assert!(matches!(answer, Err(ProtocolError::UnexpectedLine(_))), "{answer:?}");
    }
}

#[test]
fn a_server_that_knows_neither_command_is_asked_once_for_each() {
    let mut bench = bench(Protocol::Text, 1);
    bench.submit(&Request::get("k"), 1).unwrap();
    bench.sent();
    assert_eq!(bench.answer("ERROR\r\n"), Ok(vec![]));
    assert_eq!(bench.sent(), "get k\r\n");
    assert_eq!(bench.answer("ERROR\r\n"), Ok(vec![(1, Status::UnknownCommand)]));
    assert_eq!(bench.sent(), "");
}

// ---- Time ----

#[test]
fn a_request_is_not_overdue_before_the_server_could_be_heard() {
    let mut bench = bench(Protocol::Text, 1);
    bench.submit(&Request::get("k"), 1).unwrap();
    bench.sent();
    bench.connection.handle_timeout(bench.at(1000)).unwrap();
    assert_eq!(bench.events(), Ok(vec![(1, Status::TimedOut(Delivery::MaybeSent))]));
    // The caller itself was stalled for a minute: the server's silence counts from now.
    let overdue = Limits::default().overdue;
    let now = 60_000;
    bench.connection.reset_silence_timer(bench.at(now));
    assert_eq!(bench.connection.handle_timeout(bench.at(now)), Ok(()));
    assert!(bench.connection.poll_timeout().is_some_and(|at| at > bench.at(now)));
    assert_eq!(bench.connection.handle_timeout(bench.at(now) + overdue), Err(ProtocolError::Silent));
}

#[test]
fn no_keepalive_is_sent_before_the_protocol_is_known() {
    let mut bench = Bench::undecided(Limits::default());
    let keepalive = Limits::default().keepalive;
    bench.connection.handle_timeout(bench.at(0) + keepalive).unwrap();
    assert_eq!(bench.connection.in_flight(), 0, "a no-op waits for the protocol");
    bench.connection.begin(Protocol::Text, ServerVersion::default());
    assert_eq!(bench.sent(), "");
}

/// Each reply extends the deadlines of a run, and never shortens one.
#[test]
fn a_deadline_of_a_run_is_the_later_of_its_own_and_the_extended_one() {
    for (protocol, keys_in_line) in [(Protocol::Meta, 1), (Protocol::Text, 1), (Protocol::Text, 100)] {
        let mut bench = bench(protocol, keys_in_line);
        let patient = Deadline { at: bench.at(1000), extend_by: Duration::from_millis(100) };
        for tag in 0..2 {
            submit_until(&mut bench, &Request::get("k"), Some(tag), patient, 0);
        }
        // Another request is given up at 400 ms: the others are looked at then too.
        let short = Deadline { at: bench.at(400), extend_by: Duration::ZERO };
        submit_until(&mut bench, &Request::get("k"), Some(2), short, 0);
        bench.sent();
        bench.connection.handle_timeout(bench.at(400)).unwrap();
        let timed_out = (2, Status::TimedOut(Delivery::MaybeSent));
        assert_eq!(bench.events(), Ok(vec![timed_out]), "{protocol}: 100 ms have passed, and not the deadline");
        bench.connection.handle_timeout(bench.at(1000)).unwrap();
        assert_eq!(bench.events().unwrap().len(), 2, "{protocol}");
    }
}

// ---- Hits in a line ----

#[test]
fn hits_and_misses_of_a_line_come_after_the_silent_requests_before_it() {
    let mut bench = bench(Protocol::Meta, 100);
    for tag in 0..2 {
        bench.submit(&Request::set("k", "v").quiet(), tag).unwrap();
    }
    for (tag, key) in [(2, "a"), (3, "b")] {
        bench.submit(&Request::get(key), tag).unwrap();
    }
    bench.sent();
    // The line's first item shows that the stores before it succeeded.
    let found = bench.answer("VALUE a 0 1 7\r\nv\r\nVALUE b 0 1 7\r\nv\r\nEND\r\n").unwrap();
    let tags: Vec<u64> = found.iter().map(|(tag, _)| *tag).collect();
    assert_eq!(tags, [0, 1, 2, 3]);
    // Misses before the last item of a line are settled by its end, in the order of the requests.
    for (tag, key) in [(4, "a"), (5, "b"), (6, "c")] {
        bench.submit(&Request::get(key), tag).unwrap();
    }
    bench.submit(&Request::get("d"), 7).unwrap();
    bench.sent();
    bench.input.extend(b"END\r\nVALUE a 0 1 7\r\nv\r\nEND\r\n");
    let mut found = Vec::new();
    while let Ok(Some(event)) = bench.connection.poll_event(&mut bench.input) {
        found.push((event.tag.0, event.reply.status));
    }
    let missing = |tag| (tag, Status::KeyNotFound);
    assert_eq!(found, [missing(4), missing(5), missing(6), missing(7)], "the second line answers nothing");
}

#[test]
fn a_value_above_the_limit_is_not_copied() {
    let start = std::time::Instant::now();
    let limits = Limits { value: 3, ..Limits::default() };
    let mut connection = Connection::speaking(Protocol::Text, ServerVersion::default(), limits, 7, start);
    connection.set_max_keys_per_line(100);
    let deadline = Deadline { at: start + Duration::from_secs(1), extend_by: Duration::ZERO };
    for (tag, key) in [(1, "a"), (2, "b")] {
        connection.submit(&Request::get(key), Some(Tag(tag)), deadline, start).unwrap();
    }
    connection.take_output(&mut Output::new());
    let mut input = InputBuffer::new();
    input.extend(b"VALUE a 0 4 7\r\nlong\r\nEND\r\n");
    let error = connection.poll_event(&mut input).unwrap_err();
    assert_eq!(error, ProtocolError::TooLarge { announced: 4, limit: 3 });
}
