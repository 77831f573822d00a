//! A configuration endpoint: versioned lists, older engines, and invalid answers.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use remcache::discovery::{self, ElastiCache};
use remcache::{Client, ErrorKind};
use remcache_testkit::Memcached;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{change, failure, list, names, patient_config, refused_address, wait_until};

/// The endpoint's answer.
#[derive(Clone, Debug)]
enum Answer {
    /// The list, in response to `config get cluster`.
    Config(u64, Vec<&'static str>),
    /// The list as an item, as older engines store it.
    Item(u64, Vec<&'static str>),
    /// These bytes, after which the connection is closed.
    Raw(Vec<u8>),
    /// No answer.
    None,
}

struct Endpoint {
    address: String,
    answer: Arc<Mutex<Answer>>,
}

impl Endpoint {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answer = Arc::new(Mutex::new(answer));
        let answers = Arc::clone(&answer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answers.lock().unwrap().clone();
                tokio::spawn(serve(stream, answer));
            }
        });
        Self { address, answer }
    }

    fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn source(&self) -> ElastiCache {
        ElastiCache::new(&self.address).unwrap().interval(Duration::from_millis(20)).timeout(Duration::from_millis(500))
    }
}

async fn serve(mut stream: TcpStream, answer: Answer) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let text = match (&answer, &line[..]) {
            (Answer::Config(version, nodes), "config get cluster") => block("CONFIG cluster", *version, nodes),
            (Answer::Item(version, nodes), "get AmazonElastiCache:cluster") => {
                block("VALUE AmazonElastiCache:cluster", *version, nodes)
            }
            (Answer::Raw(bytes), _) => return writer.write_all(bytes).await,
            (Answer::None, _) => continue,
            _ => "ERROR\r\n".to_owned(),
        };
        // In two pieces, as networks may deliver it.
        let (start, rest) = text.split_at(text.len() / 2);
        writer.write_all(start.as_bytes()).await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
        writer.write_all(rest.as_bytes()).await?;
    }
    Ok(())
}

fn block(head: &str, version: u64, nodes: &[&str]) -> String {
    let payload = format!("{version}\n{}\n", nodes.join(" "));
    format!("{head} 0 {}\r\n{payload}\r\nEND\r\n", payload.len())
}

#[tokio::test]
async fn the_list_of_an_endpoint_is_keyed_by_host_name() {
    let endpoint = Endpoint::start(Answer::Config(1, vec!["a.cache|10.0.0.1|11211", "b.cache||11212"])).await;
    let (client, subscription) = discovery::connect(endpoint.source(), patient_config()).await.unwrap();
    assert_eq!(names(&client), ["a.cache:11211", "b.cache:11212"]);
    let mut events = subscription.events();
    // A server whose address changes is still the same server.
    endpoint.answer(Answer::Config(2, vec!["a.cache|10.0.0.9|11211", "b.cache||11212", "c.cache||11211"]));
    assert_eq!(change(&mut events).await, (list(&["c.cache:11211"]), vec![]));
}

#[tokio::test]
async fn older_engines_are_queried_for_an_item() {
    let endpoint = Endpoint::start(Answer::Item(7, vec!["a|10.0.0.1|1"])).await;
    let (client, _subscription) = discovery::connect(endpoint.source(), patient_config()).await.unwrap();
    assert_eq!(names(&client), ["a:1"]);
}

#[tokio::test]
async fn an_older_version_of_the_list_is_ignored() {
    let endpoint = Endpoint::start(Answer::Config(5, vec!["a||1", "b||1"])).await;
    let (client, subscription) = discovery::connect(endpoint.source(), patient_config()).await.unwrap();
    endpoint.answer(Answer::Config(4, vec!["a||1"]));
    failure(&subscription, "version 4 is older than 5").await;
    assert_eq!(names(&client).len(), 2);
    endpoint.answer(Answer::Config(6, vec!["a||1"]));
    wait_until("a newer list is used", async || names(&client) == ["a:1"]).await;
}

#[tokio::test]
async fn an_invalid_list_keeps_the_last_valid_one() {
    let endpoint = Endpoint::start(Answer::Config(1, vec!["a||1"])).await;
    let (client, subscription) = discovery::connect(endpoint.source(), patient_config()).await.unwrap();
    let half = b"CONFIG cluster 0 100\r\n1\na||1";
    for (answer, expected) in [
        (Answer::Config(2, vec![]), "empty"),
        (Answer::Config(2, vec!["a|1"]), "host|ip|port"),
        (Answer::Raw(b"CONFIG cluster 0 99999999\r\n".to_vec()), "exceeds the limit"),
        (Answer::Raw(vec![b'x'; 5000]), "not a memcached reply"),
        (Answer::Raw(b"\x81\0\0\0\n".to_vec()), "not a memcached reply"),
        (Answer::Raw(half.to_vec()), "connection closed"),
        (Answer::None, "no reply within 500ms"),
    ] {
        endpoint.answer(answer);
        let error = failure(&subscription, expected).await;
        assert_eq!(error.kind(), ErrorKind::Discovery);
        assert!(error.to_string().contains(&endpoint.address), "{error}");
        assert_eq!(names(&client), ["a:1"]);
    }
    endpoint.answer(Answer::Config(2, vec!["b||1"]));
    wait_until("the source recovers", async || names(&client) == ["b:1"]).await;
}

#[tokio::test]
async fn a_plain_memcached_is_reported_as_not_an_endpoint() {
    let server = Memcached::start(&[]);
    let client = Client::new([server.addr()]).unwrap();
    let subscription = discovery::follow(&client, ElastiCache::new(&server.addr()).unwrap());
    let error = failure(&subscription, "not a configuration endpoint").await;
    assert!(error.to_string().contains(&server.addr()), "{error}");
    assert!(client.set("k", "v").await.unwrap().is_applied());
}

#[tokio::test]
async fn an_unreachable_endpoint_is_reported() {
    let address = refused_address();
    // On a slow machine the limit may pass before the first attempt has failed.
    wait_until("the error names the cause", async || {
        let source = ElastiCache::new(&address).unwrap();
        let limit = Duration::from_millis(300);
        let error = discovery::connect_with_timeout(source, patient_config(), limit).await.unwrap_err();
        error.to_string().contains("refused")
    })
    .await;
    assert_eq!(ElastiCache::new("a:port").unwrap_err().kind(), ErrorKind::Config);
}

// ---- TLS, and placements that hash addresses ----

#[cfg(feature = "tls")]
#[tokio::test]
async fn an_endpoint_is_connected_with_the_tls_settings_of_the_client() {
    use crate::support::TlsServers;
    use remcache_server::{ClusterNode, Server};

    let servers = TlsServers::new();
    let server = servers.start(Server::builder()).await;
    server.set_cluster(1, [ClusterNode::new("localhost", "127.0.0.1", server.port())]);
    let source = || ElastiCache::new(&server.address()).unwrap();
    let config = servers.trusted_by(patient_config());
    let (client, subscription) = discovery::connect(source(), config.clone()).await.unwrap();
    assert_eq!(subscription.state().servers, [format!("localhost:{}", server.port())]);
    assert!(client.set("k", "v").await.unwrap().is_applied());

    let url = format!("elasticache+memcacheds://{}/", server.address());
    let Some((source, config)) = discovery::UrlSource::parse(&url, config).unwrap() else { panic!("a source") };
    let (by_url, _subscription) = discovery::connect(source, config).await.unwrap();
    assert_eq!(by_url.get("k").await.unwrap().unwrap().value, "v");

    let plain =
        discovery::connect_with_timeout(self::source(&server.address()), patient_config(), Duration::from_millis(300));
    assert_eq!(plain.await.unwrap_err().kind(), ErrorKind::Discovery, "without TLS the endpoint does not answer");
}

#[cfg(feature = "tls")]
fn source(address: &str) -> ElastiCache {
    ElastiCache::new(address).unwrap().timeout(Duration::from_millis(100))
}

#[tokio::test]
async fn placements_that_hash_addresses_use_those_of_the_endpoint() {
    use remcache::distribution::{Distribution, Node};

    let nodes = vec!["a.cache|10.0.0.1|11211", "b.cache|10.0.0.2|11211", "c.cache|10.0.0.3|11212"];
    let endpoint = Endpoint::start(Answer::Config(1, nodes)).await;
    let config = patient_config().distribution(Distribution::SPYMEMCACHED_KETAMA);
    let (client, subscription) = discovery::connect(endpoint.source(), config).await.unwrap();
    let addresses = ["a.cache/10.0.0.1:11211", "b.cache/10.0.0.2:11211", "c.cache/10.0.0.3:11212"];
    assert_eq!(subscription.state().servers, addresses);

    let node = |host: &str, last: u8, port| Node::tcp(host, port).with_ip([10, 0, 0, last]);
    let nodes = [node("a.cache", 1, 11211), node("b.cache", 2, 11211), node("c.cache", 3, 11212)];
    let ring = Distribution::SPYMEMCACHED_KETAMA.ring(&nodes).unwrap();
    for n in 0..1_000 {
        let key = format!("key{n}");
        let index = ring.locate(key.as_bytes(), |_| true).unwrap();
        let server = client.locate(&key).unwrap().unwrap();
        assert_eq!(server.name(), format!("{}:{}", nodes[index].name, [11211, 11211, 11212][index]), "{key}");
    }
}
