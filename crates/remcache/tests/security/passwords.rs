//! Passwords: correct, wrong, missing, not required, replaced.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use remcache::config::{Credentials, ProtocolSetting};
use remcache::transport::Tls;
use remcache::{Client, Config, Delivery, ErrorKind, Request, Status};
use remcache_testkit::{Authority, Dates, Memcached, Proxy, SASL_PASSWORD, SASL_USER, scratch};
use tokio::net::TcpListener;

use super::log::Log;
use super::only_server::only_server;
use super::wait_until::wait_until;
use super::{assert_error, error_of, fast_reconnect, millis};

fn known() -> Credentials {
    Credentials::new(SASL_USER, SASL_PASSWORD)
}

fn client(address: &str, credentials: Credentials) -> Client {
    Client::with_config([address], fast_reconnect().credentials(credentials)).unwrap()
}

#[tokio::test]
async fn a_correct_password_authenticates() {
    let mut server = Memcached::start_sasl(&[]);
    let client = client(&server.addr(), known());
    client.set("k", "v").await.unwrap();
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
    let stats = only_server(&client).stats("").collect().await.unwrap();
    let of = |name: &str| stats.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    assert_eq!((of("auth_cmds").as_deref(), of("auth_errors").as_deref()), (Some(&b"1"[..]), Some(&b"0"[..])));
    server.restart();
    wait_until("the client is authenticated again", async || client.get("k").await.is_ok()).await;
}

#[tokio::test]
async fn a_url_can_contain_a_password() {
    let server = Memcached::start_sasl(&[]);
    let user = SASL_USER.replace('@', "%40");
    let url = format!("memcached://{user}:{SASL_PASSWORD}@{}/namespace?timeout=30s", server.addr());
    let client = Client::new([url]).unwrap();
    client.set("k", "v").await.unwrap();
    assert!(client.set_servers([format!("memcached://bob:other@{}", server.addr())]).is_err());
    client.set_servers([format!("memcached://{user}:{SASL_PASSWORD}@{}", server.addr())]).unwrap();
    client.set_servers([server.addr()]).unwrap();
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
}

#[tokio::test]
async fn a_password_works_over_tls() {
    let authority = Authority::new("the authority of a test");
    let certificate = authority.certify(&["127.0.0.1"], Dates::Now);
    let server = Memcached::start_sasl(&["-Z", "-o", &certificate.server_options()]);
    let config = fast_reconnect().tls(Tls::with_roots_pem(authority.pem()));
    let client = Client::with_config([server.addr()], config.clone().credentials(known())).unwrap();
    client.set("k", "v").await.unwrap();
    let client = Client::with_config([server.addr()], config.credentials(Credentials::new("a", "b"))).unwrap();
    assert_error(&error_of(&client).await, ErrorKind::Auth, &["refused"]);
}

// ---- Refusals ----

/// Asserts that every request fails, and that the authentication is not tried again.
async fn assert_final(config: Config, words: &[&str]) {
    assert_final_on(config.clone().protocol(ProtocolSetting::Binary), 1, words).await;
    // The first connection uses text, and is closed.
    assert_final_on(config, 2, words).await;
}

async fn assert_final_on(config: Config, connections: u64, words: &[&str]) {
    let log = Log::start();
    let server = Memcached::start_sasl(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let client = Client::with_config([proxy.addr()], config).unwrap();
    let waiting: Vec<_> = (0..10)
        .map(|n| {
            tokio::spawn({
                let client = client.clone();
                async move { client.get(format!("key{n}")).await.unwrap_err() }
            })
        })
        .collect();
    for call in waiting {
        let error = call.await.unwrap();
        assert_error(&error, ErrorKind::Auth, words);
        assert!(!error.may_have_executed());
    }
    for _ in 0..20 {
        assert_error(&error_of(&client).await, ErrorKind::Auth, words);
        tokio::time::sleep(millis(25)).await;
    }
    assert_eq!(proxy.accepted(), connections, "the wait between attempts is 20 ms, and no attempt was made");
    assert_eq!(log.warnings(&proxy.addr()).len(), 1, "{}", log.text());
    client.close().await;
}

#[tokio::test]
async fn a_wrong_password_is_final() {
    assert_final(
        fast_reconnect().credentials(Credentials::new(SASL_USER, "wrong")),
        &["refused the user or the password"],
    )
    .await;
}

#[tokio::test]
async fn a_missing_password_is_final() {
    assert_final(fast_reconnect(), &["requires a user and a password", "Config::credentials"]).await;
}

/// Sends every kind of request as the first one of an unauthenticated client.
async fn first_requests(protocol: ProtocolSetting, address: &str) {
    let client = || Client::with_config([address], fast_reconnect().protocol(protocol)).unwrap();
    let words = &["requires a user and a password", "Config::credentials"];
    let check = |error: remcache::Error| {
        assert_error(&error, ErrorKind::Auth, words);
        assert!(!error.may_have_executed(), "{protocol}: {error}");
    };
    check(client().get("k").await.unwrap_err());
    check(client().set("k", "v").await.unwrap_err());
    check(client().exists("k").await.unwrap_err());
    check(client().flush().await.remove(0).1.unwrap_err());
    check(client().noop().await.remove(0).1.unwrap_err());
    check(only_server(&client()).stats("").collect().await.unwrap_err());
    if matches!(protocol, ProtocolSetting::Auto | ProtocolSetting::Meta) {
        check(client().inspect("k").await.unwrap_err());
    }
    // A request without a reply has no caller, and quiet requests cannot be attributed.
    let casting = client();
    assert!(casting.send_no_reply(Request::noop()));
    check(error_of(&casting).await);
    let quiet = client();
    let set = |key: &'static str| quiet.call(Request::set(key, "v").quiet());
    let (one, other) = tokio::join!(set("a"), set("b"));
    for reply in [one, other] {
        assert_eq!(reply.status, Status::AuthError, "{protocol}: {}", reply.text());
        assert!(reply.text().contains(words[0]), "{protocol}: {}", reply.text());
    }
}

#[tokio::test]
async fn any_unauthenticated_request_reports_the_missing_password() {
    let sasl = Memcached::start_sasl(&[]);
    for protocol in [ProtocolSetting::Auto, ProtocolSetting::Binary] {
        first_requests(protocol, &sasl.addr()).await;
    }
    let dir = scratch();
    let users = dir.path().join("users");
    std::fs::write(&users, "bob:secret\n").unwrap();
    let server = Memcached::start(&["-Y", users.to_str().unwrap()]);
    for protocol in [ProtocolSetting::Auto, ProtocolSetting::Meta, ProtocolSetting::Text] {
        first_requests(protocol, &server.addr()).await;
    }
}

#[tokio::test]
async fn a_password_file_is_reported_to_binary_clients() {
    let dir = scratch();
    let users = dir.path().join("users");
    std::fs::write(&users, "bob:secret\n").unwrap();
    let server = Memcached::start(&["-Y", users.to_str().unwrap()]);
    let config = fast_reconnect().connect_timeout(millis(200)).credentials(Credentials::new("bob", "secret"));
    let client = Client::with_config([server.addr()], config.protocol(ProtocolSetting::Binary)).unwrap();
    assert_error(&error_of(&client).await, ErrorKind::Disconnected(Delivery::NotSent), &["-Y", "text"]);
}

#[tokio::test]
async fn a_server_without_authentication_is_rejected_unless_allowed() {
    let mut server = Memcached::start(&[]);
    let refused = client(&server.addr(), known());
    assert_error(&error_of(&refused).await, ErrorKind::Auth, &["requires no password", "optional"]);
    let allowed = client(&server.addr(), known().optional());
    allowed.set("k", "v").await.unwrap();
    server.restart();
    wait_until("again", async || allowed.get("k").await.is_ok()).await;
}

// ---- Providers ----

#[tokio::test]
async fn a_provider_is_called_on_every_connect() {
    let mut server = Memcached::start_sasl(&[]);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let config = fast_reconnect().credentials_provider(move || {
        count.fetch_add(1, Ordering::Relaxed);
        async { Ok(known()) }
    });
    let client = Client::with_config([server.addr()], config).unwrap();
    client.set("k", "v").await.unwrap();
    client.set("k", "v").await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    server.restart();
    wait_until("the client is authenticated again", async || client.get("k").await.is_ok()).await;
    assert!(asked.load(Ordering::Relaxed) > 1);
}

#[tokio::test]
async fn after_a_rejection_only_other_credentials_are_tried() {
    let server = Memcached::start_sasl(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let current = Arc::new(Mutex::new(Credentials::new(SASL_USER, "the old password")));
    let source = Arc::clone(&current);
    let config = fast_reconnect().protocol(ProtocolSetting::Binary).credentials_provider(move || {
        let credentials = source.lock().unwrap().clone();
        async { Ok(credentials) }
    });
    let client = Client::with_config([proxy.addr()], config).unwrap();
    for _ in 0..10 {
        assert_error(&error_of(&client).await, ErrorKind::Auth, &["refused"]);
        tokio::time::sleep(millis(25)).await;
    }
    assert_eq!(proxy.accepted(), 1);
    *current.lock().unwrap() = known();
    wait_until("the new credentials are tried", async || client.get("k").await.is_ok()).await;
    assert_eq!(proxy.accepted(), 2);
}

#[tokio::test]
async fn a_failed_provider_is_called_again() {
    let server = Memcached::start_sasl(&[]);
    let asked = AtomicUsize::new(0);
    let config = fast_reconnect().credentials_provider(move || {
        let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
        async move { if first { Err("the vault is closed".into()) } else { Ok(known()) } }
    });
    let client = Client::with_config([server.addr()], config).unwrap();
    assert_error(&error_of(&client).await, ErrorKind::Disconnected(Delivery::NotSent), &["the vault is closed"]);
    wait_until("the vault is open", async || client.get("k").await.is_ok()).await;
}

#[tokio::test]
async fn an_unanswered_authentication_is_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let config = fast_reconnect().connect_timeout(millis(100));
    let disconnected = ErrorKind::Disconnected(Delivery::NotSent);
    for protocol in ProtocolSetting::ALL {
        let what = if protocol == ProtocolSetting::Auto { "version request" } else { "authentication" };
        let config = config.clone().protocol(protocol).credentials(known());
        let silent = Client::with_config([&address], config).unwrap();
        assert_error(&error_of(&silent).await, disconnected, &[what, "within 100ms"]);
    }
    let pending = Client::with_config([&address], config.credentials_provider(std::future::pending)).unwrap();
    assert_error(&error_of(&pending).await, disconnected, &["provider of credentials within 100ms"]);
}
