//! An operation with metrics allocates no more than one without.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use metrics_exporter_prometheus::PrometheusBuilder;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use remcache::observe::{Metrics, OtelMetrics};
use remcache::{Client, Config};
use remcache_testkit::Memcached;
use stats_alloc::Region;

use crate::{ALLOCATOR, take_turn};

/// Few, because a recorder allocates a block for each 64 samples that it keeps until they are read.
const GETS: usize = 16;

/// Returns the number of allocations of `GETS` gets, on one thread: the least of several runs, because the harness and
/// the recorder allocate during some.
fn allocations(server: &Memcached, config: Config) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = config.timeout(std::time::Duration::from_secs(60));
        let client = Client::with_config([server.addr()], config).unwrap();
        client.set("key", "value").await.unwrap();
        let mut least = usize::MAX;
        // The first run makes the handles and the buffers.
        for run in 0..60 {
            let region = Region::new(ALLOCATOR);
            for _ in 0..GETS {
                client.get("key").await.unwrap();
            }
            if run > 0 {
                least = least.min(region.change().allocations);
            }
        }
        least
    })
}

#[test]
fn metrics_cost_no_allocation() {
    let _turn = take_turn();
    let server = Memcached::start(&[]);
    let without = allocations(&server, Config::new());
    // The facade without a recorder: what it costs by itself.
    assert_eq!(allocations(&server, Config::new().observer(Metrics::new())), without);

    let provider = SdkMeterProvider::builder().with_periodic_exporter(InMemoryMetricExporter::default()).build();
    let metrics = OtelMetrics::new(&provider.meter("remcache"));
    assert_eq!(allocations(&server, Config::new().observer(metrics)), without);

    let recorder = PrometheusBuilder::new().build_recorder();
    let recorded =
        metrics::with_local_recorder(&recorder, || allocations(&server, Config::new().observer(Metrics::new())));
    assert_eq!(recorded, without);
}
