//! Dumps of keys: `lru_crawler metadump`, `lru_crawler mgdump` and `stats cachedump`.

use std::io::Write;

use remcache_proto::meta::server::ReplyLine;
use remcache_proto::{Feature, ServerVersion};

use crate::store::{ItemEntry, Store};
use crate::uri_escape::uri_escape;

/// The size at which memcached truncates a cache dump.
const MAX_CACHEDUMP: usize = 2 << 20;

/// Formats the items of some slab classes, or of all if the list is empty, as `lru_crawler metadump` does.
pub(super) fn metadump(store: &Store, classes: &[u8], server_version: ServerVersion) -> Vec<u8> {
    let mut dump = header(server_version);
    for ItemEntry { key, item, class, size } in entries(store, classes) {
        let exp = item.expiry.at().map_or_else(|| "-1".to_owned(), |at| at.to_string());
        let fetched = if item.state.fetched { "yes" } else { "no" };
        let (key, used, cas) = (uri_escape(key), item.used_at, item.cas);
        // Writing to a vector does not fail.
        let _ = write!(dump, "key={key} exp={exp} la={used} cas={cas} fetch={fetched} cls={class} size={size}");
        if server_version.has(Feature::MetadumpFlags) {
            // memcached writes the trailing space too.
            let _ = write!(dump, " flags={} ", item.flags);
        }
        dump.push(b'\n');
    }
    dump.extend_from_slice(b"END\r\n");
    dump
}

fn header(server_version: ServerVersion) -> Vec<u8> {
    if server_version.has(Feature::DumpBeginsWithOk) { b"OK\r\n".to_vec() } else { Vec::new() }
}

/// Formats items as `lru_crawler mgdump` does: each as the `mg` command that fetches it.
pub(super) fn mgdump(store: &Store, classes: &[u8], server_version: ServerVersion) -> Vec<u8> {
    let mut dump = header(server_version);
    for ItemEntry { key, item, .. } in entries(store, classes) {
        let is_base64 = item.state.base64_key;
        let mut line = ReplyLine::code("mg ");
        line.bare_key(key, is_base64);
        if is_base64 {
            line.flag(b'b');
        }
        dump.extend(line.into_line());
    }
    dump.extend_from_slice(b"EN\r\n");
    dump
}

fn entries<'a>(store: &'a Store, classes: &'a [u8]) -> impl Iterator<Item = ItemEntry<'a>> {
    store.entries().filter(|entry| classes.is_empty() || classes.contains(&entry.class))
}

/// Formats up to `limit` items of a class, or all if it is 0, as `stats cachedump` does.
pub(super) fn cachedump(store: &Store, class: u32, limit: u32) -> Vec<u8> {
    let limit = if limit == 0 { usize::MAX } else { limit as usize };
    let mut dump = Vec::new();
    for entry in store.entries().filter(|entry| u32::from(entry.class) == class).take(limit) {
        let exp = entry.item.expiry.at().unwrap_or_default();
        dump.extend_from_slice(b"ITEM ");
        dump.extend_from_slice(entry.key);
        // Writing to a vector does not fail.
        let _ = write!(dump, " [{} b; {exp} s]\r\n", entry.item.value.len());
        if dump.len() > MAX_CACHEDUMP {
            break;
        }
    }
    dump.extend_from_slice(b"END\r\n");
    dump
}
