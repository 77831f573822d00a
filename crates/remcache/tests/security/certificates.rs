//! Certificates, and ports with and without TLS.

use std::io::Write;
use std::net::TcpListener;

use remcache::transport::Tls;
use remcache::{Client, Config, Delivery, ErrorKind};
use remcache_testkit::{Authority, Certificate, Dates, Memcached, Proxy, scratch};

use super::log::Log;
use super::wait_until::wait_until;
use super::{assert_error, error_of, fast_reconnect, millis};

fn authority() -> Authority {
    Authority::new("the authority of a test")
}

fn client(address: &str, tls: Tls) -> Client {
    Client::with_config([address], fast_reconnect().tls(tls)).unwrap()
}

fn trusting(authority: &Authority) -> Tls {
    Tls::with_roots_file(authority.file())
}

/// Returns whether a client can store and fetch an item.
async fn works(client: &Client) -> bool {
    client.set("k", "v").await.is_ok() && client.get("k").await.unwrap().unwrap().value == "v"
}

// ---- Certificates of servers ----

#[tokio::test]
async fn a_valid_certificate_is_accepted() {
    let authority = authority();
    let certificate = authority.certify(&["127.0.0.1"], Dates::Now);
    let server = Memcached::start_tls(&certificate, &[]);
    assert!(works(&client(&server.addr(), trusting(&authority))).await);
    assert!(works(&client(&server.addr(), Tls::with_roots_pem(authority.pem()))).await);
}

#[tokio::test]
async fn an_invalid_certificate_is_rejected_with_its_reason() {
    let (authority, other_client) = (authority(), Authority::new("another CA"));
    let here = &["127.0.0.1"][..];
    for (certificate, words) in [
        (authority.certify(here, Dates::Past), ["expired on 2001-01-01", "renew"]),
        (authority.certify(here, Dates::Future), ["not valid before 2100-01-01", "clock"]),
        (
            authority.certify(&["cache.example", "10.0.0.1"], Dates::Now),
            ["not for 127.0.0.1, but for", "cache.example"],
        ),
        (other_client.certify(here, Dates::Now), ["not trusted", "with_roots_file"]),
    ] {
        let log = Log::start();
        let server = Memcached::start_tls(&certificate, &[]);
        let client = client(&server.addr(), trusting(&authority));
        let error = error_of(&client).await;
        assert_error(&error, ErrorKind::Tls, &words);
        assert!(error.is_disconnected() && !error.may_have_executed(), "{error}");
        tokio::time::sleep(millis(200)).await;
        assert_error(&error_of(&client).await, ErrorKind::Tls, &words);
        assert_eq!(log.warnings(&server.addr()).len(), 1, "{}", log.text());
    }
}

#[tokio::test]
async fn an_invalid_certificate_is_retried_with_backoff() {
    let (authority, other_client) = (authority(), Authority::new("another CA"));
    let certificate = other_client.certify(&["127.0.0.1"], Dates::Now);
    let server = Memcached::start_tls(&certificate, &[]);
    let proxy = Proxy::start(server.addr()).await;
    // The default delays: from 50 ms to 5 s.
    let config = Config::new().tls(trusting(&authority));
    let client = Client::with_config([proxy.addr()], config).unwrap();
    for _ in 0..20 {
        assert_error(&error_of(&client).await, ErrorKind::Tls, &["not trusted"]);
        tokio::time::sleep(millis(50)).await;
    }
    // The shortest wait at the maximum is a third of 5 s.
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn a_server_name_can_be_configured_for_an_ip_address() {
    let authority = authority();
    let certificate = authority.certify(&["cache.example"], Dates::Now);
    let server = Memcached::start_tls(&certificate, &[]);
    assert!(works(&client(&server.addr(), trusting(&authority).server_name("cache.example"))).await);
    let refused = client(&server.addr(), trusting(&authority).server_name("other.example"));
    assert_error(&error_of(&refused).await, ErrorKind::Tls, &["not for other.example", "cache.example"]);
}

#[tokio::test]
async fn without_verification_any_certificate_is_accepted() {
    let certificate = Authority::new("another CA").certify(&["another-host"], Dates::Past);
    let server = Memcached::start_tls(&certificate, &[]);
    assert!(works(&client(&server.addr(), Tls::dangerous_without_verification())).await);
}

#[tokio::test]
async fn the_system_does_not_trust_the_authority_of_a_test() {
    let certificate = authority().certify(&["127.0.0.1"], Dates::Now);
    let server = Memcached::start_tls(&certificate, &[]);
    let client =
        Client::from_config(fast_reconnect().server(&format!("memcacheds://{}", server.addr())).unwrap()).unwrap();
    // On a system without trusted authorities the error reports that.
    assert_error(&error_of(&client).await, ErrorKind::Tls, &["trusted"]);
}

// ---- Renewal ----

#[tokio::test]
async fn a_renewed_certificate_is_accepted() {
    let authority = authority();
    let certificate = authority.certify(&["127.0.0.1"], Dates::Past);
    let mut server = Memcached::start_tls(&certificate, &[]);
    let client = client(&server.addr(), trusting(&authority));
    assert_error(&error_of(&client).await, ErrorKind::Tls, &["expired"]);
    authority.renew(&certificate, &["127.0.0.1"], Dates::Now);
    server.restart();
    wait_until("the new certificate is used", async || client.get("k").await.is_ok()).await;
}

#[tokio::test]
async fn files_are_read_again_for_each_connection() {
    let (old, new) = (authority(), Authority::new("the next authority"));
    let certificate = new.certify(&["127.0.0.1"], Dates::Now);
    let server = Memcached::start_tls(&certificate, &[]);
    let client = client(&server.addr(), trusting(&old));
    assert_error(&error_of(&client).await, ErrorKind::Tls, &["not trusted"]);
    std::fs::write(old.file(), new.pem()).unwrap();
    wait_until("the new authority is read", async || client.get("k").await.is_ok()).await;
}

// ---- Certificates of clients ----

/// Starts a server that requires a client certificate of its authority.
fn start_with_client_certificates(authority: &Authority, certificate: &Certificate) -> Memcached {
    let options = format!("ssl_verify_mode=2,ssl_ca_cert={}", authority.file().display());
    Memcached::start_tls(certificate, &["-o", &options])
}

#[tokio::test]
async fn a_client_certificate_is_presented() {
    let authority = authority();
    let certificate = authority.certify(&["127.0.0.1"], Dates::Now);
    let server = start_with_client_certificates(&authority, &certificate);
    let ours = authority.certify(&["client"], Dates::Now);
    assert!(
        works(&client(&server.addr(), trusting(&authority).client_certificate(ours.file(), ours.key_file()))).await
    );
    let [text, key] = [ours.file(), ours.key_file()].map(|file| std::fs::read(file).unwrap());
    assert!(works(&client(&server.addr(), trusting(&authority).client_certificate_pem(text, key))).await);
}

#[tokio::test]
async fn a_missing_client_certificate_is_reported() {
    let authority = authority();
    let certificate = authority.certify(&["127.0.0.1"], Dates::Now);
    let server = start_with_client_certificates(&authority, &certificate);
    for _ in 0..20 {
        let client = client(&server.addr(), trusting(&authority));
        let calls: Vec<_> = (0..10)
            .map(|n| {
                tokio::spawn({
                    let client = client.clone();
                    async move { client.set(format!("key{n}"), vec![b'v'; 1000 * n]).await.unwrap_err() }
                })
            })
            .collect();
        for call in calls {
            let error = call.await.unwrap();
            assert_error(&error, ErrorKind::Tls, &["client certificate"]);
            assert!(!error.may_have_executed());
        }
    }
}

#[tokio::test]
async fn a_rejected_client_certificate_is_reported_and_can_be_replaced() {
    let (authority, other_client) = (authority(), Authority::new("another CA"));
    let certificate = authority.certify(&["127.0.0.1"], Dates::Now);
    let server = start_with_client_certificates(&authority, &certificate);
    let ours = other_client.certify(&["client"], Dates::Now);
    let client = client(&server.addr(), trusting(&authority).client_certificate(ours.file(), ours.key_file()));
    assert_error(&error_of(&client).await, ErrorKind::Tls, &["does not accept our client certificate"]);
    authority.renew(&ours, &["client"], Dates::Now);
    wait_until("the new certificate is shown", async || client.get("k").await.is_ok()).await;
}

#[tokio::test]
async fn unusable_files_are_named() {
    let authority = authority();
    let certificate = authority.certify(&["127.0.0.1"], Dates::Now);
    let server = Memcached::start_tls(&certificate, &[]);
    let other = authority.certify(&["client"], Dates::Now);
    let dir = scratch();
    let nonsense = dir.path().join("nonsense.pem");
    std::fs::write(&nonsense, "nonsense").unwrap();
    for (tls, words) in [
        (Tls::with_roots_file("/nowhere/ca.pem"), ["cannot be read", "/nowhere/ca.pem"]),
        (Tls::with_roots_file(&nonsense), ["holds no authority", "nonsense.pem"]),
        (trusting(&authority).client_certificate(other.file(), &nonsense), ["holds no private key", "nonsense.pem"]),
        (trusting(&authority).client_certificate(other.file(), certificate.key_file()), ["client certificate", "key"]),
    ] {
        assert_error(&error_of(&client(&server.addr(), tls)).await, ErrorKind::Tls, &words);
    }
}

// ---- Plaintext, and servers that do not answer ----

#[tokio::test]
async fn tls_to_a_plaintext_port_is_reported() {
    let server = Memcached::start(&[]);
    let error = error_of(&client(&server.addr(), Tls::with_roots_pem(authority().pem()))).await;
    assert_error(&error, ErrorKind::Tls, &["in clear", "use memcached://"]);
    assert!(!error.may_have_executed());
    // A binary-only server does not answer other bytes.
    let server = Memcached::start_sasl(&[]);
    let error = error_of(&client(&server.addr(), Tls::with_roots_pem(authority().pem()))).await;
    assert_error(&error, ErrorKind::Disconnected(Delivery::NotSent), &["memcached://"]);
}

#[tokio::test]
async fn plaintext_to_a_tls_port_is_reported() {
    let certificate = authority().certify(&["127.0.0.1"], Dates::Now);
    let server = Memcached::start_tls(&certificate, &[]);
    let client = Client::with_config([server.addr()], fast_reconnect()).unwrap();
    let error = error_of(&client).await;
    assert_error(&error, ErrorKind::Disconnected(Delivery::MaybeSent), &["use memcacheds://"]);
}

#[tokio::test]
async fn an_unanswered_tls_handshake_is_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = fast_reconnect().connect_timeout(millis(100)).tls(Tls::with_roots_pem(authority().pem()));
    let client = Client::with_config([listener.local_addr().unwrap().to_string()], config).unwrap();
    assert_error(&error_of(&client).await, ErrorKind::Disconnected(Delivery::NotSent), &["TLS handshake within 100ms"]);
}

#[tokio::test]
async fn a_deadline_holds_during_the_handshake() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = client(&listener.local_addr().unwrap().to_string(), Tls::with_roots_pem(authority().pem()));
    let error = client.get("k").timeout(millis(50)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut(Delivery::NotSent));
}

#[tokio::test]
async fn a_server_without_a_free_connection_replies_without_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let refusals = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"ERROR Too many open connections\r\n").unwrap();
        stream
    });
    let error = error_of(&client(&address, Tls::with_roots_pem(authority().pem()))).await;
    assert_error(&error, ErrorKind::Disconnected(Delivery::NotSent), &["too many open connections"]);
    drop(refusals.join().unwrap());
}

#[tokio::test]
async fn tls_cannot_be_turned_on_while_running() {
    let client = Client::new(["127.0.0.1:1"]).unwrap();
    let error = client.set_servers(["memcacheds://127.0.0.1:1"]).unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.to_string().contains("TLS"), "{error}");
    let client = Client::new(["memcacheds://127.0.0.1:1"]).unwrap();
    client.set_servers(["memcacheds://127.0.0.1:1", "127.0.0.1:2"]).unwrap();
}
