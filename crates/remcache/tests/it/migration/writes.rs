//! Writes during a migration go to the new placement and delete from the old one.

use super::*;

#[tokio::test]
async fn a_write_goes_to_the_new_placement_and_deletes_from_the_old() {
    let fixture = Fixture::start();
    let cache = &fixture.cache;
    let keys = fixture.keys(true, 6);
    let [set, replace, append, prepend, increment, decrement] = [0, 1, 2, 3, 4, 5].map(|n| &keys[n][..]);
    for key in &keys {
        fixture.old.set(&key[..], "10").await.unwrap();
    }
    assert!(cache.set(set, "new").await.unwrap().is_applied());
    assert!(cache.replace(replace, "new").await.unwrap().is_applied());
    assert!(cache.append(append, "5").await.unwrap().is_applied());
    assert!(cache.prepend(prepend, "5").await.unwrap().is_applied());
    // An initial value is ignored if the old placement has the counter.
    assert_eq!(cache.increment(increment, 5).initial(0).await.unwrap().unwrap().value, 15);
    assert_eq!(cache.decrement(decrement, 5).await.unwrap().unwrap().value, 5);
    for (key, now) in keys.iter().zip(["new", "new", "105", "510", "15", "5 "]) {
        assert_eq!(value(&fixture.new, key).await.as_deref(), Some(now), "{key}");
        assert_eq!(value(&fixture.old, key).await, None, "{key}");
    }
}

#[tokio::test]
async fn an_item_in_neither_placement_is_absent() {
    let fixture = Fixture::start();
    let (cache, key) = (&fixture.cache, &fixture.key()[..]);
    assert_eq!(cache.replace(key, "x").await.unwrap(), WriteOutcome::NotFound);
    assert_eq!(cache.append(key, "x").await.unwrap(), WriteOutcome::NotStored);
    assert_eq!(cache.touch(key, Duration::from_secs(9)).await.unwrap(), WriteOutcome::NotFound);
    assert_eq!(cache.delete(key).await.unwrap(), WriteOutcome::NotFound);
    assert_eq!(cache.increment(key, 1).await.unwrap(), None);
    assert_eq!(cache.get_and_touch(key, Duration::from_secs(9)).await.unwrap(), None);
    assert_eq!(cache.increment(key, 1).initial(40).await.unwrap().unwrap().value, 40);
    assert_eq!(cache.increment(key, 2).initial(0).await.unwrap().unwrap().value, 42);
}

#[tokio::test]
async fn an_add_fails_if_either_placement_has_the_item() {
    let fixture = Fixture::start();
    let keys = fixture.keys(true, 3);
    fixture.old.set(&keys[0][..], "old").await.unwrap();
    fixture.new.set(&keys[1][..], "new").await.unwrap();
    for (key, change) in keys.iter().zip([false, false, true]) {
        assert_eq!(fixture.cache.add(&key[..], "added").await.unwrap().is_applied(), change, "{key}");
    }
    assert_eq!(value(&fixture.new, &keys[2]).await.as_deref(), Some("added"));
}

#[tokio::test]
async fn cas_values_work_wherever_the_item_was() {
    let fixture = Fixture::start();
    let (cache, key) = (&fixture.cache, &fixture.key()[..]);
    fixture.old.set(key, "one").await.unwrap();
    let item = cache.get(key).await.unwrap().unwrap();
    assert!(cache.set(key, "two").cas(item.cas).await.unwrap().is_applied());
    assert_eq!(cache.set(key, "three").cas(item.cas).await.unwrap(), WriteOutcome::Exists);
    assert_eq!(cache.append(key, "three").cas(item.cas).await.unwrap(), WriteOutcome::Exists);
    assert_eq!(cache.delete(key).cas(item.cas).await.unwrap(), WriteOutcome::Exists);
    let item = cache.get(key).await.unwrap().unwrap();
    assert_eq!(text(&item), "two");
    assert!(cache.delete(key).cas(item.cas).await.unwrap().is_applied());
    assert_eq!(cache.delete(key).cas(item.cas).await.unwrap(), WriteOutcome::NotFound);

    // The item was never read through the migration, so no CAS value can match.
    fixture.old.set(key, "again").await.unwrap();
    assert_eq!(cache.set(key, "x").cas(u64::MAX - 1).await.unwrap(), WriteOutcome::Exists);
    assert_eq!(value(&fixture.new, key).await.as_deref(), Some("again"), "the item was backfilled to compare");
}

#[tokio::test]
async fn a_touch_applies_to_both_placements() {
    let fixture = Fixture::start();
    let keys = fixture.keys(true, 2);
    for key in &keys {
        fixture.old.set(&key[..], "warm").await.unwrap();
    }
    assert!(fixture.cache.touch(&keys[0][..], Duration::from_secs(500)).await.unwrap().is_applied());
    let item = fixture.cache.get_and_touch(&keys[1][..], Duration::from_secs(500)).await.unwrap();
    assert_eq!(text(&item.unwrap()), "warm");
    for key in &keys {
        for client in [&fixture.old, &fixture.new] {
            let server = client.locate(key).unwrap().unwrap();
            let (_, ttl) = flags_and_ttl(server.name(), key).unwrap();
            assert!((400..=500).contains(&ttl), "{key} on {}: {ttl} s", server.name());
        }
    }
    assert_eq!(fixture.cache.report().from_old, 1);
}

#[tokio::test]
async fn a_deleted_item_is_in_neither_placement() {
    let fixture = Fixture::start();
    let keys = fixture.keys(true, 3);
    fixture.old.set(&keys[0][..], "old").await.unwrap();
    fixture.new.set(&keys[1][..], "new").await.unwrap();
    fixture.old.set(&keys[2][..], "both").await.unwrap();
    fixture.new.set(&keys[2][..], "both").await.unwrap();
    for key in &keys {
        assert!(fixture.cache.delete(&key[..]).await.unwrap().is_applied(), "{key}");
        assert_eq!((value(&fixture.old, key).await, value(&fixture.new, key).await), (None, None), "{key}");
    }
}

#[tokio::test]
async fn a_refused_set_deletes_the_old_value_as_on_one_server() {
    // The client compares values of this length with the limit only after the first refusal.
    let fixture = Fixture::with(&["-I", "64k", "-o", "slab_chunk_max=32768"]);
    let (cache, key) = (&fixture.cache, &fixture.key()[..]);
    fixture.old.set(key, "old").await.unwrap();
    let error = cache.set(key, vec![b'x'; 100_000]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ValueTooLarge);
    assert_eq!(cache.get(key).await.unwrap(), None);
}

#[tokio::test]
async fn a_set_that_is_refused_before_it_is_sent_leaves_the_old_value_as_on_one_server() {
    let fixture = Fixture::start();
    for limit in [1 << 20, 8 << 20] {
        let (old, new) = clients(&fixture.servers, patient_config().max_value_size(limit));
        let cache = Migration::new(old, new);
        for (key, client) in fixture.keys(true, 2).iter().zip([&fixture.old, &fixture.new]) {
            client.set(&key[..], "old").await.unwrap();
            let large = vec![b'x'; 2 << 20];
            let error = cache.set(&key[..], &large).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ValueTooLarge);
            assert_eq!(cache.set_many([(key, &large)]).await.failed().count(), 1);
            assert_eq!(cache.get(&key[..]).await.unwrap().unwrap().value, "old");
        }
    }
}
