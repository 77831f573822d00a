//! The commands for administrators: those that mean something here, and the answers of the others.

use remcache_proto::text::server::{BAD_FORMAT, UNKNOWN, Words, number};
use remcache_proto::{Dialect, Feature};

use super::{Watched, dump, statistics};
use crate::state::State;
use crate::store::{CLASS_NUMBERS, Store};
use crate::version::Novelty;
use crate::watch;

/// What an administrator asks, and of whom.
pub(super) struct Ask<'a> {
    /// The words behind the command's name.
    pub(super) words: Words<'a>,
    /// Whether replies to earlier commands may not have left.
    pub(super) stacked: bool,
    pub(super) store: &'a mut Store,
    pub(super) state: &'a State,
}

/// What an administrator is answered.
pub(super) enum Outcome {
    Line(&'static str),
    /// A line that is not sent to who says `noreply`.
    Quietable(&'static str),
    /// Whole lines.
    Block(Vec<u8>),
    /// Whole lines, behind which the connection rests.
    Dump(Vec<u8>),
    /// The connection is told what happens from now on.
    Watch(Watched),
    Close,
}

const OK: &str = "OK";
const BAD_CLASS: &str = "BADCLASS invalid class id";
const MEGABYTE: usize = 1 << 20;

impl Ask<'_> {
    pub(super) fn execute(&mut self, name: &[u8]) -> Outcome {
        match name {
            b"stats" => statistics::execute(self),
            b"config" => self.config(),
            b"shutdown" => self.shutdown(),
            b"watch" => self.watch(),
            b"lru_crawler" => self.lru_crawler(),
            b"verbosity" => Outcome::Quietable(self.verbosity()),
            b"cache_memlimit" => Outcome::Quietable(self.cache_memlimit()),
            b"lru" => Outcome::Quietable(self.lru()),
            b"slabs" => Outcome::Quietable(self.slabs()),
            b"extstore" => Outcome::Quietable(self.extstore()),
            b"refresh_certs" => Outcome::Line("Error TLS not enabled"),
            _ => Outcome::Line(UNKNOWN),
        }
    }

    /// The words, and how many there are of them.
    fn words(&self) -> (Vec<&[u8]>, usize) {
        let words: Vec<&[u8]> = self.words.clone().collect();
        let count = words.len();
        (words, count)
    }

    fn config(&self) -> Outcome {
        let (words, _) = self.words();
        let cluster = self.state.cluster();
        match (&words[..], &*cluster) {
            ([b"get", b"cluster"], Some(cluster)) => Outcome::Block(cluster.reply().into_bytes()),
            _ => Outcome::Line(UNKNOWN),
        }
    }

    fn shutdown(&self) -> Outcome {
        if !self.state.settings.permits.shutdown {
            let is_new = self.state.settings.version.has(Novelty::ServerErrorForShutdown);
            return Outcome::Line(match is_new {
                true => "SERVER_ERROR: shutdown not enabled",
                false => "ERROR: shutdown not enabled",
            });
        }
        match &self.words().0[..] {
            [] | [b"graceful"] => {
                self.state.shutdown.notify_one();
                Outcome::Close
            }
            _ => Outcome::Line("CLIENT_ERROR invalid shutdown mode"),
        }
    }

    fn watch(&self) -> Outcome {
        if !self.state.settings.permits.watches {
            return Outcome::Line("CLIENT_ERROR watch commands not allowed");
        }
        if self.stacked {
            return Outcome::Line("ERROR cannot pipeline other commands before watch");
        }
        let knows_deletions = self.state.settings.version.has(Novelty::WatchDeletions);
        let named =
            |name: &[u8]| if name == b"deletions" && knows_deletions { Some(watch::OTHER) } else { stream(name) };
        let streams = self.words.clone().try_fold(0, |streams, name| Some(streams | named(name)?));
        let Some(streams) = streams else { return Outcome::Line(UNKNOWN) };
        let streams = if streams == 0 { watch::FETCHES } else { streams };
        match self.store.watchers.watch(streams) {
            Some(watched) => Outcome::Watch(watched),
            None => Outcome::Line("WATCHER_TOO_MANY log watcher limit reached"),
        }
    }

    fn verbosity(&self) -> &'static str {
        match &self.words().0[..] {
            [level] | [level, _] if number::unsigned_32(level).is_some() => OK,
            [_] | [_, _] => BAD_FORMAT,
            _ if self.state.settings.version.dialect().has(Feature::StrictLines) => BAD_FORMAT,
            _ => UNKNOWN,
        }
    }

    fn cache_memlimit(&mut self) -> &'static str {
        let (words, count) = self.words();
        let megabytes = words.first().filter(|_| count <= 2).and_then(|word| number::unsigned_32(word));
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

    fn lru_crawler(&self) -> Outcome {
        let permits = self.state.settings.permits;
        let knows_mgdump = permits.mgdump || self.state.settings.version.dialect().has(Feature::Mgdump);
        let line = match &self.words().0[..] {
            [b"crawl", classes] => classes_of(classes).map_or(BAD_CLASS, |_| OK),
            [b"metadump" | b"mgdump", _] if !permits.dumps => "ERROR metadump not allowed",
            [b"metadump", _] if self.stacked => "ERROR cannot pipeline other commands before metadump",
            [b"metadump", classes] => return self.dump(classes, dump::metadump),
            [b"mgdump", _] if !knows_mgdump => UNKNOWN,
            [b"mgdump", _] if self.stacked => "ERROR cannot pipeline other commands before mgdump",
            [b"mgdump", classes] => return self.dump(classes, dump::mgdump),
            [b"tocrawl", count] => number::unsigned_32(count).map_or(BAD_FORMAT, |_| OK),
            [b"sleep", time] => match number::unsigned_32(time) {
                None => BAD_FORMAT,
                Some(0..=1_000_000) => OK,
                Some(_) => "CLIENT_ERROR sleep must be one second or less",
            },
            [b"disable"] => OK,
            // It runs already.
            [b"enable"] => "ERROR failed to start lru crawler thread",
            _ => UNKNOWN,
        };
        Outcome::Line(line)
    }

    fn dump(&self, classes: &[u8], dump: impl Fn(&Store, &[u8], Dialect) -> Vec<u8>) -> Outcome {
        match classes_of(classes) {
            Some(classes) => Outcome::Dump(dump(self.store, &classes, self.state.settings.version.dialect())),
            None => Outcome::Line(BAD_CLASS),
        }
    }

    /// There are no LRU segments to tune.
    fn lru(&self) -> &'static str {
        match &self.words().0[..] {
            [b"mode", b"flat" | b"segmented", ..] => OK,
            [b"temp_ttl", ttl, ..] if number::signed(ttl).is_some() => OK,
            [b"tune", hot, warm, hot_age, warm_age, ..] => {
                let shares = number::unsigned_32(hot).zip(number::unsigned_32(warm));
                match (shares, number::decimal(hot_age).zip(number::decimal(warm_age))) {
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

    /// There are no slabs to move.
    fn slabs(&self) -> &'static str {
        match &self.words().0[..] {
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

    /// There is no storage outside of the memory.
    fn extstore(&self) -> &'static str {
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
        match &self.words().0[..] {
            [b"free_memchunks", class, count, ..]
                if number::unsigned_32(class).zip(number::unsigned_32(count)).is_some() =>
            {
                OK
            }
            [b"max_frag", share, ..] if number::decimal(share).is_some() => OK,
            [setting, value, ..] if SETTINGS.contains(setting) && number::unsigned_32(value).is_some() => OK,
            _ => UNKNOWN,
        }
    }
}

/// The stream of this name.
fn stream(name: &[u8]) -> Option<u8> {
    Some(match name {
        b"fetchers" => watch::FETCHES,
        b"mutations" => watch::CHANGES,
        b"evictions" => watch::EVICTIONS,
        b"rawcmds" | b"sysevents" | b"connevents" | b"proxyreqs" | b"proxyevents" | b"proxyuser" => watch::OTHER,
        _ => return None,
    })
}

/// The slab classes of a list; none of them means all.
fn classes_of(text: &[u8]) -> Option<Vec<u8>> {
    if text == b"all" || text == b"hash" {
        return Some(Vec::new());
    }
    let class = |word: &[u8]| {
        let number = number::unsigned_32(word).filter(|number| (1..CLASS_NUMBERS).contains(number))?;
        u8::try_from(number).ok()
    };
    text.split(|byte| *byte == b',').map(class).collect()
}
