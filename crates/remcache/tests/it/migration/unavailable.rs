//! Migrations with a server that is down, and their deadline.

use super::*;

#[tokio::test]
async fn an_old_server_that_is_down_is_not_a_miss() {
    let mut fixture = Fixture::start();
    let key = fixture.key();
    let at = fixture.old.locate(&key).unwrap().unwrap().name().to_owned();
    fixture.old.set(&key[..], "old").await.unwrap();
    let single = Client::with_config([&at], patient_config()).unwrap();
    let cache = Migration::new(single, fixture.new.clone());
    fixture.servers.iter_mut().find(|server| server.addr() == at).unwrap().kill();

    assert!(cache.get(&key[..]).await.unwrap_err().is_disconnected());
    assert!(cache.add(&key[..], "x").await.unwrap_err().is_disconnected());
    let many = cache.get_many([&key]).await;
    assert!(many.failed().next().unwrap().1.is_disconnected());
    // The old value could not be deleted and may become visible again: the set has failed, and may have executed.
    for error in [
        cache.set(&key[..], "new").await.unwrap_err(),
        cache.set_many([(&key, "new")]).await.into_iter().next().unwrap().1.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::MaybeSent));
        assert!(error.to_string().contains("one placement only") && error.to_string().contains(&at), "{error}");
    }
    assert_eq!(value(&fixture.new, &key).await.as_deref(), Some("new"));
    assert!(cache.delete(&key[..]).await.unwrap_err().is_disconnected());
    assert_eq!(value(&fixture.new, &key).await.as_deref(), Some("new"), "the old placement is deleted from first");
}

#[tokio::test]
async fn an_old_server_that_is_down_can_count_as_a_miss() {
    let mut fixture = Fixture::start();
    let key = fixture.key();
    let at = fixture.old.locate(&key).unwrap().unwrap().name().to_owned();
    let single = Client::with_config([&at], patient_config()).unwrap();
    let cache = Migration::new(single, fixture.new.clone()).on_old_unavailable(OldUnavailable::Miss);
    fixture.servers.iter_mut().find(|server| server.addr() == at).unwrap().kill();

    assert_eq!(cache.get(&key[..]).await.unwrap(), None);
    assert!(cache.get_many([&key]).await.missing().next().is_some());
    assert!(cache.add(&key[..], "1").await.unwrap().is_applied());
    assert!(cache.set(&key[..], "2").await.unwrap().is_applied());
    assert_eq!(cache.increment(&key[..], 1).await.unwrap().unwrap().value, 3);
    assert!(cache.delete(&key[..]).await.unwrap().is_applied());
    assert!(cache.report().old_unavailable >= 6, "{:?}", cache.report());
}

#[tokio::test]
async fn a_new_server_that_is_down_is_an_error_and_the_old_placement_is_unchanged() {
    let mut fixture = Fixture::start();
    let key = fixture.key();
    fixture.old.set(&key[..], "old").await.unwrap();
    let at = fixture.new.locate(&key).unwrap().unwrap().name().to_owned();
    fixture.servers.iter_mut().find(|server| server.addr() == at).unwrap().kill();
    assert!(fixture.cache.get(&key[..]).await.unwrap_err().is_disconnected());
    let error = fixture.cache.set(&key[..], "new").await.unwrap_err();
    assert!(error.is_disconnected() && !error.may_have_executed(), "{error}");
    let old = fixture.old.get(&key[..]).await;
    assert!(matches!(old, Ok(Some(_)) | Err(_)), "{old:?}");
}

#[tokio::test]
async fn one_deadline_applies_to_all_steps() {
    let fixture = Fixture::start();
    let key = fixture.key();
    fixture.servers.iter().for_each(Memcached::stop);
    let start = std::time::Instant::now();
    let error = fixture.cache.get(&key[..]).timeout(Duration::from_millis(200)).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    // Not a measurement: the timeout of the clients is 300 s.
    assert!(start.elapsed() < Duration::from_secs(150));
    fixture.servers.iter().for_each(Memcached::cont);
}
