//! The service on real memcached servers, which may be killed or stopped.

mod configuration;
mod contents;
mod example;
mod outage;
mod own_service;
#[cfg(feature = "tls")]
mod tls;

use std::time::Duration;

use opendal_core::Operator;
use remcache_opendal::Memcached;

/// Returns the service of these servers with a timeout that only an operation that hangs can exceed.
fn patient_service(endpoint: &str) -> Memcached {
    Memcached::new().endpoint(endpoint).timeout(Duration::from_secs(300))
}

fn operator(service: Memcached) -> Operator {
    Operator::new(service).expect("a valid configuration")
}

/// Writes, reads and deletes an object.
async fn round_trip(operator: &Operator, path: &str, content: Vec<u8>) {
    operator.write(path, content.clone()).await.expect("a write");
    let metadata = operator.stat(path).await.expect("metadata");
    assert!(metadata.is_file() && metadata.content_length() == content.len() as u64, "{path}: {metadata:?}");
    assert!(operator.read(path).await.expect("a read").to_vec() == content, "{path}");
    if content.len() > 2 {
        let end = content.len() as u64 - 1;
        let part = operator.read_with(path).range(1..end).await.expect("a part");
        assert!(part.to_vec() == content[1..content.len() - 1], "{path}");
    }
    operator.delete(path).await.expect("a delete");
    assert!(!operator.exists(path).await.expect("an answer"), "{path}");
    operator.delete(path).await.expect("a delete of nothing");
}
