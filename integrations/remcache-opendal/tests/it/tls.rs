//! The service over TLS.

use opendal_core::Operator;
use remcache_testkit::{Authority, Dates, Memcached};

use crate::{operator, patient_service, round_trip};

fn start() -> (Memcached, Authority) {
    let authority = Authority::new("test authority");
    let certificate = authority.certify(&["127.0.0.1"], Dates::Now);
    (Memcached::start_tls(&certificate, &[]), authority)
}

fn over_tls(server: &Memcached, ca_file: String) -> Operator {
    operator(patient_service(&format!("memcacheds://{}", server.addr())).ca_file(ca_file))
}

#[tokio::test]
async fn objects_are_stored_over_tls() {
    let (server, authority) = start();
    let operator = over_tls(&server, authority.file().display().to_string());
    for length in [0, 1, 1000, 600_000, 4 << 20] {
        round_trip(&operator, "file", vec![b'x'; length]).await;
    }
}

#[tokio::test]
async fn a_server_of_another_authority_is_a_permanent_error() {
    let (server, _) = start();
    let operator = over_tls(&server, Authority::new("another authority").file().display().to_string());
    let error = operator.read("file").await.unwrap_err();
    assert!(!error.is_temporary(), "{error}");
}
