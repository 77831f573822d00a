//! Items that other clients stored for typed values, recorded by `cargo xtask interop --record`.

use std::collections::BTreeMap;

use remcache_interop::{PEERS, Reading, Recorded};

#[test]
fn remcache_reads_all_recorded_items() {
    for it in recorded() {
        let reading = it.reading().unwrap_or_else(|error| panic!("{error:#}: {it:?}"));
        assert!(!matches!(reading, Reading::Other(_)), "{reading:?} instead of {it:?}");
    }
}

/// Only values without a common encoding may be returned as serialised bytes.
#[test]
fn simple_values_are_read_exactly() {
    for it in recorded() {
        // Dalli serialises everything unless `raw` is set.
        let is_simple = ["text", "bytes", "int"].contains(&it.value.kind.as_str()) && it.client != "dalli";
        assert!(!is_simple || it.reading().unwrap() == Reading::Exact, "{it:?}");
    }
}

#[test]
fn every_encoding_is_recorded() {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for it in recorded() {
        *counts.entry((it.client, it.options)).or_default() += 1;
    }
    for peer in PEERS {
        for writing in peer.values {
            let key = (peer.name.to_owned(), writing.options.to_owned());
            assert!(counts.get(&key).is_some_and(|count| *count > 30), "{key:?}");
        }
    }
}

fn recorded() -> Vec<Recorded> {
    serde_json::from_str(include_str!("../vectors/values.json")).expect("the vectors are JSON")
}
