//! The example service with real servers, an OTLP collector and a real Prometheus.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod collector;
mod dashboards;
mod export;
mod incidents;

use std::time::Duration;

use remcache_observability::{Load, start_service, usual_path};
use remcache_testkit::prometheus::Prometheus;
use remcache_testkit::{Memcached, ServerProcess, example};

/// The example service with three servers, scraped by Prometheus.
struct Site {
    servers: [Memcached; 3],
    service: ServerProcess,
    prometheus: Prometheus,
}

impl Site {
    fn start() -> Self {
        let servers = [(); 3].map(|()| Memcached::start(&[]));
        let service = service(&servers, None);
        let alerts = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/monitoring/alerts.yml");
        let prometheus = Prometheus::start(&[service.address()], Duration::from_millis(500), Some(alerts.as_ref()));
        Self { servers, service, prometheus }
    }

    /// Starts the usual load, and waits until Prometheus has seen each operation.
    fn load(&self) -> Load {
        let load = Load::start(&self.service, usual_path);
        for operation in ["fetch", "get", "get_many", "set", "set_many"] {
            let count = format!("sum(db_client_operation_duration_seconds_count{{operation={operation:?}}})");
            self.prometheus.wait_for(&count, |_, count| count > 20.0);
        }
        load
    }
}

/// Starts the example service, built from its current source.
fn service(servers: &[Memcached], collector: Option<&str>) -> ServerProcess {
    let addresses: Vec<_> = servers.iter().map(Memcached::addr).collect();
    start_service(&example(env!("CARGO_MANIFEST_DIR"), "service"), &addresses, collector)
}
