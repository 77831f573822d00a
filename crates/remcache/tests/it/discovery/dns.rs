//! Name servers that answer, rotate, truncate, fail or never answer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use remcache::discovery::{self, Dns, Srv};
use remcache::{Client, ErrorKind};
use remcache_testkit::Memcached;
use remcache_testkit::dns::{A, AAAA, Answer, NameServer, SRV, addresses, service};

use super::{change, failure, list, names, patient_config, wait_until};

/// Returns a source of the addresses that a name server has for a name.
fn dns(server: &NameServer, port: u16) -> Dns {
    Dns::new("cache.test.", port)
        .nameserver(server.address())
        .interval_between(INTERVAL, INTERVAL)
        .timeout(Duration::from_millis(500))
}

/// Returns a source of the servers that a name server has for a service.
fn srv(server: &NameServer) -> Srv {
    Srv::new("_memcache._tcp.cache.test.").nameserver(server.address()).interval_between(INTERVAL, INTERVAL)
}

const INTERVAL: Duration = Duration::from_millis(20);

#[tokio::test]
async fn addresses_of_both_families_are_servers_in_sorted_order() {
    let server = NameServer::start().await;
    server.answer(A, Answer::Records(addresses(&["10.0.0.2", "10.0.0.1"])));
    server.answer(AAAA, Answer::Records(addresses(&["fd00::1"])));
    let (client, subscription) = discovery::connect(dns(&server, 11212), patient_config()).await.unwrap();
    let all = ["10.0.0.1:11212", "10.0.0.2:11212", "[fd00::1]:11212"];
    assert_eq!(names(&client), all);

    let mut events = subscription.events();
    let before = subscription.state().confirmed;
    server.answer(A, Answer::Records(addresses(&["10.0.0.1", "10.0.0.2"])));
    wait_until("the answer is read", async || subscription.state().confirmed > before).await;
    server.answer(A, Answer::Records(addresses(&["10.0.0.3", "10.0.0.1", "10.0.0.2"])));
    let (added, removed) = change(&mut events).await;
    assert_eq!((added, removed), (list(&["10.0.0.3:11212"]), vec![]), "a rotation is not a change");
    server.answer(AAAA, Answer::NoData);
    assert_eq!(change(&mut events).await, (vec![], list(&["[fd00::1]:11212"])));
}

#[tokio::test]
async fn an_answer_too_long_for_a_datagram_is_fetched_over_tcp() {
    let server = NameServer::start().await;
    let many: Vec<String> = (1..=200).map(|n| format!("10.0.0.{n}")).collect();
    let many: Vec<&str> = many.iter().map(|address| &address[..]).collect();
    server.answer(A, Answer::Long(addresses(&many)));
    let (client, _subscription) = discovery::connect(dns(&server, 11211), patient_config()).await.unwrap();
    assert_eq!(names(&client).len(), 200);
}

#[tokio::test]
async fn a_failing_name_server_keeps_the_last_valid_list() {
    let server = NameServer::start().await;
    let good = Answer::Records(addresses(&["10.0.0.1", "10.0.0.2"]));
    server.answer(A, good.clone());
    let (client, subscription) = discovery::connect(dns(&server, 11211), patient_config()).await.unwrap();
    for (kind, answer, expected) in [
        (A, Answer::ServerFailure, "A records"),
        (A, Answer::NoSuchName, "no A or AAAA records"),
        (A, Answer::NoData, "no A or AAAA records"),
        (A, Answer::None, "no reply within 500ms"),
        (A, Answer::Garbage, "A records: protocol error"),
        // A partial list is invalid.
        (AAAA, Answer::ServerFailure, "AAAA records"),
        (AAAA, Answer::None, "no reply within 500ms"),
    ] {
        server.answer(kind, answer.clone());
        let error = failure(&subscription, expected).await;
        assert_eq!(error.kind(), ErrorKind::Discovery);
        assert!(error.to_string().starts_with("DNS name cache.test.: "), "{answer:?}: {error}");
        assert_eq!(names(&client).len(), 2, "{answer:?}");
        server.answer(A, good.clone());
        server.answer(AAAA, Answer::NoData);
        wait_until("the source recovers", async || subscription.state().failures == 0).await;
    }
}

#[tokio::test]
async fn srv_records_have_names_ports_and_weights() {
    let server = NameServer::start().await;
    let records =
        vec![service(0, 3, 11212, "b.cache.test"), service(0, 1, 11211, "A.cache.test"), service(9, 1, 1, "spare")];
    server.answer(SRV, Answer::Records(records));
    let (client, subscription) = discovery::connect(srv(&server), patient_config()).await.unwrap();
    assert_eq!(subscription.state().servers, ["a.cache.test:11211:1", "b.cache.test:11212:3"]);
    let weights: Vec<u32> = client.servers().iter().map(|server| server.endpoint().weight).collect();
    assert_eq!(weights, [1, 3]);
    server.answer(SRV, Answer::NoSuchName);
    failure(&subscription, "no SRV records").await;
    assert_eq!(names(&client).len(), 2);
}

#[tokio::test]
async fn a_server_found_by_dns_is_used() {
    let server = NameServer::start().await;
    let memcached = Memcached::start(&[]);
    server.answer(A, Answer::Records(addresses(&["127.0.0.1"])));
    let (client, _subscription): (Client, _) =
        discovery::connect(dns(&server, memcached.port()), patient_config()).await.unwrap();
    assert!(client.set("k", "v").await.unwrap().is_applied());
}

// ---- Kubernetes: docs/kubernetes.md ----

/// Resolves the names of pods to their current addresses, as the cluster's DNS does.
#[derive(Clone, Debug, Default)]
struct Pods(Arc<Mutex<HashMap<String, SocketAddr>>>);

impl Pods {
    fn run(&self, name: &str, server: &remcache_server::Server) {
        self.0.lock().unwrap().insert(name.to_owned(), server.address().parse().unwrap());
    }
}

impl remcache::transport::Connect for Pods {
    fn connect<'a>(
        &'a self,
        address: &'a remcache::config::Address,
        _: &'a remcache::transport::TransportSettings,
    ) -> remcache::transport::ConnectFuture<'a> {
        let remcache::config::Address::Tcp { host, .. } = address else { panic!("{address} is not a pod") };
        let pod = self.0.lock().unwrap().get(host).copied();
        Box::pin(async move {
            let pod = pod.ok_or(std::io::ErrorKind::NotFound)?;
            let stream: Box<dyn remcache::transport::Stream> = Box::new(tokio::net::TcpStream::connect(pod).await?);
            Ok(stream)
        })
    }
}

#[tokio::test]
async fn a_pod_that_restarts_with_another_address_moves_no_keys() {
    const PODS: [&str; 3] = [
        "cache-0.cache.shop.svc.cluster.test",
        "cache-1.cache.shop.svc.cluster.test",
        "cache-2.cache.shop.svc.cluster.test",
    ];
    let name_server = NameServer::start().await;
    // Kubernetes divides a weight of 100 among the ready pods.
    let ready = |pods: &[&str]| {
        let weight = u16::try_from(100 / pods.len()).unwrap();
        Answer::Records(pods.iter().map(|pod| service(0, weight, 11211, pod)).collect())
    };
    name_server.answer(SRV, ready(&PODS));
    let pods = Pods::default();
    let mut servers = Vec::new();
    for pod in PODS {
        let server = remcache_server::Server::start().await.unwrap();
        pods.run(pod, &server);
        servers.push(server);
    }
    let config =
        patient_config().connector(pods.clone()).reconnect_delay(Duration::from_millis(5), Duration::from_millis(20));
    let (client, subscription) = discovery::connect(srv(&name_server), config).await.unwrap();
    let keys: Vec<String> = (0..1_000).map(|n| format!("key{n}")).collect();
    let places = || keys.iter().map(|key| client.locate(key).unwrap().unwrap().name().to_owned()).collect::<Vec<_>>();
    let before = places();
    assert_eq!(client.set_many(keys.iter().map(|key| (key.clone(), "v"))).await.applied().count(), keys.len());

    // The pod ends; its record stays published while it is not ready (publishNotReadyAddresses).
    let address = servers[1].address();
    servers[1].stop().await;
    assert_eq!(places(), before, "no key moves while the pod is down");
    // The new pod has the same name, another address and no items.
    let restarted = remcache_server::Server::start().await.unwrap();
    assert_ne!(restarted.address(), address);
    pods.run(PODS[1], &restarted);
    let confirmed = subscription.state().confirmed;
    wait_until("the records are read again", async || subscription.state().confirmed > confirmed).await;
    assert_eq!(places(), before, "no key moves");

    let own = keys.iter().zip(&before).find(|(_, server)| server.starts_with(PODS[1])).unwrap().0;
    wait_until("the new pod is used", async || client.set(own, "new").await.is_ok()).await;
    assert_eq!(restarted.items(), 1);
    let found = client.get_many(&keys).await.found().count();
    let lost = before.iter().filter(|server| server.starts_with(PODS[1])).count();
    assert_eq!(found, keys.len() - lost + 1, "the other pods have kept their items");
}
