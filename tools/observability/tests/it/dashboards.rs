//! The dashboard of clients shows the example, scraped by a real Prometheus.

use std::path::Path;

use remcache_testkit::prometheus::{Dashboard, promtool};

use crate::Site;

#[test]
fn every_query_of_the_client_dashboard_returns_data() {
    let mut site = Site::start();
    let load = site.load();
    // Requests to a server that was never connected would fail without a timeout.
    site.prometheus.wait_for("sum(db_client_connections)", |_, connections| connections >= 3.0);
    // A server that hangs causes timeouts and retries, one that is gone failovers.
    site.servers[0].stop();
    site.prometheus.wait_for("sum(db_client_connection_timeouts_total)", |_, timeouts| timeouts > 0.0);
    site.servers[0].cont();
    site.servers[1].kill();
    site.prometheus.wait_for("sum(memcached_client_failovers_total)", |_, failovers| failovers > 10.0);
    site.servers[1].restart();
    // The first operations after a quiet time wait for the new connection.
    drop(load);
    site.servers[2].restart();
    let _load = site.load();
    let dashboard = Dashboard::read(include_str!("../../../../docs/monitoring/grafana-client.json"), "10s");
    dashboard.wait_for_data(&site.prometheus);

    let (status, metrics) = site.service.get("/metrics");
    assert_eq!(status, 200);
    promtool(&["check", "metrics"], Path::new("."), &metrics).unwrap();
}
