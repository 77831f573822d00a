//! Administrative commands. Those that would tune a real server are checked and answered but have no effect.

use remcache_proto::text::server::{BAD_FORMAT, UNKNOWN, Words, number};
use remcache_proto::{Feature, ServerVersion};

use super::admin_reply::AdminReply;
use super::messages::OK;
use super::{dump, stats};
use crate::state::ServerState;
use crate::store::{CLASS_LIMIT, Store};
use crate::version::Behaviour;
use crate::watch;

/// An administrative command with the state that it works on.
pub(super) struct AdminCommand<'a> {
    /// The words after the command's name.
    pub(super) words: Words<'a>,
    /// Whether replies to earlier commands may not have been sent yet.
    pub(super) has_unsent_replies: bool,
    pub(super) store: &'a mut Store,
    pub(super) state: &'a ServerState,
}

const BAD_CLASS: &str = "BADCLASS invalid class id";
const MEGABYTE: usize = 1 << 20;

impl AdminCommand<'_> {
    pub(super) fn execute(&mut self, name: &[u8]) -> AdminReply {
        if self.state.settings.restrictions.stats_only && !self.is_basic_stats(name) {
            return AdminReply::Line(UNKNOWN);
        }
        match name {
            b"stats" => stats::execute(self.words.clone(), self.store, self.state),
            b"config" => self.config(),
            b"shutdown" => self.shutdown(),
            b"watch" => self.watch(),
            b"lru_crawler" => self.lru_crawler(),
            b"verbosity" => AdminReply::NoreplyLine(self.verbosity()),
            b"cache_memlimit" => AdminReply::NoreplyLine(self.cache_memlimit()),
            b"lru" => AdminReply::NoreplyLine(lru(&self.words())),
            b"slabs" => AdminReply::NoreplyLine(slabs(&self.words())),
            b"extstore" => AdminReply::NoreplyLine(extstore(&self.words())),
            b"refresh_certs" => AdminReply::Line("Error TLS not enabled"),
            _ => AdminReply::Line(UNKNOWN),
        }
    }

    /// Returns whether this is `stats` or `stats reset`.
    fn is_basic_stats(&self, name: &[u8]) -> bool {
        name == b"stats" && matches!(&self.words()[..], [] | [b"reset"])
    }

    fn words(&self) -> Vec<&[u8]> {
        self.words.clone().collect()
    }

    fn config(&self) -> AdminReply {
        let cluster = self.state.cluster();
        match (&self.words()[..], &*cluster) {
            ([b"get", b"cluster"], Some(cluster)) => AdminReply::Lines(cluster.reply().into_bytes()),
            _ => AdminReply::Line(UNKNOWN),
        }
    }

    fn shutdown(&self) -> AdminReply {
        if !self.state.settings.permissions.shutdown {
            let is_new = self.state.settings.version.has(Behaviour::ShutdownServerError);
            return AdminReply::Line(match is_new {
                true => "SERVER_ERROR: shutdown not enabled",
                false => "ERROR: shutdown not enabled",
            });
        }
        match &self.words()[..] {
            [] | [b"graceful"] => {
                self.state.shutdown.notify_one();
                AdminReply::Close
            }
            _ => AdminReply::Line("CLIENT_ERROR invalid shutdown mode"),
        }
    }

    fn watch(&self) -> AdminReply {
        if !self.state.settings.permissions.watch {
            return AdminReply::Line("CLIENT_ERROR watch commands not allowed");
        }
        if self.has_unsent_replies {
            return AdminReply::Line("ERROR cannot pipeline other commands before watch");
        }
        let has_deletions = self.state.settings.version.has(Behaviour::WatchDeletions);
        let stream = |name: &[u8]| match name {
            b"deletions" if has_deletions => Some(watch::OTHER),
            _ => log_stream(name),
        };
        let streams = self.words.clone().try_fold(0, |streams, name| Some(streams | stream(name)?));
        let Some(streams) = streams else { return AdminReply::Line(UNKNOWN) };
        let streams = if streams == 0 { watch::FETCHERS } else { streams };
        match self.store.watchers.watch(streams) {
            Some(stream) => AdminReply::Watch(stream),
            None => AdminReply::Line("WATCHER_TOO_MANY log watcher limit reached"),
        }
    }

    fn verbosity(&self) -> &'static str {
        match &self.words()[..] {
            [level] | [level, _] if number::unsigned_32(level).is_some() => OK,
            [_] | [_, _] => BAD_FORMAT,
            _ if self.state.settings.version.has_feature(Feature::StrictLines) => BAD_FORMAT,
            _ => UNKNOWN,
        }
    }

    fn cache_memlimit(&mut self) -> &'static str {
        let words = self.words();
        let megabytes = words.first().filter(|_| words.len() <= 2).and_then(|word| number::unsigned_32(word));
        match megabytes {
            None => UNKNOWN,
            Some(..8) => "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m",
            Some(1_000_000_001..) => "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes",
            Some(megabytes) => {
                self.store.set_memory((megabytes as usize).saturating_mul(MEGABYTE));
                OK
            }
        }
    }

    fn lru_crawler(&self) -> AdminReply {
        let permissions = self.state.settings.permissions;
        let has_mgdump = permissions.mgdump || self.state.settings.version.has_feature(Feature::Mgdump);
        let line = match &self.words()[..] {
            [b"crawl", classes] => parse_classes(classes).map_or(BAD_CLASS, |_| OK),
            [b"metadump" | b"mgdump", _] if !permissions.dumps => "ERROR metadump not allowed",
            [b"metadump", _] if self.has_unsent_replies => "ERROR cannot pipeline other commands before metadump",
            [b"metadump", classes] => return self.dump(classes, dump::metadump),
            [b"mgdump", _] if !has_mgdump => UNKNOWN,
            [b"mgdump", _] if self.has_unsent_replies => "ERROR cannot pipeline other commands before mgdump",
            [b"mgdump", classes] => return self.dump(classes, dump::mgdump),
            [b"tocrawl", count] => number::unsigned_32(count).map_or(BAD_FORMAT, |_| OK),
            [b"sleep", time] => match number::unsigned_32(time) {
                None => BAD_FORMAT,
                Some(0..=1_000_000) => OK,
                Some(_) => "CLIENT_ERROR sleep must be one second or less",
            },
            [b"disable"] => OK,
            // In memcached the crawler is on by default, so enabling it fails.
            [b"enable"] => "ERROR failed to start lru crawler thread",
            _ => UNKNOWN,
        };
        AdminReply::Line(line)
    }

    fn dump(&self, classes: &[u8], dump: impl Fn(&Store, &[u8], ServerVersion) -> Vec<u8>) -> AdminReply {
        match parse_classes(classes) {
            Some(classes) => AdminReply::Dump(dump(self.store, &classes, self.state.settings.version.server_version())),
            None => AdminReply::Line(BAD_CLASS),
        }
    }
}

/// Checks `lru`. There are no LRU segments to tune.
fn lru(words: &[&[u8]]) -> &'static str {
    match words {
        [b"mode", b"flat" | b"segmented", ..] => OK,
        [b"temp_ttl", ttl, ..] if number::signed(ttl).is_some() => OK,
        [b"tune", hot, warm, hot_age, warm_age, ..] => {
            let percentages = number::unsigned_32(hot).zip(number::unsigned_32(warm));
            match (percentages, number::decimal(hot_age).zip(number::decimal(warm_age))) {
                (Some((hot, warm)), Some(_)) if hot.saturating_add(warm) > 80 => {
                    "ERROR hot and warm pcts must not exceed 80"
                }
                (Some(_), Some((hot, warm))) if hot <= 0.0 || warm <= 0.0 => {
                    "ERROR hot/warm age factors must be greater than 0"
                }
                (Some(_), Some(_)) => OK,
                _ => UNKNOWN,
            }
        }
        _ => UNKNOWN,
    }
}

/// Checks `slabs`. There are no slab pages to move.
fn slabs(words: &[&[u8]]) -> &'static str {
    match words {
        [b"reassign", from, to] => match (number::signed(from), number::signed(to)) {
            (Some(from), Some(to)) if from == to => "SAME src and dst class are identical",
            (Some(0..=39), Some(0..=39)) => "NOSPARE source class has no spare pages",
            (Some(_), Some(_)) => "BADCLASS invalid src or dst class id",
            _ => BAD_FORMAT,
        },
        [b"automove", b"ratio", ratio, ..] if number::decimal(ratio).is_some() => OK,
        [b"automove", b"ratio", ..] => UNKNOWN,
        [b"automove", level, ..] => match number::unsigned_32(level) {
            Some(0..=2) => OK,
            Some(_) => UNKNOWN,
            None => BAD_FORMAT,
        },
        _ => UNKNOWN,
    }
}

/// Checks `extstore`. There is no external storage to tune.
fn extstore(words: &[&[u8]]) -> &'static str {
    const SETTINGS: &[&[u8]] = &[
        b"item_size",
        b"item_age",
        b"low_ttl",
        b"recache_rate",
        b"compact_under",
        b"drop_under",
        b"max_sleep",
        b"max_frag",
        b"drop_unread",
    ];
    match words {
        [b"free_memchunks", class, count, ..]
            if number::unsigned_32(class).zip(number::unsigned_32(count)).is_some() =>
        {
            OK
        }
        [b"max_frag", ratio, ..] if number::decimal(ratio).is_some() => OK,
        [setting, value, ..] if SETTINGS.contains(setting) && number::unsigned_32(value).is_some() => OK,
        _ => UNKNOWN,
    }
}

fn log_stream(name: &[u8]) -> Option<u8> {
    Some(match name {
        b"fetchers" => watch::FETCHERS,
        b"mutations" => watch::MUTATIONS,
        b"evictions" => watch::EVICTIONS,
        b"rawcmds" | b"sysevents" | b"connevents" | b"proxyreqs" | b"proxyevents" | b"proxyuser" => watch::OTHER,
        _ => return None,
    })
}

/// Parses a list of slab classes. An empty list means all of them.
fn parse_classes(text: &[u8]) -> Option<Vec<u8>> {
    if text == b"all" || text == b"hash" {
        return Some(Vec::new());
    }
    let class = |word: &[u8]| {
        let number = number::unsigned_32(word).filter(|number| (1..CLASS_LIMIT).contains(number))?;
        u8::try_from(number).ok()
    };
    text.split(|byte| *byte == b',').map(class).collect()
}
