//! Keys and what is known of them, for dumps.

use std::io::Write;

use remcache_proto::{Dialect, Feature};

use crate::store::{Listed, Store};
use crate::watch::escaped;

/// What a cache dump takes at most.
const LONGEST_CACHE_DUMP: usize = 2 << 20;

/// What `lru_crawler metadump` tells of the items of these classes; of all if there are none.
pub(super) fn metadump(store: &Store, classes: &[u8], dialect: Dialect) -> Vec<u8> {
    let mut dump = beginning(dialect);
    for listed in listed(store, classes) {
        let Listed { key, item, class, size } = listed;
        let exp = item.expiry.at().map_or_else(|| "-1".to_owned(), |at| at.to_string());
        let fetched = if item.marks.fetched { "yes" } else { "no" };
        let (key, used, cas) = (escaped(key), item.used_at, item.cas);
        // Writing to a vector does not fail.
        let _ = write!(dump, "key={key} exp={exp} la={used} cas={cas} fetch={fetched} cls={class} size={size}");
        if dialect.has(Feature::MetadumpFlags) {
            // There is a space behind them.
            let _ = write!(dump, " flags={} ", item.flags);
        }
        dump.push(b'\n');
    }
    dump.extend_from_slice(b"END\r\n");
    dump
}

fn beginning(dialect: Dialect) -> Vec<u8> {
    if dialect.has(Feature::DumpBeginsWithOk) { b"OK\r\n".to_vec() } else { Vec::new() }
}

/// What `lru_crawler mgdump` tells: a command for each item that fetches it.
pub(super) fn mgdump(store: &Store, classes: &[u8], dialect: Dialect) -> Vec<u8> {
    use remcache_proto::meta::server::Answer;
    let mut dump = beginning(dialect);
    for listed in listed(store, classes) {
        let mut line = Answer::code("mg ");
        line.bare_key(listed.key, listed.item.marks.base64);
        if listed.item.marks.base64 {
            line.flag(b'b');
        }
        dump.extend(line.into_line());
    }
    dump.extend_from_slice(b"EN\r\n");
    dump
}

fn listed<'a>(store: &'a Store, classes: &'a [u8]) -> impl Iterator<Item = Listed<'a>> {
    store.list().filter(|listed| classes.is_empty() || classes.contains(&listed.class))
}

/// What `stats cachedump` tells: so many items of a class, or all if that is 0.
pub(super) fn cachedump(store: &Store, class: u32, limit: u32) -> Vec<u8> {
    let limit = if limit == 0 { usize::MAX } else { limit as usize };
    let mut dump = Vec::new();
    for listed in store.list().filter(|listed| u32::from(listed.class) == class).take(limit) {
        let exp = listed.item.expiry.at().unwrap_or_default();
        dump.extend_from_slice(b"ITEM ");
        dump.extend_from_slice(listed.key);
        let _ = write!(dump, " [{} b; {exp} s]\r\n", listed.item.value.len());
        if dump.len() > LONGEST_CACHE_DUMP {
            break;
        }
    }
    dump.extend_from_slice(b"END\r\n");
    dump
}
