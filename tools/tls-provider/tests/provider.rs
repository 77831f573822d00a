//! TLS with the cryptography of a feature.

use std::time::Duration;

use remcache::transport::Tls;
use remcache::{Client, Config};
use remcache_testkit::{Authority, Dates, Memcached};

fn connect(server: &Memcached, authority: &Authority) -> Result<Client, remcache::Error> {
    let timeout = Duration::from_secs(60);
    let config = Config::new().tls(Tls::with_roots_file(authority.file())).timeout(timeout).connect_timeout(timeout);
    Client::with_config([server.addr()], config)
}

fn start() -> (Memcached, Authority) {
    let authority = Authority::new("test authority");
    let certificate = authority.certify(&["127.0.0.1"], Dates::Now);
    (Memcached::start_tls(&certificate, &[]), authority)
}

#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
#[tokio::test]
async fn values_are_stored_over_tls() {
    let (server, authority) = start();
    let client = connect(&server, &authority).unwrap();
    client.set("key", "value").await.unwrap();
    assert_eq!(client.get("key").await.unwrap().unwrap().value, "value");
    let other = Authority::new("another authority");
    assert!(connect(&server, &other).unwrap().get("key").await.is_err(), "certificates are verified");
}

#[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
#[tokio::test]
async fn without_a_provider_the_configuration_is_refused() {
    let (server, authority) = start();
    let error = connect(&server, &authority).unwrap_err().to_string();
    assert!(error.contains("feature `ring` or `aws-lc-rs`"), "{error}");
}
