//! Fetches that share a line: what is sent, what answers whom, and a server that lies.

use super::liar::{Lie, Random, truth};
use crate::connection::tests::text::{Bench, below};

use bytes::Bytes;

use crate::*;

fn bench(protocol: Protocol, keys_in_line: usize) -> Bench {
    let mut bench = Bench::new(protocol);
    bench.connection.set_max_keys_per_line(keys_in_line);
    bench
}

/// Submits requests by letters: a to z are gets of that key, S a set, s a quiet set, N a no-op.
fn submit(bench: &mut Bench, requests: &str) {
    for (tag, kind) in requests.chars().enumerate() {
        let request = match kind {
            'S' => Request::set("k", "v"),
            's' => Request::set("k", "v").quiet(),
            'N' => Request::noop(),
            key => Request::get(key.to_string()),
        };
        bench.submit(&request, tag as u64).unwrap();
    }
}

#[track_caller]
fn assert_sent(protocol: Protocol, requests: &str, keys_in_line: usize, expected: &str) {
    let mut bench = bench(protocol, keys_in_line);
    submit(&mut bench, requests);
    assert_eq!(bench.sent().replace("\r\n", "|"), expected, "{protocol} {requests}");
}

#[test]
fn gets_in_a_row_leave_as_one_line() {
    for protocol in [Protocol::Meta, Protocol::Text] {
        assert_sent(protocol, "abc", 100, "gets a b c|");
        assert_sent(protocol, "abcde", 2, "gets a b|gets c d|gets e|");
    }
    assert_sent(Protocol::Text, "abNc", 100, "gets a b|version|gets c|");
    assert_sent(Protocol::Meta, "aSbc", 100, "gets a|ms k 1 c O00000008|v|gets b c|");
    assert_sent(Protocol::Meta, "ab", 1, "mg a v f c O00000007|mg b v f c O00000008|");
}

#[test]
fn a_line_takes_a_quarter_of_those_who_wait_or_half_of_a_run() {
    let lengths = |is_run: bool| {
        let mut bench = bench(Protocol::Meta, 100);
        let mut round = |count| {
            bench.connection.begin_batch(if is_run { count as usize } else { 0 });
            for tag in 0..count {
                bench.submit(&Request::get(format!("{tag}")), tag).unwrap();
            }
            bench.sent().lines().map(|line| line.split(' ').count() - 1).collect::<Vec<_>>()
        };
        [round(20), round(44), round(256), round(90), round(150)]
    };
    assert_eq!(lengths(true), [vec![20], vec![32, 12], vec![100, 100, 56], vec![45, 45], vec![75, 75]]);
    // In flight when each began: none, 20, 64, 320, 410.
    let alone = [vec![8, 8, 4], vec![8, 8, 8, 8, 8, 4], vec![16; 16], vec![80, 10], vec![100, 50]];
    assert_eq!(lengths(false), alone);
}

/// Values of one caller's run lie side by side; one that was asked for by itself keeps nothing else alive.
#[test]
fn small_values_of_a_run_share_memory_and_no_others_do() {
    let values = |extend_by: std::time::Duration| {
        let mut bench = bench(Protocol::Meta, 100);
        for tag in 0..3 {
            let deadline = Deadline { at: bench.at(1000), extend_by };
            let request = Request::get(format!("{tag}"));
            bench.connection.submit(&request, Some(Tag(tag)), deadline, bench.at(0)).unwrap();
        }
        bench.sent();
        bench.input.extend(b"VALUE 0 0 4 1\r\nnull\r\nVALUE 1 5 0 2\r\n\r\nVALUE 2 0 3 3\r\ntwo\r\nEND\r\n");
        let mut values = Vec::new();
        while let Some(event) = bench.connection.poll_event(&mut bench.input).unwrap() {
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
    let mut bench = bench(Protocol::Meta, 100);
    submit(&mut bench, "ab");
    assert_eq!(bench.sent(), "gets a b\r\n");
    submit(&mut bench, "c");
    assert_eq!(bench.sent(), "gets c\r\n");
}

#[test]
fn other_fetches_go_each_by_itself() {
    let mut bench = bench(Protocol::Meta, 100);
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
        bench.submit(request, tag as u64).unwrap();
    }
    let sent = bench.sent();
    let lines: Vec<&str> = sent.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[6]), (7, "gets a", "gets g h"));
    assert!(lines[1..6].iter().all(|line| line.starts_with("mg ")), "{lines:?}");
}

#[test]
fn no_line_is_longer_than_a_server_keeps_ready() {
    let mut bench = bench(Protocol::Text, usize::MAX);
    for tag in 0..100 {
        bench.submit(&Request::get(format!("{tag:0250}")), tag).unwrap();
    }
    let sent = bench.sent();
    let lengths: Vec<usize> = sent.lines().map(str::len).collect();
    let (last, full) = lengths.split_last().unwrap();
    assert!(full.iter().all(|length| (1700..2000).contains(length)) && *last < 2000, "{lengths:?}");
    assert_eq!(sent.split_whitespace().count(), 100 + lengths.len());
}

/// Answers come whole and byte by byte. Expected are tags with - for a miss, + for a hit or success,
/// ! for a refusal; and what it ends with.
#[track_caller]
fn check(requests: &str, reply: &str, expected: &str) {
    for protocol in [Protocol::Meta, Protocol::Text] {
        for pieces in [usize::MAX, 1] {
            let mut bench = bench(protocol, 100);
            submit(&mut bench, requests);
            bench.sent();
            let mut found = String::new();
            let bytes = item_lines(reply);
            let mut pieces = bytes.as_bytes().chunks(pieces);
            while !found.contains(' ')
                && let Some(piece) = pieces.next()
            {
                bench.input.extend(piece);
                hear(&mut bench, &mut found);
            }
            assert_eq!(found, expected, "{protocol} {requests}: {reply}");
        }
    }
}

fn hear(bench: &mut Bench, found: &mut String) {
    loop {
        match bench.connection.poll_event(&mut bench.input) {
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

/// `a` is an item of that key; everything else is a line.
fn item_lines(reply: &str) -> String {
    let lines = reply.split('|').map(|line| match line.len() {
        1 => format!("VALUE {line} 0 2 9\r\n{line}{line}\r\n"),
        _ => format!("{line}\r\n"),
    });
    lines.collect()
}

#[test]
fn items_answer_their_gets_and_the_end_reports_misses() {
    check("abc", "a|b|c|END", "0+1+2+");
    check("abc", "END", "0-1-2-");
    check("abc", "b|END", "1+0-2-");
    check("abc", "c|END", "2+0-1-");
    check("abc", "a|c|END", "0+2+1-");
    check("a", "a|END", "0+");
    check("aa", "a|a|END", "0+1+");
}

#[test]
fn a_line_that_fails_fails_whole_and_alone() {
    check("abc", "SERVER_ERROR out of memory writing get response", "0!1!2!");
    check("abc", "b|SERVER_ERROR out of memory writing get response", "1+0!2!");
    check("abc", "a|b|c|SERVER_ERROR out of memory", "0+1+2+");
    check("abc", "CLIENT_ERROR bad command line format|END", "0!1!2! OutOfStep");
}

#[test]
fn no_reply_is_accepted_after_an_error_that_loses_synchronisation() {
    for protocol in [Protocol::Meta, Protocol::Text] {
        let mut bench = bench(protocol, 2);
        submit(&mut bench, "abc");
        assert_eq!(bench.sent(), "gets a b\r\ngets c\r\n");
        bench.input.extend(item_lines("CLIENT_ERROR bad command line format|c|END").as_bytes());
        let mut found = String::new();
        hear(&mut bench, &mut found);
        assert_eq!(found, "0!1! OutOfStep", "{protocol}");
    }
}

#[test]
fn a_reply_to_no_get_of_the_line_is_a_protocol_error() {
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
    check("ab", "VALUE a 0 1 9|xxx", " UnendedValue");
}

#[test]
fn an_end_that_is_left_out_is_missed() {
    // The line of the second read must not be taken for the first one's.
    for protocol in [Protocol::Meta, Protocol::Text] {
        let mut bench = bench(protocol, 100);
        submit(&mut bench, "ab");
        bench.sent();
        submit(&mut bench, "c");
        bench.sent();
        bench.answer(&item_lines("a|b")).unwrap();
        assert_eq!(bench.answer(&item_lines("c")), Err(ProtocolError::WrongKey));
    }
}

#[test]
fn quiet_changes_before_a_line_are_settled_by_it() {
    let run = |reply: &str| {
        let mut bench = bench(Protocol::Meta, 100);
        submit(&mut bench, "ssab");
        bench.sent();
        bench.answer(&item_lines(reply))
    };
    let made = [(0, Status::NoError), (1, Status::NoError)];
    let hit = |tag| (tag, Status::NoError);
    assert_eq!(run("b|END"), Ok(vec![made[0], made[1], hit(3), (2, Status::KeyNotFound)]));
    assert_eq!(run("END"), Ok(vec![made[0], made[1], (2, Status::KeyNotFound), (3, Status::KeyNotFound)]));
    assert!(matches!(run("SERVER_ERROR out of memory"), Err(ProtocolError::UnownedError(_))));
    assert!(matches!(run("STORED"), Err(ProtocolError::UnexpectedLine(_))));
    let refused = run("NS O00000008|a|b|END").unwrap();
    assert_eq!(refused, [(1, Status::ItemNotStored), made[0], hit(2), hit(3)]);
}

#[test]
fn abandoned_gets_of_a_line_are_not_sent() {
    for (protocol, noop) in [(Protocol::Meta, "mn"), (Protocol::Text, "version")] {
        let mut bench = bench(protocol, 100);
        submit(&mut bench, "x");
        assert_eq!(bench.sent(), "gets x\r\n");
        for (tag, millis) in [(1, 500), (2, 100), (3, 500), (4, 500)] {
            let deadline = Deadline { at: bench.at(millis), extend_by: std::time::Duration::ZERO };
            let key = format!("k{tag}");
            bench.connection.submit(&Request::get(&key), Some(Tag(tag)), deadline, bench.at(0)).unwrap();
        }
        bench.connection.expire_due(bench.at(100));
        assert_eq!(bench.events(), Ok(vec![(2, Status::TimedOut(Delivery::NotSent))]));
        assert_eq!(bench.sent(), format!("gets k1\r\n{noop}\r\ngets k3 k4\r\n"));
        let answer = if protocol == Protocol::Meta { "MN" } else { "VERSION 1.6.18" };
        let reply = format!("x|END|VALUE k1 0 1 9|v|END|{answer}|VALUE k4 0 1 9|v|END");
        let events = bench.answer(&item_lines(&reply).replace("VALUE v 0 2 9\r\nvv", "v")).unwrap();
        let expected = [(0, true), (1, true), (4, true), (3, false)];
        let expected = expected.map(|(tag, hit)| (tag, if hit { Status::NoError } else { Status::KeyNotFound }));
        assert_eq!(events, expected);
        assert_eq!(bench.connection.in_flight(), 0);
    }
}

#[test]
fn an_abandoned_fetch_keeps_its_place_in_the_line() {
    let mut bench = bench(Protocol::Meta, 100);
    submit(&mut bench, "a");
    let ticket = bench.submit(&Request::get("b"), 1).unwrap();
    bench.submit(&Request::get("c"), 2).unwrap();
    bench.sent();
    bench.connection.abandon(ticket, bench.at(0));
    assert_eq!(bench.answer(&item_lines("a|b|c|END")), Ok(vec![(0, Status::NoError), (2, Status::NoError)]));
    assert_eq!((bench.connection.in_flight(), bench.connection.abandoned()), (0, 0));
}

#[test]
fn a_line_is_one_request_to_a_record() {
    let mut bench = bench(Protocol::Text, 3);
    submit(&mut bench, "abcdef");
    let mut output = Output::new();
    bench.connection.take_output(&mut output);
    let line = "gets a b c\r\n".len();
    assert_eq!(bench.connection.next_boundary(4), line);
    assert_eq!(bench.connection.next_boundary(line + 5), line);
    assert_eq!(bench.connection.next_boundary(1000), 2 * line);
    bench.connection.handle_written(line);
    bench.connection.close(&Bytes::from("gone"), bench.at(0));
    let ends = bench.events().unwrap();
    let delivery = |tag| if tag < 3 { Delivery::MaybeSent } else { Delivery::NotSent };
    assert_eq!(ends, (0..6).map(|tag| (tag, Status::Disconnected(delivery(tag)))).collect::<Vec<_>>());
}

// ---- A lying server ----

/// What an honest server answers to a line, block by block.
fn honest(line: &str) -> Vec<String> {
    let mut words = line.split(' ');
    match words.next() {
        Some("mn") => vec!["MN\r\n".to_owned()],
        Some("version") => vec!["VERSION 1.6.18\r\n".to_owned()],
        Some("gets") => {
            let items = words.filter_map(|key| {
                let value = String::from_utf8(truth(key.as_bytes())?.to_vec()).unwrap();
                Some(format!("VALUE {key} 0 {} 1\r\n{value}\r\n", value.len()))
            });
            items.chain(["END\r\n".to_owned()]).collect()
        }
        _ => panic!("{line}"),
    }
}

fn conversation(protocol: Protocol, seed: u64) {
    let mut random = Random(seed);
    let mut bench = bench(protocol, 1 + below(&mut random, 6));
    let lies = [Lie::None, Lie::Swap, Lie::Repeat, Lie::Drop, Lie::Cut];
    let chosen = lies[below(&mut random, lies.len())];
    let count = 1 + below(&mut random, 12);
    for number in 0..count {
        bench.submit(&Request::get(number.to_string()), number as u64).unwrap();
        if random.below(6) == 0 {
            let deadline = Deadline { at: bench.at(1000), extend_by: std::time::Duration::ZERO };
            bench.connection.submit(&Request::noop(), None, deadline, bench.at(0)).unwrap();
        }
    }
    // With one key in a line the meta protocol has its own command, which has a test of its own.
    let sent = bench.sent();
    if sent.contains("mg ") {
        return;
    }
    let mut blocks: Vec<String> = sent.lines().flat_map(honest).collect();
    let at = below(&mut random, blocks.len());
    match chosen {
        Lie::Swap => {
            let other = below(&mut random, blocks.len());
            blocks.swap(at, other);
        }
        Lie::Repeat => blocks.insert(at, blocks[at].clone()),
        Lie::Drop => drop(blocks.remove(at)),
        _ => {}
    }
    let mut bytes = blocks.concat().into_bytes();
    if let Lie::Cut = chosen {
        bytes.truncate(below(&mut random, bytes.len() + 1));
    }
    // A server can withhold an item; it cannot pass a different item for it.
    let deniable = !matches!(chosen, Lie::None | Lie::Cut);
    let mut ended = vec![0; count];
    let mut broken = false;
    while !bytes.is_empty() && !broken {
        let piece = (1 + below(&mut random, 40)).min(bytes.len());
        bench.input.extend(&bytes.drain(..piece).collect::<Vec<_>>());
        broken = super::text::take_events(&mut bench, &mut ended, deniable, seed, chosen).is_err();
    }
    assert!(!broken || deniable, "seed {seed}, {protocol} {chosen:?}: an honest server is believed");
    bench.input = InputBuffer::new();
    bench.connection.close(&Bytes::from("gone"), bench.at(0));
    super::text::take_events(&mut bench, &mut ended, deniable, seed, chosen).unwrap();
    assert!(ended.iter().all(|&times| times == 1), "seed {seed}, {protocol} {chosen:?}: {ended:?}");
}

#[test]
fn a_server_that_lies_about_a_line_is_never_believed() {
    let first: u64 = std::env::var("REMCACHE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    for seed in first..first + 50_000 {
        conversation(Protocol::Meta, seed);
        conversation(Protocol::Text, seed);
    }
}
