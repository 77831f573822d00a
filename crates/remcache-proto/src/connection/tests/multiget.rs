//! Multigets: coalescing, attribution of items, and wrong replies.

use super::wrong_replies::{Corruption, Random, expected_value, receive};
use crate::connection::tests::text::{TextHarness, below, take_events};

use bytes::Bytes;

use crate::*;

fn harness(protocol: Protocol, max_keys_per_multiget: usize) -> TextHarness {
    let mut harness = TextHarness::new(protocol);
    harness.connection.set_max_keys_per_multiget(max_keys_per_multiget);
    harness
}

/// Submits a request per letter: a to z are gets of that key, S a set, s a quiet set, N a no-op.
fn submit(harness: &mut TextHarness, requests: &str) {
    for (tag, kind) in requests.chars().enumerate() {
        let request = match kind {
            'S' => Request::set("k", "v"),
            's' => Request::set("k", "v").quiet(),
            'N' => Request::noop(),
            key => Request::get(key.to_string()),
        };
        harness.submit(&request, tag as u64).unwrap();
    }
}

#[track_caller]
fn assert_sent(protocol: Protocol, requests: &str, max_keys_per_multiget: usize, expected: &str) {
    let mut harness = harness(protocol, max_keys_per_multiget);
    submit(&mut harness, requests);
    assert_eq!(harness.sent().replace("\r\n", "|"), expected, "{protocol} {requests}");
}

#[test]
fn consecutive_gets_are_sent_as_one_line() {
    for protocol in [Protocol::Meta, Protocol::Text] {
        assert_sent(protocol, "abc", 100, "gets a b c|");
        assert_sent(protocol, "abcde", 2, "gets a b|gets c d|gets e|");
    }
    assert_sent(Protocol::Text, "abNc", 100, "gets a b|version|gets c|");
    assert_sent(Protocol::Meta, "aSbc", 100, "gets a|ms k 1 c O00000008|v|gets b c|");
    assert_sent(Protocol::Meta, "ab", 1, "mg a v f c O00000007|mg b v f c O00000008|");
}

#[test]
fn a_multiget_has_a_quarter_of_the_requests_in_flight_or_half_of_a_call() {
    let lengths = |is_run: bool| {
        let mut harness = harness(Protocol::Meta, 100);
        let mut round = |count| {
            harness.connection.begin_batch(if is_run { count as usize } else { 0 });
            for tag in 0..count {
                harness.submit(&Request::get(format!("{tag}")), tag).unwrap();
            }
            harness.sent().lines().map(|line| line.split(' ').count() - 1).collect::<Vec<_>>()
        };
        [round(20), round(44), round(256), round(90), round(150)]
    };
    assert_eq!(lengths(true), [vec![20], vec![32, 12], vec![100, 100, 56], vec![45, 45], vec![75, 75]]);
    // Requests in flight at the start of each round: 0, 20, 64, 320, 410.
    let alone = [vec![8, 8, 4], vec![8, 8, 8, 8, 8, 4], vec![16; 16], vec![80, 10], vec![100, 50]];
    assert_eq!(lengths(false), alone);
}

/// Values of a multi-key call are stored side by side; the value of a single get keeps no other memory alive.
#[test]
fn only_small_values_of_one_call_share_memory() {
    let values = |extend_by: std::time::Duration| {
        let mut harness = harness(Protocol::Meta, 100);
        for tag in 0..3 {
            let deadline = Deadline { at: harness.at(1000), extend_by };
            let request = Request::get(format!("{tag}"));
            harness.connection.submit(&request, Some(Tag(tag)), deadline, harness.at(0)).unwrap();
        }
        harness.sent();
        harness.input.extend(b"VALUE 0 0 4 1\r\nnull\r\nVALUE 1 5 0 2\r\n\r\nVALUE 2 0 3 3\r\ntwo\r\nEND\r\n");
        let mut values = Vec::new();
        while let Some(event) = harness.connection.poll_event(&mut harness.input).unwrap() {
            values.push(event.reply.value);
        }
        assert_eq!(values, ["null", "", "two"]);
        values
    };
    let together = values(std::time::Duration::from_secs(1));
    assert_eq!(together[0].as_ptr().wrapping_add(4), together[2].as_ptr());
    assert!(!together[0].is_unique());
    let alone = values(std::time::Duration::ZERO);
    assert!(alone[0].is_unique() && alone[2].is_unique());
}

#[test]
fn a_taken_output_is_not_appended_to() {
    let mut harness = harness(Protocol::Meta, 100);
    submit(&mut harness, "ab");
    assert_eq!(harness.sent(), "gets a b\r\n");
    submit(&mut harness, "c");
    assert_eq!(harness.sent(), "gets c\r\n");
}

#[test]
fn other_fetches_are_not_coalesced() {
    let mut harness = harness(Protocol::Meta, 100);
    for (tag, request) in [
        Request::get("a"),
        Request::get("a b"),
        Request::get("c").quiet(),
        Request::get("d").with_key(),
        Request::get_and_touch("e", Ttl::Never),
        Request::inspect("f"),
        Request::get("g"),
        Request::get("h"),
    ]
    .iter()
    .enumerate()
    {
        harness.submit(request, tag as u64).unwrap();
    }
    let sent = harness.sent();
    let lines: Vec<&str> = sent.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[6]), (7, "gets a", "gets g h"));
    assert!(lines[1..6].iter().all(|line| line.starts_with("mg ")), "{lines:?}");
}

#[test]
fn a_line_does_not_exceed_the_read_buffer_of_a_server() {
    let mut harness = harness(Protocol::Text, usize::MAX);
    for tag in 0..100 {
        harness.submit(&Request::get(format!("{tag:0250}")), tag).unwrap();
    }
    let sent = harness.sent();
    let lengths: Vec<usize> = sent.lines().map(str::len).collect();
    let (last, full) = lengths.split_last().unwrap();
    assert!(full.iter().all(|length| (1700..2000).contains(length)) && *last < 2000, "{lengths:?}");
    assert_eq!(sent.split_whitespace().count(), 100 + lengths.len());
}

#[test]
fn a_key_is_added_to_a_line_of_less_than_2000_bytes() {
    for (last_length, lines) in [(236, 1), (237, 2)] {
        let mut harness = harness(Protocol::Text, usize::MAX);
        for tag in 0..7 {
            harness.submit(&Request::get("k".repeat(250)), tag).unwrap();
        }
        harness.submit(&Request::get("k".repeat(last_length)), 7).unwrap();
        assert_eq!(harness.sent().lines().count(), lines, "a last key of {last_length} bytes");
    }
}

/// Decodes replies at once and byte by byte. Replies are tags with - for a miss, + for a hit or success, ! for an
/// error, and the protocol error at the end.
#[track_caller]
fn check(requests: &str, reply: &str, expected: &str) {
    for protocol in [Protocol::Meta, Protocol::Text] {
        for pieces in [usize::MAX, 1] {
            let mut harness = harness(protocol, 100);
            submit(&mut harness, requests);
            harness.sent();
            let mut found = String::new();
            let bytes = item_lines(reply);
            let mut pieces = bytes.as_bytes().chunks(pieces);
            while !found.contains(' ')
                && let Some(piece) = pieces.next()
            {
                harness.input.extend(piece);
                record_events(&mut harness, &mut found);
            }
            assert_eq!(found, expected, "{protocol} {requests}: {reply}");
        }
    }
}

fn record_events(harness: &mut TextHarness, found: &mut String) {
    loop {
        match harness.connection.poll_event(&mut harness.input) {
            Ok(None) => return,
            Ok(Some(event)) => *found += &format!("{}{}", event.tag.0, mark(event.reply.status)),
            Err(error) => {
                *found += &format!(" {}", format!("{error:?}").split(['(', ' ']).next().unwrap());
                return;
            }
        }
    }
}

fn mark(status: Status) -> char {
    match status {
        Status::NoError => '+',
        Status::KeyNotFound => '-',
        _ => '!',
    }
}

/// Returns the lines of a reply: a single letter stands for an item with that key.
fn item_lines(reply: &str) -> String {
    let lines = reply.split('|').map(|line| match line.len() {
        1 => format!("VALUE {line} 0 2 9\r\n{line}{line}\r\n"),
        _ => format!("{line}\r\n"),
    });
    lines.collect()
}

#[test]
fn items_complete_their_gets_and_the_end_reports_misses() {
    check("abc", "a|b|c|END", "0+1+2+");
    check("abc", "END", "0-1-2-");
    check("abc", "b|END", "1+0-2-");
    check("abc", "c|END", "2+0-1-");
    check("abc", "a|c|END", "0+2+1-");
    check("abc", "b|c|END", "1+2+0-");
    check("ab", "a|END", "0+1-");
    check("a", "a|END", "0+");
    check("aa", "a|a|END", "0+1+");
}

#[test]
fn a_failed_multiget_fails_all_its_gets_and_no_others() {
    check("abc", "SERVER_ERROR out of memory writing get response", "0!1!2!");
    check("abc", "b|SERVER_ERROR out of memory writing get response", "1+0!2!");
    check("abc", "a|b|c|SERVER_ERROR out of memory", "0+1+2+");
    check("abc", "CLIENT_ERROR bad command line format|END", "0!1!2! Desynchronized");
}

#[test]
fn no_reply_is_accepted_after_a_desynchronizing_error() {
    for protocol in [Protocol::Meta, Protocol::Text] {
        let mut harness = harness(protocol, 2);
        submit(&mut harness, "abc");
        assert_eq!(harness.sent(), "gets a b\r\ngets c\r\n");
        harness.input.extend(item_lines("CLIENT_ERROR bad command line format|c|END").as_bytes());
        let mut found = String::new();
        record_events(&mut harness, &mut found);
        assert_eq!(found, "0!1! Desynchronized", "{protocol}");
    }
}

#[test]
fn a_reply_to_another_key_is_a_protocol_error() {
    check("abc", "d|END", " WrongKey");
    check("abc", "b|a|END", "1+ WrongKey");
    check("abc", "a|a|END", "0+ WrongKey");
    check("ab", "a|b|b|END", "0+1+ WrongKey");
    check("ab", "STORED", " UnexpectedLine");
    check("ab", "HD", " UnexpectedLine");
    check("ab", "END|END", "0-1- UnexpectedLine");
    check("ab", "VALUE a 0 2 9|xx|VALUE b", "0+ UnexpectedLine");
    check("ab", "VALUE a 0 2|xx|yy", "0+ UnexpectedLine");
    check("ab", "VALUE a 0 9999999 1", " TooLarge");
    check("ab", "VALUE a 0 1 9|xxx", " UnterminatedValue");
}

#[test]
fn a_missing_end_is_detected() {
    // The reply to the second multiget must not complete the first one.
    for protocol in [Protocol::Meta, Protocol::Text] {
        let mut harness = harness(protocol, 100);
        submit(&mut harness, "ab");
        harness.sent();
        submit(&mut harness, "c");
        harness.sent();
        harness.answer(&item_lines("a|b")).unwrap();
        assert_eq!(harness.answer(&item_lines("c")), Err(ProtocolError::WrongKey));
    }
}

#[test]
fn a_multiget_completes_quiet_changes_before_it() {
    let run = |reply: &str| {
        let mut harness = harness(Protocol::Meta, 100);
        submit(&mut harness, "ssab");
        harness.sent();
        harness.answer(&item_lines(reply))
    };
    let made = [(0, Status::NoError), (1, Status::NoError)];
    let hit = |tag| (tag, Status::NoError);
    assert_eq!(run("b|END"), Ok(vec![made[0], made[1], hit(3), (2, Status::KeyNotFound)]));
    assert_eq!(run("END"), Ok(vec![made[0], made[1], (2, Status::KeyNotFound), (3, Status::KeyNotFound)]));
    assert!(matches!(run("SERVER_ERROR out of memory"), Err(ProtocolError::UnattributedError(_))));
    assert!(matches!(run("STORED"), Err(ProtocolError::UnexpectedLine(_))));
    let refused = run("NS O00000008|a|b|END").unwrap();
    assert_eq!(refused, [(1, Status::ItemNotStored), made[0], hit(2), hit(3)]);
}

#[test]
fn a_wrong_line_does_not_confirm_the_quiet_changes_before_a_multiget() {
    let mut harness = harness(Protocol::Meta, 100);
    submit(&mut harness, "ssab");
    harness.sent();
    harness.input.extend(b"STORED\r\n");
    let first = harness.connection.poll_event(&mut harness.input);
    assert!(matches!(first, Err(ProtocolError::UnexpectedLine(_))), "{first:?}");
}

#[test]
fn hits_of_a_multiget_have_their_flags_and_cas_values() {
    for pieces in [usize::MAX, 1] {
        let mut harness = harness(Protocol::Text, 100);
        submit(&mut harness, "ab");
        harness.sent();
        let mut found = Vec::new();
        for piece in b"VALUE a 1 2 3\r\nvv\r\nVALUE b 4 1 6\r\nw\r\nEND\r\n".chunks(pieces) {
            harness.input.extend(piece);
            while let Some(Event { tag, reply, .. }) = harness.connection.poll_event(&mut harness.input).unwrap() {
                found.push((tag.0, reply.flags, reply.cas, reply.value));
            }
        }
        assert_eq!(found, [(0, 1, 3, Bytes::from("vv")), (1, 4, 6, Bytes::from("w"))]);
    }
}

#[test]
fn gets_keep_their_keys_if_a_later_one_is_not_sent() {
    let mut harness = harness(Protocol::Text, 100);
    submit(&mut harness, "Sa");
    let deadline = Deadline { at: harness.at(100), extend_by: std::time::Duration::ZERO };
    harness.connection.submit(&Request::get("b"), Some(Tag(2)), deadline, harness.at(0)).unwrap();
    harness.connection.expire_due(harness.at(100));
    assert_eq!(harness.events(), Ok(vec![(2, Status::TimedOut(Delivery::NotSent))]));
    assert_eq!(harness.sent(), "set k 0 0 1\r\nv\r\ngets a\r\nversion\r\n");
}

#[test]
fn abandoned_gets_of_a_line_are_not_sent() {
    for (protocol, noop) in [(Protocol::Meta, "mn"), (Protocol::Text, "version")] {
        let mut harness = harness(protocol, 100);
        submit(&mut harness, "x");
        assert_eq!(harness.sent(), "gets x\r\n");
        for (tag, millis) in [(1, 500), (2, 100), (3, 500), (4, 500)] {
            let deadline = Deadline { at: harness.at(millis), extend_by: std::time::Duration::ZERO };
            let key = format!("k{tag}");
            harness.connection.submit(&Request::get(&key), Some(Tag(tag)), deadline, harness.at(0)).unwrap();
        }
        harness.connection.expire_due(harness.at(100));
        assert_eq!(harness.events(), Ok(vec![(2, Status::TimedOut(Delivery::NotSent))]));
        assert_eq!(harness.sent(), format!("gets k1\r\n{noop}\r\ngets k3 k4\r\n"));
        let answer = if protocol == Protocol::Meta { "MN" } else { "VERSION 1.6.18" };
        let reply = format!("x|END|VALUE k1 0 1 9|v|END|{answer}|VALUE k4 0 1 9|v|END");
        let events = harness.answer(&item_lines(&reply).replace("VALUE v 0 2 9\r\nvv", "v")).unwrap();
        let expected = [(0, true), (1, true), (4, true), (3, false)];
        let expected = expected.map(|(tag, hit)| (tag, if hit { Status::NoError } else { Status::KeyNotFound }));
        assert_eq!(events, expected);
        assert_eq!(harness.connection.in_flight(), 0);
    }
}

#[test]
fn an_abandoned_fetch_stays_in_its_multiget() {
    let mut harness = harness(Protocol::Meta, 100);
    submit(&mut harness, "a");
    let request_id = harness.submit(&Request::get("b"), 1).unwrap();
    harness.submit(&Request::get("c"), 2).unwrap();
    harness.sent();
    harness.connection.abandon(request_id, harness.at(0));
    assert_eq!(harness.answer(&item_lines("a|b|c|END")), Ok(vec![(0, Status::NoError), (2, Status::NoError)]));
    assert_eq!((harness.connection.in_flight(), harness.connection.abandoned()), (0, 0));
}

#[test]
fn a_multiget_is_not_split_between_tls_records() {
    let mut harness = harness(Protocol::Text, 3);
    submit(&mut harness, "abcdef");
    let mut output = Output::new();
    harness.connection.take_output(&mut output);
    let line = "gets a b c\r\n".len();
    assert_eq!(harness.connection.whole_requests_len(4), line);
    assert_eq!(harness.connection.whole_requests_len(line + 5), line);
    assert_eq!(harness.connection.whole_requests_len(1000), 2 * line);
    harness.connection.handle_written(line);
    harness.connection.close(&Bytes::from("gone"), harness.at(0));
    let ends = harness.events().unwrap();
    let delivery = |tag| if tag < 3 { Delivery::MaybeSent } else { Delivery::NotSent };
    assert_eq!(ends, (0..6).map(|tag| (tag, Status::Disconnected(delivery(tag)))).collect::<Vec<_>>());
}

// ---- Wrong replies ----

/// Returns the correct reply to a line, in blocks.
fn correct_replies(line: &str) -> Vec<String> {
    let mut words = line.split(' ');
    match words.next() {
        Some("mn") => vec!["MN\r\n".to_owned()],
        Some("version") => vec!["VERSION 1.6.18\r\n".to_owned()],
        Some("gets") => {
            let items = words.filter_map(|key| {
                let value = String::from_utf8(expected_value(key.as_bytes())?.to_vec()).unwrap();
                Some(format!("VALUE {key} 0 {} 1\r\n{value}\r\n", value.len()))
            });
            items.chain(["END\r\n".to_owned()]).collect()
        }
        _ => panic!("{line}"),
    }
}

fn conversation(protocol: Protocol, seed: u64) {
    let mut random = Random(seed);
    let mut harness = harness(protocol, 1 + below(&mut random, 6));
    let corruptions = [Corruption::None, Corruption::Swap, Corruption::Repeat, Corruption::Drop, Corruption::Truncate];
    let chosen = corruptions[below(&mut random, corruptions.len())];
    let count = 1 + below(&mut random, 12);
    for number in 0..count {
        harness.submit(&Request::get(number.to_string()), number as u64).unwrap();
        if random.below(6) == 0 {
            let deadline = Deadline { at: harness.at(1000), extend_by: std::time::Duration::ZERO };
            harness.connection.submit(&Request::noop(), None, deadline, harness.at(0)).unwrap();
        }
    }
    // Single gets on the meta protocol are tested separately.
    let sent = harness.sent();
    if sent.contains("mg ") {
        return;
    }
    let mut blocks: Vec<String> = sent.lines().flat_map(correct_replies).collect();
    let at = below(&mut random, blocks.len());
    match chosen {
        Corruption::Swap => {
            let other = below(&mut random, blocks.len());
            blocks.swap(at, other);
        }
        Corruption::Repeat => blocks.insert(at, blocks[at].clone()),
        Corruption::Drop => drop(blocks.remove(at)),
        _ => {}
    }
    let mut bytes = blocks.concat().into_bytes();
    if let Corruption::Truncate = chosen {
        bytes.truncate(below(&mut random, bytes.len() + 1));
    }
    // A missing item is undetectable, a wrong item is not.
    let is_undetectable = !matches!(chosen, Corruption::None | Corruption::Truncate);
    let mut completions = vec![0; count];
    let TextHarness { connection, input, .. } = &mut harness;
    let is_rejected = receive(connection, input, bytes, &mut random, |connection, input| {
        take_events(connection, input, &mut completions, is_undetectable, seed, chosen)
    });
    assert!(!is_rejected || is_undetectable, "seed {seed}, {protocol} {chosen:?}: a correct reply was rejected");
    assert!(completions.iter().all(|&times| times == 1), "seed {seed}, {protocol} {chosen:?}: {completions:?}");
}

#[test]
fn wrong_replies_to_multigets_are_never_delivered() {
    let first: u64 = std::env::var("REMCACHE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    for seed in first..first + 50_000 {
        conversation(Protocol::Meta, seed);
        conversation(Protocol::Text, seed);
    }
}
