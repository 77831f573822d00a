//! The `stats` command.

use remcache_proto::text::server::{BAD_FORMAT, UNKNOWN, Words, number};

use super::admin_reply::AdminReply;
use super::dump;
use super::messages::OK;
use crate::state::ServerState;
use crate::stats::{self, Stats};
use crate::store::{CLASS_LIMIT, Store};

const DETAIL_USAGE: &str = "CLIENT_ERROR usage: stats detail on|off|dump";
const NO_CACHEDUMP: &str = "CLIENT_ERROR stats cachedump not allowed";
const BAD_LINE: &str = "CLIENT_ERROR bad command line";
const BAD_CLASS: &str = "CLIENT_ERROR Illegal slab id";

/// Executes `stats` with these arguments.
pub(super) fn execute(mut words: Words<'_>, store: &mut Store, state: &ServerState) -> AdminReply {
    match words.next() {
        Some(b"reset") => {
            stats::group(b"reset", store, state);
            AdminReply::Line("RESET")
        }
        Some(b"detail") => detail(words, store),
        Some(b"cachedump") => cachedump(words, store, state),
        Some(b"conns") => format_stats(&conns(state)),
        Some(b"extstore") => format_stats(&Vec::new()),
        group => {
            let group = group.unwrap_or_default();
            // Only the binary protocol takes a longer name that starts like this for a reset.
            let is_group = !group.starts_with(b"reset");
            let stats = stats::group(group, store, state).filter(|_| is_group);
            stats.map_or(AdminReply::Line(UNKNOWN), |stats| format_stats(&stats))
        }
    }
}

fn format_stats(stats: &Stats) -> AdminReply {
    let lines = stats.iter().map(|(name, value)| format!("STAT {name} {value}\r\n"));
    AdminReply::Lines((lines.collect::<String>() + "END\r\n").into_bytes())
}

fn detail(mut words: Words<'_>, store: &mut Store) -> AdminReply {
    match words.next() {
        Some(b"on") => store.prefix_stats.set_enabled(true),
        Some(b"off") => store.prefix_stats.set_enabled(false),
        Some(b"dump") => return AdminReply::Lines(store.prefix_stats.dump().into_bytes()),
        _ => return AdminReply::Line(DETAIL_USAGE),
    }
    AdminReply::Line(OK)
}

fn cachedump(mut words: Words<'_>, store: &Store, state: &ServerState) -> AdminReply {
    if !state.settings.permissions.dumps {
        return AdminReply::Line(NO_CACHEDUMP);
    }
    let (Some(class), Some(limit)) = (words.next(), words.next()) else { return AdminReply::Line(BAD_LINE) };
    match (number::unsigned_32(class), number::unsigned_32(limit)) {
        (Some(class), Some(_)) if class >= CLASS_LIMIT => AdminReply::Line(BAD_CLASS),
        (Some(class), Some(limit)) => AdminReply::Lines(dump::cachedump(store, class, limit)),
        _ => AdminReply::Line(BAD_FORMAT),
    }
}

fn conns(state: &ServerState) -> Stats {
    let peers = state.peers();
    let conn_stats = |(number, peer): (&u64, &String)| {
        [(format!("{number}:addr"), peer.clone()), (format!("{number}:state"), "conn_parse_cmd".to_owned())]
    };
    peers.iter().flat_map(conn_stats).collect()
}
