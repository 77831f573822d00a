//! Replicas and hedged reads.

use remcache::Error;
use remcache::recipes::FetchPolicy;

use super::*;

// ---- Replicas ----

#[tokio::test]
async fn replicas_answer_for_a_server_that_is_down() {
    let servers = embedded(3).await;
    let client = client_of(&servers, patient_config().replicas(2));
    let primary = servers[0].address();
    let key = key_of(&client, &primary);
    client.set(&key, "v").await.unwrap();
    let keys: Vec<_> = (0..500).map(|n| format!("many{n}")).collect();
    assert_eq!(client.set_many(keys.iter().map(|key| (key, "v"))).await.applied().count(), 500);
    let holders = async |key: &str| {
        let mut holders = Vec::new();
        for server in &servers {
            holders.extend(stored_on(&client, &server.address(), key).await.map(|_| server.address()));
        }
        holders
    };
    assert_eq!(holders(&key).await.len(), 2);
    for key in keys.iter().take(50) {
        assert_eq!(holders(key).await.len(), 2, "{key}");
    }

    // A lost replica is not a miss.
    handle(&client, &primary).call(Request::delete(&*key)).await;
    assert_eq!(client.get(&key).await.unwrap().unwrap().value, "v");

    servers[0].stop().await;
    wait_until_down(&client, &primary).await;
    assert_eq!(client.get(&key).await.unwrap().unwrap().value, "v");
    assert_eq!(client.get_many(&keys).await.found().count(), 500);
    assert!(client.set(&key, "w").await.unwrap().is_applied());
    assert_eq!(client.get(&key).await.unwrap().unwrap().value, "w");
    assert!(client.delete(&key).await.is_err(), "one replica could not be deleted");
    assert_eq!(client.get("absent").await.unwrap(), None);
}

/// A key with a replica on each of two servers, the first of which is its primary.
struct ReplicatedKey {
    servers: Vec<Server>,
    client: Client,
    key: String,
}

impl ReplicatedKey {
    async fn new() -> Self {
        let servers = embedded(2).await;
        let client = client_of(&servers, patient_config().replicas(2));
        let key = key_of(&client, &servers[0].address());
        Self { servers, client, key }
    }

    /// Returns the values that the servers have stored.
    async fn replicas(&self) -> [Option<String>; 2] {
        let Self { servers, client, key } = self;
        let (primary, other) = (servers[0].address(), servers[1].address());
        [stored_on(client, &primary, key).await, stored_on(client, &other, key).await]
    }
}

#[tokio::test]
async fn read_modify_write_operations_run_once_and_delete_the_other_replicas() {
    let replicated = ReplicatedKey::new().await;
    let ReplicatedKey { client, key, .. } = &replicated;
    client.set(key, "5").await.unwrap();
    assert_eq!(replicated.replicas().await, [Some("5".to_owned()), Some("5".to_owned())]);
    assert_eq!(client.increment(key, 1).await.unwrap().unwrap().value, 6);
    assert_eq!(replicated.replicas().await, [Some("6".to_owned()), None]);

    let _ = client.set_many([(key, "7")]).await;
    assert_eq!(client.increment_many([(key, 1)]).await.get(key).unwrap().unwrap().unwrap().value, 8);
    assert_eq!(replicated.replicas().await, [Some("8".to_owned()), None]);
    assert_eq!(client.add(key, "x").await.unwrap(), WriteOutcome::Exists);
}

#[tokio::test]
async fn values_loaded_for_many_keys_are_deleted_at_the_other_replicas() {
    let replicated = ReplicatedKey::new().await;
    let ReplicatedKey { servers, client, key } = &replicated;
    let other = servers[1].address();
    let load = |keys: Vec<String>| {
        let (client, other) = (client.clone(), other.clone());
        async move {
            // As if a delete had not reached this replica.
            handle(&client, &other).call(Request::set(&*keys[0], "old")).await;
            Ok::<_, Error>(keys.into_iter().map(|key| (key, "new")).collect::<Vec<_>>())
        }
    };
    let found = client.fetch_many([key.clone()], FetchPolicy::new(millis(60_000)), load).await.unwrap();
    assert_eq!(found.found().count(), 1);
    assert_eq!(replicated.replicas().await, [Some("new".to_owned()), None]);
}

// ---- Hedges ----

#[tokio::test]
async fn a_slow_replica_is_hedged_by_the_next() {
    let servers = embedded(2).await;
    let hedge = Hedge::after(millis(20)).max_percent(100);
    let client = client_of(&servers, patient_config().replicas(2).hedge(hedge));
    let key = key_of(&client, &servers[0].address());
    client.set(&key, "v").await.unwrap();
    // The first replica never answers, so every reply comes from the second.
    servers[0].inject(Fault::BlackHole);
    for _ in 0..15 {
        assert_eq!(client.get(&key).await.unwrap().unwrap().value, "v");
    }
}

#[tokio::test]
async fn few_of_a_hundred_slow_reads_are_hedged() {
    let servers = embedded(2).await;
    let client = client_of(&servers, patient_config().replicas(2).hedge(Hedge::after(millis(1))));
    let key = key_of(&client, &servers[0].address());
    client.set(&key, "v").await.unwrap();
    servers[0].inject(Fault::Delay(millis(20)));
    for _ in 0..100 {
        assert_eq!(client.get(&key).await.unwrap().unwrap().value, "v");
    }
    // Ten hedges are saved up, and one in twenty calls adds another.
    let hedged = stat(&client.servers()[1], "cmd_get").await;
    assert!((10..=15).contains(&hedged), "{hedged}");
}

#[tokio::test]
async fn hedges_have_a_budget() {
    let servers = embedded(2).await;
    let config =
        Config::new().timeout(millis(400)).breaker(0).replicas(2).hedge(Hedge::after(millis(1)).max_percent(0));
    let client = client_of(&servers, config);
    let key = key_of(&client, &servers[0].address());
    client.set(&key, "v").timeout(Duration::from_secs(60)).await.unwrap();
    servers[0].inject(Fault::BlackHole);
    assert!(client.get(&key).await.unwrap_err().is_timeout());
}
