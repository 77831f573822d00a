//! Endpoints, URIs and credentials.

use std::time::Duration;

use opendal_core::{ErrorKind, Operator, OperatorRegistry};
use remcache_opendal::Memcached;
use remcache_testkit::{SASL_PASSWORD, SASL_USER, scratch};

use crate::{operator, patient_service, round_trip};

#[tokio::test]
async fn endpoints_have_several_forms() {
    let server = remcache_testkit::Memcached::start(&[]);
    let address = server.addr();
    for endpoint in [address.clone(), format!("tcp://{address}"), format!("memcached://{address}/?timeout=300s")] {
        round_trip(&operator(patient_service(&endpoint)), "file", b"content".to_vec()).await;
    }
    let directory = scratch();
    let socket = directory.path().join("socket");
    let _server = remcache_testkit::Memcached::start_unix(&socket, &[]);
    round_trip(&operator(patient_service(&format!("unix://{}", socket.display()))), "file", b"content".to_vec()).await;
}

#[tokio::test]
async fn a_registry_makes_services_from_uris() {
    let server = remcache_testkit::Memcached::start(&[]);
    let registry = OperatorRegistry::get();
    remcache_opendal::register(registry);
    let uri = format!("memcached://{}/app?timeout=300s&default_ttl=1h", server.addr());
    let from_uri = registry.load(uri.as_str()).unwrap();
    from_uri.write("file", "content").await.unwrap();
    assert_eq!(operator(patient_service(&server.addr()).root("/app")).read("file").await.unwrap().to_vec(), b"content");
}

#[tokio::test]
async fn objects_expire() {
    let server = remcache_testkit::Memcached::start(&[]);
    let operator = operator(patient_service(&server.addr()).default_ttl(Duration::from_secs(1)));
    operator.write("file", vec![0; 1_500_000]).await.unwrap();
    while operator.exists("file").await.unwrap() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn credentials_are_sent() {
    let server = remcache_testkit::Memcached::start_sasl(&[]);
    let with = |password| operator(patient_service(&server.addr()).credentials(SASL_USER, password));
    round_trip(&with(SASL_PASSWORD), "file", b"content".to_vec()).await;
    let error = with("wrong").read("file").await.unwrap_err();
    assert_eq!((error.kind(), error.is_temporary()), (ErrorKind::PermissionDenied, false), "{error}");
}

#[tokio::test]
async fn invalid_configurations_are_rejected() {
    for service in [Memcached::new(), Memcached::new().endpoint(""), Memcached::new().endpoint("host:port:x:y")] {
        assert_eq!(Operator::new(service).unwrap_err().kind(), ErrorKind::ConfigInvalid);
    }
}

#[tokio::test]
async fn a_username_without_a_password_is_rejected() {
    let registry = OperatorRegistry::get();
    remcache_opendal::register(registry);
    let error = registry.load("memcached://localhost?username=ann").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
    assert!(error.to_string().contains("set both"), "{error}");
}
