//! The protocol of a client: a configured one, or the best that each server supports.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod detection;

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use remcache::config::{Credentials, ProtocolSetting};
use remcache::{Client, Config, Delivery, ErrorKind, Request, Status};
use remcache_server::{BindingProtocol, Server};
use remcache_testkit::{Memcached, SASL_PASSWORD, SASL_USER, scratch};

use crate::support::wait_until;

fn client(address: &str, protocol: ProtocolSetting) -> Client {
    Client::with_config([address], Config::new().protocol(protocol)).expect("an address")
}

/// Asserts that the common operations work.
async fn works(client: &Client) {
    common_operations(client).await.expect("the server answers");
}

async fn common_operations(client: &Client) -> Result<(), remcache::Error> {
    assert!(client.set("Hello", "World").flags(7).ttl(Duration::from_secs(60)).await?.is_applied());
    let item = client.get("Hello").await?.expect("it was stored");
    assert_eq!((&item.value[..], item.flags), (&b"World"[..], 7));
    assert!(client.get("absent").await?.is_none());
    assert!(!client.add("Hello", "again").await?.is_applied());
    assert!(client.append("Hello", "!").await?.is_applied());
    client.set("count", "5").await?;
    assert_eq!(client.increment("count", 3).await?.map(|counter| counter.value), Some(8));
    let keys: Vec<String> = (0..1000).map(|number| format!("key:{number}")).collect();
    assert!(client.set_many(keys.iter().map(|key| (key, key))).await.is_complete());
    let found = client.get_many(&keys).await;
    assert!(found.found().all(|(key, item)| item.value == key.as_bytes()));
    assert_eq!(found.found().count(), 1000);
    assert!(client.delete("Hello").await?.is_applied());
    assert!(client.get("Hello").await?.is_none());
    Ok(())
}

#[tokio::test]
async fn every_protocol_works_on_a_real_server() {
    let server = Memcached::start(&[]);
    for protocol in ProtocolSetting::ALL {
        works(&client(&server.addr(), protocol)).await;
    }
}

#[tokio::test]
async fn every_protocol_works_on_the_embedded_server() {
    let server = Server::start().await.unwrap();
    for protocol in ProtocolSetting::ALL {
        works(&client(&server.address(), protocol)).await;
    }
}

#[tokio::test]
async fn auto_detects_the_protocol_of_a_server() {
    works(&client(&Memcached::start(&["-B", "binary"]).addr(), ProtocolSetting::Auto)).await;
    works(&client(&Memcached::start(&["-B", "ascii"]).addr(), ProtocolSetting::Auto)).await;
    for version in ["1.4.39", "1.6.12", "1.6.45"] {
        let server = Server::builder().version(version).start().await.unwrap();
        works(&client(&server.address(), ProtocolSetting::Auto)).await;
    }
    // A proxy reports its own version.
    let proxy = Server::builder().version("0.5.0").binding_protocol(BindingProtocol::Text).start().await.unwrap();
    works(&client(&proxy.address(), ProtocolSetting::Auto)).await;
}

#[tokio::test]
async fn servers_can_use_different_protocols() {
    let servers = [Memcached::start(&["-B", "binary"]), Memcached::start(&[]), Memcached::start(&["-B", "ascii"])];
    let config = Config::new().protocol(ProtocolSetting::Auto);
    works(&Client::with_config(servers.each_ref().map(Memcached::addr), config).unwrap()).await;
}

/// Starts a server with a password file; the directory contains the file.
fn with_password_file() -> (Memcached, tempfile::TempDir) {
    let dir = scratch();
    let file = dir.path().join("users");
    fs::write(&file, format!("{SASL_USER}:{SASL_PASSWORD}\n")).unwrap();
    (Memcached::start(&["-Y", file.to_str().unwrap()]), dir)
}

#[tokio::test]
async fn auto_authenticates_with_sasl_or_a_password_file() {
    let known = Config::new().protocol(ProtocolSetting::Auto).credentials(Credentials::new(SASL_USER, SASL_PASSWORD));
    let sasl = Memcached::start_sasl(&[]);
    works(&Client::with_config([sasl.addr()], known.clone()).unwrap()).await;

    let (with_file, _dir) = with_password_file();
    for protocol in [ProtocolSetting::Auto, ProtocolSetting::Meta, ProtocolSetting::Text] {
        let config = known.clone().protocol(protocol);
        works(&Client::with_config([with_file.addr()], config).unwrap()).await;
    }
    for server in [&sasl, &with_file] {
        let error = client(&server.addr(), ProtocolSetting::Auto).get("k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
        let wrong = Config::new().protocol(ProtocolSetting::Auto).credentials(Credentials::new(SASL_USER, "wrong"));
        let error = Client::with_config([server.addr()], wrong).unwrap().get("k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    }
}

#[tokio::test]
async fn requests_that_the_negotiated_protocol_lacks_are_refused_before_sending() {
    let server = Memcached::start(&["-B", "ascii"]);
    let text = client(&server.addr(), ProtocolSetting::Text);
    let reply = text.call(Request::increment("count", 1).initial(5)).await;
    assert_eq!(reply.status, Status::Unsupported, "{}", reply.text());
    let binary = client(&Memcached::start(&[]).addr(), ProtocolSetting::Binary);
    assert_eq!(binary.call(Request::inspect("k")).await.status, Status::Unsupported);
    // The first request of a connection waits for the negotiation, and is refused afterwards.
    let sasl = Memcached::start(&["-B", "binary"]);
    let auto = client(&sasl.addr(), ProtocolSetting::Auto);
    assert_eq!(auto.call(Request::inspect("k")).await.status, Status::Unsupported);
    works(&auto).await;
}

#[tokio::test]
async fn the_protocol_is_negotiated_again_after_a_restart() {
    let mut server = Memcached::start(&[]);
    let client = client(&server.addr(), ProtocolSetting::Auto);
    works(&client).await;
    server.kill();
    assert!(client.get("k").await.unwrap_err().is_disconnected());
    server.restart();
    let started = tokio::time::Instant::now();
    while client.get("k").await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(10), "the client does not reconnect");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    works(&client).await;
}

/// The only reply is the end of the connection, which could have other reasons.
#[tokio::test]
async fn a_shutdown_only_stops_a_server_that_allows_it() {
    for protocol in [ProtocolSetting::Meta, ProtocolSetting::Text] {
        let (server, other) = (Memcached::start(&["-A"]), Memcached::start(&[]));
        let (ended, kept) = (client(&server.addr(), protocol), client(&other.addr(), protocol));
        let refused = kept.servers()[0].call(Request::shutdown()).await;
        assert_eq!(refused.status, Status::Unsupported, "{protocol}: {}", refused.text());
        works(&kept).await;
        let reply = ended.servers()[0].call(Request::shutdown()).await;
        assert_eq!(reply.status, Status::Disconnected(Delivery::MaybeSent), "{protocol}: {}", reply.text());
        wait_until("nothing listens", async || std::net::TcpStream::connect(server.addr()).is_err()).await;
    }
    let server = Memcached::start(&["-A"]);
    let binary = client(&server.addr(), ProtocolSetting::Binary);
    assert_eq!(binary.servers()[0].call(Request::shutdown()).await.status, Status::Unsupported);
    works(&binary).await;
}

/// Returns an unused address.
fn free() -> String {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    address.expect("a free port").to_string()
}

/// A nutcracker process in front of some servers.
struct Nutcracker {
    process: Child,
    address: String,
    _dir: tempfile::TempDir,
}

impl Nutcracker {
    fn start(servers: &[String]) -> Self {
        let address = free();
        let dir = scratch();
        let list: String = servers.iter().map(|server| format!("   - {server}:1\n")).collect();
        let config =
            format!("pool:\n  listen: {address}\n  hash: fnv1a_64\n  distribution: ketama\n  servers:\n{list}");
        let file = dir.path().join("nutcracker.yml");
        fs::write(&file, config).expect("a file");
        let stats = free();
        let process = Command::new("nutcracker")
            .arg("-c")
            .arg(&file)
            .args(["-s", stats.rsplit(':').next().unwrap_or_default()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("nutcracker ({error}): apt-get install -y nutcracker"));
        while std::net::TcpStream::connect(&address).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { process, address, _dir: dir }
    }
}

impl Drop for Nutcracker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn a_text_only_proxy_supports_all_common_operations() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let proxy = Nutcracker::start(&servers.each_ref().map(Memcached::addr));
    works(&client(&proxy.address, ProtocolSetting::Auto)).await;
    works(&client(&proxy.address, ProtocolSetting::Text)).await;
    // Both servers have their part of the keys.
    for server in &servers {
        let items = client(&server.addr(), ProtocolSetting::Meta);
        let found = items.get_many((0..1000).map(|number| format!("key:{number}"))).await;
        let here = found.found().count();
        assert!(found.is_complete() && (100..=900).contains(&here), "{here} of 1,000");
    }
}
