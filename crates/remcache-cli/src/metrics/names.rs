//! The names of statistics as metrics. They are memcached_exporter's, so that its dashboards and alerts keep working.

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetricKind {
    /// Only increases, until the server restarts.
    Counter,
    /// Increases and decreases.
    Gauge,
    /// A counter whose name lacks the suffix `_total`, which Prometheus requires of the type `counter`.
    Untyped,
}

use MetricKind::{Counter, Gauge, Untyped};

/// A metric made of one statistic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metric {
    /// The statistic.
    pub(super) stat: &'static str,
    /// The name of the metric without `memcached_`.
    pub(super) name: &'static str,
    pub(super) kind: MetricKind,
    pub(super) help: &'static str,
}

const fn metric(stat: &'static str, name: &'static str, kind: MetricKind, help: &'static str) -> Metric {
    Metric { stat, name, kind, help }
}

/// Of the general statistics.
pub(super) const GENERAL: &[Metric] = &[
    metric("uptime", "uptime_seconds", Gauge, "Seconds since the server started."),
    metric("time", "time_seconds", Gauge, "The server's clock, as seconds since 1970."),
    metric("rusage_user", "process_user_cpu_seconds_total", Counter, "Processor time of the server in its own code."),
    metric("rusage_system", "process_system_cpu_seconds_total", Counter, "Processor time of the server in the kernel."),
    metric("bytes_read", "read_bytes_total", Counter, "Bytes that the server has read from the network."),
    metric("bytes_written", "written_bytes_total", Counter, "Bytes that the server has sent to the network."),
    metric("curr_connections", "current_connections", Gauge, "Connections that are open."),
    metric("max_connections", "max_connections", Gauge, "Connections that may be open at a time."),
    metric("total_connections", "connections_total", Counter, "Connections opened since the start."),
    metric(
        "rejected_connections",
        "connections_rejected_total",
        Counter,
        "Connections refused because there were too many.",
    ),
    metric("conn_yields", "connections_yielded_total", Counter, "Times a connection had to let others go first (-R)."),
    metric(
        "listen_disabled_num",
        "connections_listener_disabled_total",
        Counter,
        "Times the server stopped accepting connections.",
    ),
    metric("bytes", "current_bytes", Gauge, "Bytes that items take."),
    metric("limit_maxbytes", "limit_bytes", Gauge, "Bytes that items may take."),
    metric("curr_items", "current_items", Gauge, "Items that are stored."),
    metric("total_items", "items_total", Counter, "Items stored since the start."),
    metric("evictions", "items_evicted_total", Counter, "Valid items removed to make room."),
    metric("reclaimed", "items_reclaimed_total", Counter, "Times the memory of an expired item was used again."),
    metric("store_too_large", "item_too_large_total", Counter, "Stores refused because the item was too large."),
    metric("store_no_memory", "item_no_memory_total", Counter, "Stores refused because there was no memory."),
    metric("direct_reclaims", "direct_reclaims_total", Counter, "Times a worker thread had to make room itself."),
    metric("accepting_conns", "accepting_connections", Gauge, "Whether the server accepts connections now."),
    metric("total_malloced", "malloced_bytes", Gauge, "Bytes taken for slab pages."),
    metric("lru_crawler_starts", "lru_crawler_starts_total", Counter, "Times the LRU crawler was started."),
    metric("crawler_reclaimed", "lru_crawler_reclaimed_total", Counter, "Items freed by the LRU crawler."),
    metric("crawler_items_checked", "lru_crawler_items_checked_total", Counter, "Items looked at by the LRU crawler."),
    metric(
        "moves_to_cold",
        "lru_crawler_moves_to_cold_total",
        Counter,
        "Items moved from the hot or warm LRU to the cold one.",
    ),
    metric(
        "moves_to_warm",
        "lru_crawler_moves_to_warm_total",
        Counter,
        "Items moved from the cold LRU to the warm one.",
    ),
    metric(
        "moves_within_lru",
        "lru_crawler_moves_within_lru_total",
        Counter,
        "Items moved within the hot or the warm LRU.",
    ),
    metric(
        "extstore_compact_lost",
        "extstore_compact_lost_total",
        Counter,
        "Items lost while flash storage was compacted.",
    ),
    metric(
        "extstore_compact_rescues",
        "extstore_compact_rescued_total",
        Counter,
        "Items moved to a new page while flash storage was compacted.",
    ),
    metric(
        "extstore_compact_skipped",
        "extstore_compact_skipped_total",
        Counter,
        "Items dropped as unused while flash storage was compacted.",
    ),
    metric("extstore_page_allocs", "extstore_pages_allocated_total", Counter, "Pages of flash storage taken."),
    metric("extstore_page_evictions", "extstore_pages_evicted_total", Counter, "Pages of flash storage evicted."),
    metric("extstore_page_reclaims", "extstore_pages_reclaimed_total", Counter, "Empty pages of flash storage freed."),
    metric("extstore_pages_free", "extstore_pages_free", Gauge, "Pages of flash storage without items."),
    metric("extstore_pages_used", "extstore_pages_used", Gauge, "Pages of flash storage with items."),
    metric("extstore_objects_evicted", "extstore_objects_evicted_total", Counter, "Items evicted from flash storage."),
    metric("extstore_objects_read", "extstore_objects_read_total", Counter, "Items read from flash storage."),
    metric("extstore_objects_written", "extstore_objects_written_total", Counter, "Items written to flash storage."),
    metric("extstore_objects_used", "extstore_objects_used", Gauge, "Items in flash storage."),
    metric("extstore_bytes_evicted", "extstore_bytes_evicted_total", Counter, "Bytes evicted from flash storage."),
    metric("extstore_bytes_written", "extstore_bytes_written_total", Counter, "Bytes written to flash storage."),
    metric("extstore_bytes_read", "extstore_bytes_read_total", Counter, "Bytes read from flash storage."),
    metric("extstore_bytes_used", "extstore_bytes_used", Gauge, "Bytes that items take in flash storage."),
    metric(
        "extstore_bytes_fragmented",
        "extstore_bytes_fragmented",
        Gauge,
        "Bytes of used pages of flash storage that hold no item.",
    ),
    metric("extstore_limit_maxbytes", "extstore_bytes_limit", Gauge, "Bytes of flash storage."),
    metric("extstore_io_queue", "extstore_io_queue_depth", Gauge, "Items waiting to be read or written."),
    metric("proxy_conn_requests", "proxy_conn_requests_total", Counter, "Requests of clients to the proxy."),
    metric(
        "proxy_conn_errors",
        "proxy_conn_errors_total",
        Counter,
        "Errors of the connections of clients of the proxy.",
    ),
    metric("proxy_conn_oom", "proxy_conn_oom_total", Counter, "Times the proxy had no memory for a request."),
    metric("proxy_req_active", "proxy_req_active", Gauge, "Requests that the proxy works on now."),
    metric(
        "proxy_config_reloads",
        "proxy_config_reloads_total",
        Counter,
        "Times the proxy read its configuration again.",
    ),
    metric(
        "proxy_config_reload_fails",
        "proxy_config_reload_fails_total",
        Counter,
        "Times the proxy could not read its configuration again.",
    ),
    metric(
        "proxy_config_cron_runs",
        "proxy_config_cron_runs_total",
        Counter,
        "Times a timer of the proxy's configuration ran.",
    ),
    metric(
        "proxy_config_cron_fails",
        "proxy_config_cron_fails_total",
        Counter,
        "Times a timer of the proxy's configuration failed.",
    ),
    metric("proxy_backend_total", "proxy_backend_total", Gauge, "Servers behind the proxy."),
    metric(
        "proxy_backend_marked_bad",
        "proxy_backend_marked_bad_total",
        Counter,
        "Times a server behind the proxy was taken for bad.",
    ),
    metric("proxy_backend_failed", "proxy_backend_failed", Gauge, "Failures of servers behind the proxy."),
    metric(
        "proxy_request_failed_depth",
        "proxy_request_failed_depth_total",
        Counter,
        "Requests refused because too many waited for a server behind the proxy.",
    ),
    metric(
        "round_robin_fallback",
        "round_robin_fallback_total",
        Counter,
        "Connections given to a thread in turn for want of a hint.",
    ),
    metric(
        "unexpected_napi_ids",
        "unexpected_napi_ids_total",
        Counter,
        "Connections whose network queue was not known.",
    ),
];

/// Of the settings.
pub(super) const SETTINGS: &[Metric] = &[
    metric("lru_crawler", "lru_crawler_enabled", Gauge, "Whether the LRU crawler runs."),
    metric("lru_crawler_sleep", "lru_crawler_sleep", Gauge, "Microseconds between two steps of the LRU crawler."),
    metric(
        "lru_crawler_tocrawl",
        "lru_crawler_to_crawl",
        Gauge,
        "Items that a run of the LRU crawler looks at in a slab class.",
    ),
    metric(
        "lru_maintainer_thread",
        "lru_crawler_maintainer_thread",
        Gauge,
        "Whether the LRU is kept by a thread of its own.",
    ),
    metric("hot_lru_pct", "lru_crawler_hot_percent", Gauge, "Percent of a slab class for the hot LRU."),
    metric("warm_lru_pct", "lru_crawler_warm_percent", Gauge, "Percent of a slab class for the warm LRU."),
    metric("hot_max_factor", "lru_crawler_hot_max_factor", Gauge, "Age of the hot LRU as a share of the cold one's."),
    metric(
        "warm_max_factor",
        "lru_crawler_warm_max_factor",
        Gauge,
        "Age of the warm LRU as a share of the cold one's.",
    ),
];

/// Of each slab class's items.
pub(super) const ITEMS: &[Metric] = &[
    metric("number", "slab_current_items", Gauge, "Items in the slab class."),
    metric("age", "slab_items_age_seconds", Gauge, "Age of the oldest item of the slab class."),
    metric(
        "crawler_reclaimed",
        "slab_items_crawler_reclaimed_total",
        Counter,
        "Items of the slab class freed by the LRU crawler.",
    ),
    metric("evicted", "slab_items_evicted_total", Counter, "Items of the slab class evicted before they expired."),
    metric(
        "evicted_nonzero",
        "slab_items_evicted_nonzero_total",
        Counter,
        "Items with a time to live evicted before it was over.",
    ),
    metric(
        "evicted_time",
        "slab_items_evicted_time_seconds",
        Gauge,
        "Seconds since the last access to the item evicted last.",
    ),
    metric("evicted_unfetched", "slab_items_evicted_unfetched_total", Counter, "Items evicted and never fetched."),
    metric("expired_unfetched", "slab_items_expired_unfetched_total", Counter, "Items expired and never fetched."),
    metric("outofmemory", "slab_items_outofmemory_total", Counter, "Stores of the slab class that found no memory."),
    metric("reclaimed", "slab_items_reclaimed_total", Counter, "Times the memory of an expired item was used again."),
    metric(
        "tailrepairs",
        "slab_items_tailrepairs_total",
        Counter,
        "Times an item stuck at the tail had to be repaired.",
    ),
    metric("moves_to_cold", "slab_items_moves_to_cold", Untyped, "Items moved to the cold LRU."),
    metric("moves_to_warm", "slab_items_moves_to_warm", Untyped, "Items moved to the warm LRU."),
    metric("moves_within_lru", "slab_items_moves_within_lru", Untyped, "Items moved within the hot or the warm LRU."),
    metric("number_hot", "slab_hot_items", Gauge, "Items in the hot LRU."),
    metric("number_warm", "slab_warm_items", Gauge, "Items in the warm LRU."),
    metric("number_cold", "slab_cold_items", Gauge, "Items in the cold LRU."),
    metric("number_temp", "slab_temporary_items", Gauge, "Items in the temporary LRU."),
    metric("age_hot", "slab_hot_age_seconds", Gauge, "Age of the oldest item in the hot LRU."),
    metric("age_warm", "slab_warm_age_seconds", Gauge, "Age of the oldest item in the warm LRU."),
    metric("mem_requested", "slab_mem_requested_bytes", Gauge, "Bytes that the items of the slab class really need."),
];

/// Of each slab class's pages.
pub(super) const SLABS: &[Metric] = &[
    metric("chunk_size", "slab_chunk_size_bytes", Gauge, "Bytes of a chunk."),
    metric("chunks_per_page", "slab_chunks_per_page", Gauge, "Chunks of a page."),
    metric("total_pages", "slab_current_pages", Gauge, "Pages of the slab class."),
    metric("total_chunks", "slab_current_chunks", Gauge, "Chunks of the slab class."),
    metric("used_chunks", "slab_chunks_used", Gauge, "Chunks that hold an item."),
    metric("free_chunks", "slab_chunks_free", Gauge, "Chunks without an item."),
    metric("free_chunks_end", "slab_chunks_free_end", Gauge, "Free chunks at the end of the last page."),
];

/// Statistics that are values of one metric, `commands_total`, with labels for command and status.
pub(super) const COMMANDS: &[(&str, &str, &str)] = &[
    ("get_hits", "get", "hit"),
    ("get_misses", "get", "miss"),
    ("delete_hits", "delete", "hit"),
    ("delete_misses", "delete", "miss"),
    ("incr_hits", "incr", "hit"),
    ("incr_misses", "incr", "miss"),
    ("decr_hits", "decr", "hit"),
    ("decr_misses", "decr", "miss"),
    ("cas_hits", "cas", "hit"),
    ("cas_misses", "cas", "miss"),
    ("cas_badval", "cas", "badval"),
    ("touch_hits", "touch", "hit"),
    ("touch_misses", "touch", "miss"),
    ("cmd_flush", "flush", "hit"),
    ("auth_cmds", "auth", "hit"),
    ("auth_errors", "auth", "miss"),
];

/// The same for each slab class.
pub(super) const SLAB_COMMANDS: &[(&str, &str, &str)] = &[
    ("get_hits", "get", "hit"),
    ("delete_hits", "delete", "hit"),
    ("incr_hits", "incr", "hit"),
    ("decr_hits", "decr", "hit"),
    ("cas_hits", "cas", "hit"),
    ("cas_badval", "cas", "badval"),
    ("touch_hits", "touch", "hit"),
];

/// Hits of each slab class by LRU.
pub(super) const LRU_HITS: &[(&str, &str)] =
    &[("hits_to_hot", "hot"), ("hits_to_warm", "warm"), ("hits_to_cold", "cold"), ("hits_to_temp", "temporary")];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// The names of memcached_exporter's metrics after `memcached_`, including those of the proxy and of slab classes.
    const EXPORTER: &str = "\
         up uptime_seconds time_seconds version process_user_cpu_seconds_total \
         process_system_cpu_seconds_total read_bytes_total written_bytes_total current_connections \
         max_connections connections_total connections_rejected_total connections_yielded_total \
         connections_listener_disabled_total current_bytes limit_bytes commands_total current_items \
         items_total items_evicted_total items_reclaimed_total item_too_large_total item_no_memory_total \
         direct_reclaims_total lru_crawler_enabled lru_crawler_sleep lru_crawler_to_crawl \
         lru_crawler_maintainer_thread lru_crawler_hot_percent lru_crawler_warm_percent \
         lru_crawler_hot_max_factor lru_crawler_warm_max_factor lru_crawler_starts_total \
         lru_crawler_reclaimed_total lru_crawler_items_checked_total lru_crawler_moves_to_cold_total \
         lru_crawler_moves_to_warm_total lru_crawler_moves_within_lru_total malloced_bytes slab_current_items \
         slab_items_age_seconds slab_items_crawler_reclaimed_total slab_items_evicted_total \
         slab_items_evicted_nonzero_total slab_items_evicted_time_seconds slab_items_evicted_unfetched_total \
         slab_items_expired_unfetched_total slab_items_outofmemory_total slab_items_reclaimed_total \
         slab_items_tailrepairs_total slab_items_moves_to_cold slab_items_moves_to_warm \
         slab_items_moves_within_lru slab_hot_items slab_warm_items slab_cold_items slab_temporary_items \
         slab_hot_age_seconds slab_warm_age_seconds slab_lru_hits_total slab_chunk_size_bytes \
         slab_chunks_per_page slab_current_pages slab_current_chunks slab_chunks_used slab_chunks_free \
         slab_chunks_free_end slab_mem_requested_bytes slab_commands_total extstore_compact_lost_total \
         extstore_compact_rescued_total extstore_compact_skipped_total extstore_pages_allocated_total \
         extstore_pages_evicted_total extstore_pages_reclaimed_total extstore_pages_free extstore_pages_used \
         extstore_objects_evicted_total extstore_objects_read_total extstore_objects_written_total \
         extstore_objects_used extstore_bytes_evicted_total extstore_bytes_written_total \
         extstore_bytes_read_total extstore_bytes_used extstore_bytes_fragmented extstore_bytes_limit \
         extstore_io_queue_depth accepting_connections proxy_conn_requests_total proxy_conn_errors_total \
         proxy_conn_oom_total proxy_req_active proxy_config_reloads_total proxy_config_reload_fails_total \
         proxy_config_cron_runs_total proxy_config_cron_fails_total proxy_backend_total \
         proxy_backend_marked_bad_total proxy_backend_failed proxy_request_failed_depth_total \
         round_robin_fallback_total unexpected_napi_ids_total";

    #[test]
    fn every_name_of_the_exporter_is_here() {
        // Metrics of more than one statistic.
        let composed = ["up", "version", "commands_total", "slab_commands_total", "slab_lru_hits_total"];
        let names = [GENERAL, SETTINGS, ITEMS, SLABS].concat().into_iter().map(|metric| metric.name);
        let here: HashSet<_> = names.chain(composed).collect();
        let missing: Vec<_> = EXPORTER.split_whitespace().filter(|name| !here.contains(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn names_are_unique_and_have_a_help_text() {
        let mut seen = HashSet::new();
        for metric in [GENERAL, SETTINGS, ITEMS, SLABS].concat() {
            assert!(seen.insert(metric.name), "{} twice", metric.name);
            assert!(metric.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }
}
