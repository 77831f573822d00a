//! Tests of the store.

use super::write::precondition;
use super::*;
use crate::arithmetic::Direction;

const NOW: u64 = 1_800_000_000;

fn limits() -> Limits {
    Limits { memory: 1 << 20, item_size: 1024, evictions: true, cas: true, flush: true, flush_consumes_cas: true }
}

fn store_with(limits: Limits) -> Store {
    Store::new(limits, NOW, Arc::default())
}

fn store() -> Store {
    store_with(limits())
}

fn set(store: &mut Store, key: &str, value: &[u8]) -> Status {
    set_until(store, key, value, Expiry::NEVER)
}

fn set_until(store: &mut Store, key: &str, value: &[u8], expiry: Expiry) -> Status {
    let item = NewItem { key: key.as_bytes(), value: value.into(), flags: 0, expiry, state: ItemState::default() };
    store.store(Mode::Set, item, 0).status
}

#[test]
fn preconditions() {
    use Status::{KeyExists, KeyNotFound};
    let present = Some(5);
    let cases = [
        (Mode::Set, 0, None, None),
        (Mode::Set, 0, present, None),
        (Mode::Add, 0, None, None),
        (Mode::Add, 0, present, Some(KeyExists)),
        (Mode::Replace, 0, None, Some(KeyNotFound)),
        (Mode::Replace, 0, present, None),
    ];
    for (mode, cas, present, expected) in cases {
        assert_eq!(precondition(mode, cas, present), expected, "{mode:?} {cas} {present:?}");
    }
    for mode in [Mode::Cas, Mode::CasOrStale] {
        assert_eq!(precondition(mode, 5, present), None, "{mode:?}");
        assert_eq!(precondition(mode, 6, present), Some(KeyExists), "{mode:?}");
        assert_eq!(precondition(mode, 0, present), Some(KeyExists), "{mode:?}");
        assert_eq!(precondition(mode, 5, None), Some(KeyNotFound), "{mode:?}");
    }
}

#[test]
fn the_largest_value_is_the_same_as_in_memcached() {
    let largest = 1024 - 59 - 1;
    let mut store = store();
    assert_eq!(set(&mut store, "k", &vec![b'v'; largest]), Status::NoError);
    assert_eq!(store.bytes(), 1024);
    assert_eq!(set(&mut store, "k", &vec![b'v'; largest + 1]), Status::ValueTooLarge);
    assert_eq!((store.len(), store.bytes()), (0, 0), "a refused set removes the old item");
    assert_eq!(limits().size(1, largest - 4, 7), 1024, "flags take four bytes");
}

#[test]
fn the_least_recently_used_item_is_evicted() {
    let mut store = store_with(Limits { memory: 3 * (59 + 1 + 100), ..limits() });
    for key in ["a", "b", "c"] {
        set(&mut store, key, &[0; 100]);
    }
    assert!(store.get(b"a").is_ok());
    set(&mut store, "d", &[0; 100]);
    let present = ["a", "b", "c", "d"].map(|key| store.get(key.as_bytes()).is_ok());
    assert_eq!(present, [true, false, true, true]);
    assert_eq!(store.counters.evictions, 1);
}

#[test]
fn without_evictions_a_full_store_refuses_items() {
    let mut store = store_with(Limits { memory: 200, evictions: false, ..limits() });
    assert_eq!(set(&mut store, "a", &[0; 100]), Status::NoError);
    assert_eq!(set(&mut store, "b", &[0; 100]), Status::OutOfMemory);
    assert!(store.get(b"a").is_ok());
    assert_eq!(set(&mut store, "a", &[0; 100]), Status::OutOfMemory);
    assert_eq!(store.len(), 0, "a refused set removes the old item");
}

#[test]
fn an_item_larger_than_the_memory_evicts_nothing() {
    let mut store = store_with(Limits { memory: 200, ..limits() });
    set(&mut store, "a", b"v");
    assert_eq!(set(&mut store, "b", &[0; 500]), Status::OutOfMemory);
    assert!(store.get(b"a").is_ok());
}

#[test]
fn the_size_of_an_empty_store_is_zero() {
    let mut store = store();
    set(&mut store, "a", b"1");
    set(&mut store, "a", b"22");
    store.extend(Extension::Append, b"a", b"3", 0);
    let increment = Arithmetic { direction: Direction::Increment, delta: 1, initial: None };
    assert_eq!(store.arithmetic(b"a", increment, 0).number, Some(224));
    assert_eq!(store.bytes(), 59 + 1 + 3);
    store.delete(b"a", 0);
    set_until(&mut store, "b", b"v", Expiry::from_binary(1, NOW));
    store.set_time(NOW + 1);
    assert!(!store.get(b"b").is_ok());
    assert_eq!((store.len(), store.bytes()), (0, 0));
}

#[test]
fn an_expired_item_is_absent_for_every_operation() {
    let mut store = store();
    set_until(&mut store, "k", b"1", Expiry::from_binary(5, NOW));
    store.set_time(NOW + 4);
    assert!(store.get(b"k").is_ok());
    store.set_time(NOW + 5);
    let increment = Arithmetic { direction: Direction::Increment, delta: 1, initial: None };
    assert_eq!(store.arithmetic(b"k", increment, 0).status, Status::KeyNotFound);
    assert_eq!(store.touch(b"k", Expiry::NEVER).status, Status::KeyNotFound);
    assert_eq!(store.extend(Extension::Append, b"k", b"2", 0).status, Status::ItemNotStored);
}

#[test]
fn a_delayed_flush_removes_items_stored_after_the_command() {
    let mut store = store();
    store.flush(Expiry::from_binary(10, NOW));
    set(&mut store, "k", b"v");
    store.set_time(NOW + 9);
    assert!(store.get(b"k").is_ok());
    store.set_time(NOW + 10);
    assert!(!store.get(b"k").is_ok());
}

#[test]
fn a_flush_replaces_a_delayed_one() {
    for second in [Expiry::NEVER, Expiry::from_binary(2_592_001, NOW)] {
        let mut store = store();
        store.flush(Expiry::from_binary(10, NOW));
        store.flush(second);
        set(&mut store, "k", b"v");
        store.set_time(NOW + 20);
        assert!(store.get(b"k").is_ok(), "{second:?}");
    }
}

#[test]
fn a_flush_with_a_past_time_is_immediate_unless_it_predates_the_server() {
    let at = |time: u64| Expiry::from_binary(u32::try_from(time).expect("a time of this century"), NOW);
    for (time, expected) in [(NOW - 1, false), (NOW, false), (NOW - 60, false), (NOW - 61, true), (2_592_001, true)] {
        let mut store = store();
        set(&mut store, "k", b"v");
        assert!(store.flush(at(time)).is_ok());
        assert_eq!(store.get(b"k").is_ok(), expected, "{time}");
    }
}
