//! TLS sessions: all connections of a client share a configuration, so the second one to a server resumes a session.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use remcache::transport::Tls;
use remcache::transport::rustls::crypto::ring;
use remcache::transport::rustls::pki_types::CertificateDer;
use remcache::transport::rustls::pki_types::pem::PemObject;
use remcache::transport::rustls::{ClientConfig, RootCertStore};
use remcache::{Client, Config};
use remcache_server::Server;

use crate::support::{TlsServers, patient_config, wait_until};

/// Makes a request, restarts the server, and makes a second one on a new connection.
async fn reconnect(client: &Client, server: &Server) {
    client.set("k", "v").await.unwrap();
    server.restart_with_items().await.unwrap();
    wait_until("the server is used again", async || client.get("k").await.is_ok_and(|item| item.is_some())).await;
}

#[tokio::test]
async fn the_second_connection_resumes_the_session_of_the_first() {
    let servers = TlsServers::new();
    let server = servers.start(Server::builder()).await;
    let client = Client::with_config([server.address()], servers.trusted_by(patient_config())).unwrap();
    reconnect(&client, &server).await;
    assert!(server.tls_handshakes() >= 2);
    assert!(server.tls_resumptions() >= 1, "{} handshakes", server.tls_handshakes());
}

#[tokio::test]
async fn clients_do_not_share_sessions() {
    let servers = TlsServers::new();
    let server = servers.start(Server::builder()).await;
    for _ in 0..3 {
        // One connection per client: a configured protocol is not negotiated.
        let config = patient_config().protocol(remcache::config::ProtocolSetting::Meta);
        let client = Client::with_config([server.address()], servers.trusted_by(config)).unwrap();
        client.get("k").await.unwrap();
        client.close().await;
    }
    assert_eq!((server.tls_handshakes(), server.tls_resumptions()), (3, 0));
}

#[tokio::test]
async fn a_custom_configuration_is_used_unchanged() {
    let servers = TlsServers::new();
    let server = servers.start(Server::builder()).await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(servers.authority().file()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let tls = Tls::custom(Arc::new(config.with_no_client_auth()));
    let client = Client::with_config([server.address()], patient_config().tls(tls)).unwrap();
    reconnect(&client, &server).await;
    assert!(server.tls_resumptions() >= 1);
}

#[test]
fn a_client_certificate_cannot_be_added_to_a_custom_configuration() {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(RootCertStore::empty());
    let tls = Tls::custom(Arc::new(config.with_no_client_auth())).client_certificate("a.pem", "b.pem");
    let error = Client::with_config(["localhost"], Config::new().tls(tls)).unwrap_err();
    assert!(error.to_string().contains("Tls::client_certificate"), "{error}");
}
