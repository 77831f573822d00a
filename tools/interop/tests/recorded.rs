//! Items that other clients stored for typed values, recorded by `cargo xtask interop --record`.

use std::collections::BTreeMap;

use remcache_interop::{PEERS, ReadResult, RecordedItem};

#[test]
fn remcache_reads_all_recorded_items() {
    for item in recorded() {
        let reading = item.decode().unwrap_or_else(|error| panic!("{error:#}: {item:?}"));
        assert!(!matches!(reading, ReadResult::Other(_)), "{reading:?} instead of {item:?}");
    }
}

/// Only values without a common encoding may be returned as serialized bytes.
#[test]
fn simple_values_are_read_exactly() {
    for item in recorded() {
        // Dalli serializes everything unless `raw` is set.
        let is_simple = ["text", "bytes", "int"].contains(&item.value.type_name.as_str()) && item.client != "dalli";
        assert!(!is_simple || item.decode().unwrap() == ReadResult::Exact, "{item:?}");
    }
}

#[test]
fn every_encoding_is_recorded() {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for item in recorded() {
        *counts.entry((item.client, item.options)).or_default() += 1;
    }
    for peer in PEERS {
        for encoding in peer.encodings {
            let key = (peer.name.to_owned(), encoding.options.to_owned());
            assert!(counts.get(&key).is_some_and(|count| *count > 30), "{key:?}");
        }
    }
}

fn recorded() -> Vec<RecordedItem> {
    serde_json::from_str(include_str!("../vectors/values.json")).expect("the vectors are JSON")
}
