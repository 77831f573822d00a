//! Routing keys, and changes of the server list.

use super::*;

// ---- Routing ----

#[tokio::test]
async fn a_routing_key_determines_the_server() {
    let servers = embedded(4).await;
    let configs = [
        (patient_config(), ""),
        (patient_config().failover(Failover::next()), ""),
        (patient_config().namespace("ns:"), "ns:"),
        (patient_config().namespace("ns:").retries(Retries::up_to(1)), "ns:"),
    ];
    for (config, prefix) in configs {
        let client = client_of(&servers, config);
        let primary = servers[2].address();
        let route = key_of(&client_of(&servers, patient_config()), &primary);
        for n in 0..50 {
            let key = format!("item{n}");
            client.set(&key, "v").routing_key(&*route).await.unwrap();
            assert_eq!(stored_on(&client, &primary, &format!("{prefix}{key}")).await.as_deref(), Some("v"), "{key}");
            assert_eq!(client.get(&key).routing_key(&*route).await.unwrap().unwrap().value, "v");
            assert!(client.call(Request::delete(&*key)).routing_key(&*route).await.is_ok());
        }
    }
}

/// A connector that resolves one name to a configurable address.
#[derive(Clone, Debug)]
struct Directory(Arc<Mutex<String>>);

impl Connect for Directory {
    fn connect<'a>(&'a self, address: &'a Address, _: &'a TransportSettings) -> ConnectFuture<'a> {
        let Address::Tcp { host, .. } = address else { panic!("{address} is not a host name") };
        let target = if host == "moving" { self.0.lock().unwrap().clone() } else { host.replace('_', ":") };
        Box::pin(async move { Ok(Box::new(tokio::net::TcpStream::connect(target).await?) as Box<dyn Stream>) })
    }
}

/// A host name is resolved again for each connection, and the keys stay with the name.
#[tokio::test]
async fn a_server_that_changes_address_keeps_its_keys() {
    let servers = embedded(3).await;
    let directory = Directory(Arc::new(Mutex::new(servers[0].address())));
    let fixed = servers[1].address().replace(':', "_");
    let client =
        Client::with_config(["moving".to_owned(), fixed], patient_config().connector(directory.clone())).unwrap();
    let key = key_of(&client, "moving:11211");
    client.set(&key, "at the old address").await.unwrap();
    servers[0].stop().await;
    wait_until_down(&client, "moving:11211").await;
    assert_eq!(client.get(&key).await.unwrap_err().kind(), ErrorKind::Disconnected(Delivery::NotSent));
    *directory.0.lock().unwrap() = servers[2].address();
    wait_until_up(&client, "moving:11211").await;
    assert_eq!(client.locate(&key).unwrap().unwrap().name(), "moving:11211");
    client.set(&key, "at the new address").await.unwrap();
    let direct = client_of(&servers[2..], patient_config());
    assert_eq!(direct.get(&key).await.unwrap().unwrap().value, "at the new address");
}

// ---- Changes of the server list ----

#[tokio::test]
async fn changing_a_weight_moves_keys_and_keeps_the_connection() {
    let servers = embedded(2).await;
    let client = client_of(&servers, patient_config());
    let names: Vec<_> = servers.iter().map(Server::address).collect();
    let share = || {
        let is_first = |n: &usize| client.locate(format!("key{n}")).unwrap().unwrap().name() == names[0];
        (0..10_000).filter(is_first).count()
    };
    assert!(client.noop().await.iter().all(|(_, outcome)| outcome.is_ok()));
    assert!((3_500..6_500).contains(&share()));
    client.set_servers([format!("{}:9", names[0]), format!("{}:1", names[1])]).unwrap();
    assert!(share() > 8_000, "{} of 10,000 keys", share());
    assert_eq!(client.servers()[0].endpoint().weight, 9);
    assert!(client.noop().await.iter().all(|(_, outcome)| outcome.is_ok()));
    for server in client.servers() {
        assert_eq!((server.metrics().open, server.metrics().reconnects), (1, 0));
    }
}

#[tokio::test]
async fn requests_in_flight_on_a_removed_server_complete() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let config = patient_config().failover(Failover::next());
    let client = Client::with_config(servers.iter().map(Memcached::addr), config).unwrap();
    let leaving = handle(&client, &servers[0].addr());
    let key = key_of(&client, leaving.name());
    client.set(&key, "v").await.unwrap();
    // A stopped server keeps the requests in flight.
    servers[0].stop();
    let mut gets = JoinSet::new();
    for _ in 0..100 {
        let (client, key) = (client.clone(), key.clone());
        gets.spawn(async move { client.get(key).await.unwrap().unwrap().value });
    }
    wait_until("all requests are in flight", async || leaving.in_flight() == 100).await;
    drop(leaving);
    client.set_servers([servers[1].addr()]).unwrap();
    servers[0].cont();
    assert!(gets.join_all().await.iter().all(|value| value == "v"));
    assert_eq!(
        client.call(Request::get(&*key)).await.status,
        Status::KeyNotFound,
        "the other server gets new requests"
    );
}
