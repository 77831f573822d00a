//! Random text commands, most of them valid.

use fastrand::Rng;

/// Returns a random command with its data block, if it has one.
pub(crate) fn command(rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..100) {
        0..25 => store(rng),
        25..50 => meta(rng),
        50..62 => meta_set(rng),
        62..85 => classic(rng),
        85..95 => pick(rng, OTHERS).as_bytes().to_vec(),
        _ => random_words(rng),
    }
}

const KEYS: &[&str] = &["a", "b", "counter", "p:1", "p:2", "AAH/IGJpbg==", "cGxhaW4=", "plain", "a%b"];
const TTLS: &[&str] = &["0", "100", "2592000", "-1", "2592001", "1000", "2147483647", "4000000000", "+50", "x", ""];
const FLAGS: &[&str] = &["0", "0", "0", "5", "4294967295", "4294967296", "-1", "1x", "+7"];
/// Between 2^63 and 2^64 memcached also looks for a minus sign after the number, in memory that it has not initialized,
/// so there is no number of that range.
const NUMBERS: &[&str] = &["0", "1", "2", "5", "10", "100", "9223372036854775", "-1", "x", "18446744073709551616", ""];
const VALUES: &[&str] = &["", "0", "9", "99", "100", "9223372036854775", "val", "a longer value", "12 x", " 7", "-3"];
const CASES: &[&str] = &["0", "1", "2", "3", "5", "8", "13", "21", "34", "99999999", "x"];
const TAILS: &[&str] = &["", "", "", "", "", " noreply", " noreply", "  ", " x", " 0"];
/// There is no delayed flush: in memcached it brings back items that an earlier flush removed, unless a request for
/// them came in between.
const OTHERS: &[&str] = &[
    "version\r\n",
    "verbosity 1\r\n",
    "verbosity\r\n",
    "verbosity x\r\n",
    "verbosity 1 noreply\r\n",
    "flush_all\r\n",
    "flush_all 0 noreply\r\n",
    "flush_all -1\r\n",
    "flush_all x\r\n",
    "flush_all 1 2 3\r\n",
    "cache_memlimit 64\r\n",
    "cache_memlimit 64 noreply\r\n",
    "cache_memlimit 7\r\n",
    "cache_memlimit x\r\n",
    "stats sizes\r\n",
    "stats nonsense\r\n",
    "stats detail on\r\n",
    "stats detail off\r\n",
    "stats detail\r\n",
    "stats cachedump\r\n",
    "stats cachedump 1 x\r\n",
    "stats cachedump 64 0\r\n",
    "stats extstore\r\n",
    "stats reset\r\n",
    "slabs\r\n",
    "slabs automove 0\r\n",
    "slabs automove 5\r\n",
    "slabs reassign 1 1\r\n",
    "slabs reassign 99 1\r\n",
    "slabs reassign x 1\r\n",
    "extstore item_age 5\r\n",
    "extstore\r\n",
    "refresh_certs\r\n",
    "shutdown\r\n",
    "watch nonsense\r\n",
    "config get cluster\r\n",
    "mn with words\r\n",
    "mn\n",
    "mx a\r\n",
    "foobar\r\n",
    "a\r\n",
    "\r\n",
    "\n",
    "   \r\n",
    "get\r\n",
    "gat\r\n",
    "gats 10\r\n",
    "bget a\r\n",
    "misbehave\r\n",
];

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(..from.len())]
}

/// Returns one of the first `valid` strings, or rarely any of them.
fn pick_mostly_valid<'a>(rng: &mut Rng, from: &[&'a str], valid: usize) -> &'a str {
    let count = if rng.u8(..20) == 0 { from.len() } else { valid };
    pick(rng, &from[..count])
}

fn key(rng: &mut Rng) -> String {
    match rng.u8(..60) {
        0 => "x".repeat(rng.usize(249..=252)),
        1 => "ключ".to_owned(),
        2 => "a\u{1}b".to_owned(),
        _ => pick(rng, KEYS).to_owned(),
    }
}

/// Returns the length of a data block, sometimes off by one.
fn length(rng: &mut Rng, value: &str) -> usize {
    match rng.u8(..40) {
        0 => value.len() + 1,
        1 => value.len().saturating_sub(1),
        _ => value.len(),
    }
}

fn store(rng: &mut Rng) -> Vec<u8> {
    let verb = pick(rng, &["set", "set", "add", "replace", "append", "prepend", "cas"]);
    let (key, flags, ttl, value) =
        (key(rng), pick_mostly_valid(rng, FLAGS, 6), pick_mostly_valid(rng, TTLS, 5), pick(rng, VALUES));
    let cas = if verb == "cas" { format!(" {}", pick_mostly_valid(rng, CASES, 10)) } else { String::new() };
    let (length, tail) = (length(rng, value), pick_mostly_valid(rng, TAILS, 8));
    format!("{verb} {key} {flags} {ttl} {length}{cas}{tail}\r\n{value}\r\n").into_bytes()
}

fn classic(rng: &mut Rng) -> Vec<u8> {
    let (key, tail) = (key(rng), pick_mostly_valid(rng, TAILS, 8));
    let line = match rng.u8(..8) {
        0 | 1 => format!("{} {key}", pick(rng, &["get", "gets"])),
        2 => {
            // No key that is too long among others: memcached keeps references to the items before it, and does not pad
            // a counter that is referenced.
            let keys: Vec<&str> = (0..rng.usize(1..40)).map(|_| pick(rng, KEYS)).collect();
            format!("{} {}", pick(rng, &["get", "gets"]), keys.join(" "))
        }
        3 => format!("{} {} {key}", pick(rng, &["gat", "gats"]), pick_mostly_valid(rng, TTLS, 5)),
        4 => format!("touch {key} {}{tail}", pick_mostly_valid(rng, TTLS, 5)),
        5 => format!("delete {key}{tail}"),
        _ => format!("{} {key} {}{tail}", pick(rng, &["incr", "decr"]), pick_mostly_valid(rng, NUMBERS, 7)),
    };
    format!("{line}\r\n").into_bytes()
}

/// Returns flags of a meta command, with their tokens.
fn flags(rng: &mut Rng, letters: &str) -> String {
    let count = if rng.u8(..30) == 0 { rng.usize(10..20) } else { rng.usize(..7) };
    let letters: Vec<char> = letters.chars().collect();
    let mut flags = String::new();
    let mut used = Vec::new();
    for _ in 0..count {
        let letter = letters[rng.usize(..letters.len())];
        if used.contains(&letter) && rng.u8(..20) > 0 {
            continue;
        }
        used.push(letter);
        let token = match letter {
            'T' | 'N' | 'R' => pick_mostly_valid(rng, TTLS, 5).to_owned(),
            'C' => pick_mostly_valid(rng, CASES, 10).to_owned(),
            'F' => pick_mostly_valid(rng, FLAGS, 6).to_owned(),
            'D' | 'J' => pick_mostly_valid(rng, NUMBERS, 7).to_owned(),
            'O' => "o".repeat(if rng.u8(..10) == 0 { rng.usize(30..34) } else { rng.usize(..5) }),
            'M' => pick_mostly_valid(rng, &["E", "A", "P", "R", "S", "I", "D", "+", "-", "e", "", "AA"], 9).to_owned(),
            _ => String::new(),
        };
        flags.push_str(&format!(" {letter}{token}"));
    }
    flags
}

fn meta(rng: &mut Rng) -> Vec<u8> {
    let key = key(rng);
    let (command, letters) = match rng.u8(..10) {
        0..5 => ("mg", "bkOqvsctfhluTNRE!"),
        5 | 6 => ("md", "bkOqCITv"),
        7 | 8 => ("ma", "bkOqvctTNCMDJI"),
        _ => ("me", "b"),
    };
    let letters = if rng.u8(..20) == 0 { "bkOqvsctfhluTNRCFIMDJPLEx!1" } else { letters };
    let flags = flags(rng, letters);
    format!("{command} {key}{flags}\r\n").into_bytes()
}

fn meta_set(rng: &mut Rng) -> Vec<u8> {
    let (key, value) = (key(rng), pick(rng, VALUES));
    let (length, flags) = (length(rng, value), flags(rng, "bkOqcTFCIMsPL"));
    format!("ms {key} {length}{flags}\r\n{value}\r\n").into_bytes()
}

/// Returns words that are rarely a valid command.
fn random_words(rng: &mut Rng) -> Vec<u8> {
    const WORDS: &[&str] = &[
        "get", "touch", "mg", "md", "ma", "delete", "incr", "a", "b", "0", "1", "noreply", "v", "k", "T1x", "\t",
        "\u{7f}",
    ];
    let words: Vec<&str> = (0..rng.usize(1..8)).map(|_| pick(rng, WORDS)).collect();
    format!("{}\r\n", words.join(pick(rng, &[" ", "  "]))).into_bytes()
}
