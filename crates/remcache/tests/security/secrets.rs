//! Secrets never appear in output, errors or logs.

use remcache::config::{Credentials, Endpoint};
use remcache::health::ConnectionState;
use remcache::transport::Tls;
use remcache::{Client, Config, Request};
use remcache_testkit::{Authority, Dates, Memcached, SASL_PASSWORD, SASL_USER};

use super::log::Log;
use super::{error_of, fast_reconnect};

/// A secret that must not appear anywhere.
const CANARY: &str = "canary-4711";

#[tokio::test]
async fn a_rejected_password_is_never_shown() {
    let log = Log::start();
    let authority = Authority::new("the authority of a test");
    let certificate = authority.certify(&["127.0.0.1"], Dates::Now);
    let servers = [Memcached::start_sasl(&[]), Memcached::start(&[])];
    let encrypted = Memcached::start_sasl(&["-Z", "-o", &certificate.server_options()]);
    let config = fast_reconnect().credentials(Credentials::new(CANARY, CANARY));
    let tls = Tls::with_roots_pem(authority.pem());
    let mut seen =
        vec![format!("{config:?} {:?}", config.clone().tls(tls.clone().client_certificate_pem(CANARY, CANARY)))];
    let clients = [
        Client::with_config([servers[0].addr()], config.clone()).unwrap(),
        Client::with_config([servers[1].addr()], config.clone()).unwrap(),
        Client::with_config([encrypted.addr()], config.clone().tls(tls.clone())).unwrap(),
        Client::with_config([encrypted.addr()], config.clone().tls(tls.client_certificate_pem(CANARY, CANARY)))
            .unwrap(),
        Client::with_config(["127.0.0.1:1"], config.clone()).unwrap(),
        Client::new([format!("memcached://{CANARY}:{CANARY}@{}", servers[0].addr())]).unwrap(),
        Client::with_config(
            [servers[0].addr()],
            fast_reconnect().credentials_provider(|| async { Ok(Credentials::new(CANARY, CANARY)) }),
        )
        .unwrap(),
    ];
    for client in &clients {
        let error = error_of(client).await;
        seen.push(format!("{error} {error:?} {:?}", std::error::Error::source(&error)));
        seen.push(format!("{client:?} {:?}", client.call(Request::get("k")).await));
        seen.push(format!("{:?} {:?}", client.get_many(["a", "b"]).await, client.get("k")));
        for server in client.servers() {
            let status = server.status();
            assert!(matches!(status.state, ConnectionState::Down(_)), "{status:?}");
            seen.push(format!("{server:?} {status:?}"));
        }
    }
    seen.push(log.text());
    for client in &clients {
        assert!(!log.warnings(client.servers()[0].name()).is_empty(), "the log has entries to search: {}", log.text());
    }
    for text in seen {
        assert!(!text.contains(CANARY), "{text}");
    }
}

#[tokio::test]
async fn a_correct_password_is_never_shown() {
    let log = Log::start();
    let mut server = Memcached::start_sasl(&[]);
    let client =
        Client::with_config([server.addr()], fast_reconnect().credentials(Credentials::new(SASL_USER, SASL_PASSWORD)))
            .unwrap();
    client.set("k", "v").await.unwrap();
    server.kill();
    error_of(&client).await;
    let seen = format!("{client:?} {:?} {}", client.servers(), log.text());
    assert!(!seen.contains(SASL_PASSWORD) && !log.text().is_empty(), "{seen}");
}

#[test]
fn an_invalid_address_that_may_contain_a_password_is_not_repeated() {
    let canary = CANARY;
    for text in [
        format!("bob:{canary}@host"),
        format!("tcp://bob:{canary}@host:1"),
        format!("host,bob:{canary}@host"),
        format!("bob:{canary},{canary}@host"),
        format!("memcached://{canary}@host"),
        format!("memcached://bob:{canary}/{canary}@host"),
        format!("memcached://bob:{canary}?{canary}@host"),
        format!("memcached://bob:{canary}@{canary}@host"),
        format!("memcached://bob:%zz{canary}@host"),
        format!("memcached://bob:{canary}@host:0"),
        format!("memcached://bob:{canary}@host/?nonsense=1"),
        format!("memcached://bob:{canary}%00@host"),
        format!("memcached://:{canary}@host"),
        format!("memcacheds://bob:{canary}@/"),
        format!("redis://bob:{canary}@host"),
    ] {
        let error = Config::from_url(&text).and_then(Client::from_config).expect_err(&text);
        assert!(!format!("{error} {error:?}").contains(canary), "{text}: {error}");
        if let Err(error) = Endpoint::parse(&text) {
            assert!(!error.to_string().contains(canary), "{text}: {error}");
        }
    }
}
