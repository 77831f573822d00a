//! Statistics as the text wire tells them.

use remcache_proto::text::server::{BAD_FORMAT, UNKNOWN, Words, number};

use super::admin::{Ask, Outcome};
use super::dump;
use crate::stats::{self, Statistics};
use crate::store::CLASS_NUMBERS;

const DETAIL_USAGE: &str = "CLIENT_ERROR usage: stats detail on|off|dump";
const NO_CACHEDUMP: &str = "CLIENT_ERROR stats cachedump not allowed";
const BAD_LINE: &str = "CLIENT_ERROR bad command line";
const BAD_CLASS: &str = "CLIENT_ERROR Illegal slab id";

pub(super) fn execute(ask: &mut Ask<'_>) -> Outcome {
    let mut words = ask.words.clone();
    match words.next() {
        Some(b"reset") => {
            stats::of_group(b"reset", ask.store, ask.state);
            Outcome::Line("RESET")
        }
        Some(b"detail") => detail(words, ask),
        Some(b"cachedump") => cachedump(words, ask),
        Some(b"conns") => told(&conns(ask)),
        Some(b"extstore") => told(&Vec::new()),
        group => {
            let group = group.unwrap_or_default();
            // An order to the binary wire, in a form that is none here.
            let is_group = !group.starts_with(b"reset");
            let statistics = stats::of_group(group, ask.store, ask.state).filter(|_| is_group);
            statistics.map_or(Outcome::Line(UNKNOWN), |statistics| told(&statistics))
        }
    }
}

fn told(statistics: &Statistics) -> Outcome {
    let lines = statistics.iter().map(|(name, value)| format!("STAT {name} {value}\r\n"));
    Outcome::Block((lines.collect::<String>() + "END\r\n").into_bytes())
}

fn detail(mut words: Words<'_>, ask: &mut Ask<'_>) -> Outcome {
    match words.next() {
        Some(b"on") => ask.store.prefixes.set_counting(true),
        Some(b"off") => ask.store.prefixes.set_counting(false),
        Some(b"dump") => return Outcome::Block(ask.store.prefixes.dump().into_bytes()),
        _ => return Outcome::Line(DETAIL_USAGE),
    }
    Outcome::Line("OK")
}

fn cachedump(mut words: Words<'_>, ask: &Ask<'_>) -> Outcome {
    if !ask.state.settings.permits.dumps {
        return Outcome::Line(NO_CACHEDUMP);
    }
    let (Some(class), Some(limit)) = (words.next(), words.next()) else { return Outcome::Line(BAD_LINE) };
    match (number::unsigned_32(class), number::unsigned_32(limit)) {
        (Some(class), Some(_)) if class >= CLASS_NUMBERS => Outcome::Line(BAD_CLASS),
        (Some(class), Some(limit)) => Outcome::Block(dump::cachedump(ask.store, class, limit)),
        _ => Outcome::Line(BAD_FORMAT),
    }
}

fn conns(ask: &Ask<'_>) -> Statistics {
    let peers = ask.state.peers();
    let of_peer = |(number, peer): (&u64, &String)| {
        [(format!("{number}:addr"), peer.clone()), (format!("{number}:state"), "conn_parse_cmd".to_owned())]
    };
    peers.iter().flat_map(of_peer).collect()
}
