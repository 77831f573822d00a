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

const fn new_counter(stat: &'static str, name: &'static str, help: &'static str) -> Metric {
    Metric { stat, name, kind: MetricKind::Counter, help }
}

const fn new_gauge(stat: &'static str, name: &'static str, help: &'static str) -> Metric {
    Metric { stat, name, kind: MetricKind::Gauge, help }
}

const fn new_untyped(stat: &'static str, name: &'static str, help: &'static str) -> Metric {
    Metric { stat, name, kind: MetricKind::Untyped, help }
}

/// Of the general statistics.
pub(super) const GENERAL: &[Metric] = &[
    new_gauge("uptime", "uptime_seconds", "Seconds since the server started."),
    new_gauge("time", "time_seconds", "The server's clock, as seconds since 1970."),
    new_counter("rusage_user", "process_user_cpu_seconds_total", "Processor time of the server in its own code."),
    new_counter("rusage_system", "process_system_cpu_seconds_total", "Processor time of the server in the kernel."),
    new_counter("bytes_read", "read_bytes_total", "Bytes that the server has read from the network."),
    new_counter("bytes_written", "written_bytes_total", "Bytes that the server has sent to the network."),
    new_gauge("curr_connections", "current_connections", "Connections that are open."),
    new_gauge("max_connections", "max_connections", "Connections that may be open at a time."),
    new_counter("total_connections", "connections_total", "Connections opened since the start."),
    new_counter(
        "rejected_connections",
        "connections_rejected_total",
        "Connections refused because there were too many.",
    ),
    new_counter("conn_yields", "connections_yielded_total", "Times a connection had to let others go first (-R)."),
    new_counter(
        "listen_disabled_num",
        "connections_listener_disabled_total",
        "Times the server stopped accepting connections.",
    ),
    new_gauge("bytes", "current_bytes", "Bytes that items take."),
    new_gauge("limit_maxbytes", "limit_bytes", "Bytes that items may take."),
    new_gauge("curr_items", "current_items", "Items that are stored."),
    new_counter("total_items", "items_total", "Items stored since the start."),
    new_counter("evictions", "items_evicted_total", "Valid items removed to make room."),
    new_counter("reclaimed", "items_reclaimed_total", "Times the memory of an expired item was used again."),
    new_counter("store_too_large", "item_too_large_total", "Stores refused because the item was too large."),
    new_counter("store_no_memory", "item_no_memory_total", "Stores refused because there was no memory."),
    new_counter("direct_reclaims", "direct_reclaims_total", "Times a worker thread had to make room itself."),
    new_gauge("accepting_conns", "accepting_connections", "Whether the server accepts connections now."),
    new_gauge("total_malloced", "malloced_bytes", "Bytes taken for slab pages."),
    new_counter("lru_crawler_starts", "lru_crawler_starts_total", "Times the LRU crawler was started."),
    new_counter("crawler_reclaimed", "lru_crawler_reclaimed_total", "Items freed by the LRU crawler."),
    new_counter("crawler_items_checked", "lru_crawler_items_checked_total", "Items looked at by the LRU crawler."),
    new_counter(
        "moves_to_cold",
        "lru_crawler_moves_to_cold_total",
        "Items moved from the hot or warm LRU to the cold one.",
    ),
    new_counter("moves_to_warm", "lru_crawler_moves_to_warm_total", "Items moved from the cold LRU to the warm one."),
    new_counter(
        "moves_within_lru",
        "lru_crawler_moves_within_lru_total",
        "Items moved within the hot or the warm LRU.",
    ),
    new_counter(
        "extstore_compact_lost",
        "extstore_compact_lost_total",
        "Items lost while flash storage was compacted.",
    ),
    new_counter(
        "extstore_compact_rescues",
        "extstore_compact_rescued_total",
        "Items moved to a new page while flash storage was compacted.",
    ),
    new_counter(
        "extstore_compact_skipped",
        "extstore_compact_skipped_total",
        "Items dropped as unused while flash storage was compacted.",
    ),
    new_counter("extstore_page_allocs", "extstore_pages_allocated_total", "Pages of flash storage taken."),
    new_counter("extstore_page_evictions", "extstore_pages_evicted_total", "Pages of flash storage evicted."),
    new_counter("extstore_page_reclaims", "extstore_pages_reclaimed_total", "Empty pages of flash storage freed."),
    new_gauge("extstore_pages_free", "extstore_pages_free", "Pages of flash storage without items."),
    new_gauge("extstore_pages_used", "extstore_pages_used", "Pages of flash storage with items."),
    new_counter("extstore_objects_evicted", "extstore_objects_evicted_total", "Items evicted from flash storage."),
    new_counter("extstore_objects_read", "extstore_objects_read_total", "Items read from flash storage."),
    new_counter("extstore_objects_written", "extstore_objects_written_total", "Items written to flash storage."),
    new_gauge("extstore_objects_used", "extstore_objects_used", "Items in flash storage."),
    new_counter("extstore_bytes_evicted", "extstore_bytes_evicted_total", "Bytes evicted from flash storage."),
    new_counter("extstore_bytes_written", "extstore_bytes_written_total", "Bytes written to flash storage."),
    new_counter("extstore_bytes_read", "extstore_bytes_read_total", "Bytes read from flash storage."),
    new_gauge("extstore_bytes_used", "extstore_bytes_used", "Bytes that items take in flash storage."),
    new_gauge(
        "extstore_bytes_fragmented",
        "extstore_bytes_fragmented",
        "Bytes of used pages of flash storage that hold no item.",
    ),
    new_gauge("extstore_limit_maxbytes", "extstore_bytes_limit", "Bytes of flash storage."),
    new_gauge("extstore_io_queue", "extstore_io_queue_depth", "Items waiting to be read or written."),
    new_counter("proxy_conn_requests", "proxy_conn_requests_total", "Requests of clients to the proxy."),
    new_counter("proxy_conn_errors", "proxy_conn_errors_total", "Errors of the connections of clients of the proxy."),
    new_counter("proxy_conn_oom", "proxy_conn_oom_total", "Times the proxy had no memory for a request."),
    new_gauge("proxy_req_active", "proxy_req_active", "Requests that the proxy works on now."),
    new_counter("proxy_config_reloads", "proxy_config_reloads_total", "Times the proxy read its configuration again."),
    new_counter(
        "proxy_config_reload_fails",
        "proxy_config_reload_fails_total",
        "Times the proxy could not read its configuration again.",
    ),
    new_counter(
        "proxy_config_cron_runs",
        "proxy_config_cron_runs_total",
        "Times a timer of the proxy's configuration ran.",
    ),
    new_counter(
        "proxy_config_cron_fails",
        "proxy_config_cron_fails_total",
        "Times a timer of the proxy's configuration failed.",
    ),
    new_gauge("proxy_backend_total", "proxy_backend_total", "Servers behind the proxy."),
    new_counter(
        "proxy_backend_marked_bad",
        "proxy_backend_marked_bad_total",
        "Times a server behind the proxy was taken for bad.",
    ),
    new_gauge("proxy_backend_failed", "proxy_backend_failed", "Failures of servers behind the proxy."),
    new_counter(
        "proxy_request_failed_depth",
        "proxy_request_failed_depth_total",
        "Requests refused because too many waited for a server behind the proxy.",
    ),
    new_counter(
        "round_robin_fallback",
        "round_robin_fallback_total",
        "Connections given to a thread in turn for want of a hint.",
    ),
    new_counter("unexpected_napi_ids", "unexpected_napi_ids_total", "Connections whose network queue was not known."),
];

/// Of the settings.
pub(super) const SETTINGS: &[Metric] = &[
    new_gauge("lru_crawler", "lru_crawler_enabled", "Whether the LRU crawler runs."),
    new_gauge("lru_crawler_sleep", "lru_crawler_sleep", "Microseconds between two steps of the LRU crawler."),
    new_gauge(
        "lru_crawler_tocrawl",
        "lru_crawler_to_crawl",
        "Items that a run of the LRU crawler looks at in a slab class.",
    ),
    new_gauge(
        "lru_maintainer_thread",
        "lru_crawler_maintainer_thread",
        "Whether the LRU is kept by a thread of its own.",
    ),
    new_gauge("hot_lru_pct", "lru_crawler_hot_percent", "Percent of a slab class for the hot LRU."),
    new_gauge("warm_lru_pct", "lru_crawler_warm_percent", "Percent of a slab class for the warm LRU."),
    new_gauge("hot_max_factor", "lru_crawler_hot_max_factor", "Age of the hot LRU as a share of the cold one's."),
    new_gauge("warm_max_factor", "lru_crawler_warm_max_factor", "Age of the warm LRU as a share of the cold one's."),
];

/// Of each slab class's items.
pub(super) const ITEMS: &[Metric] = &[
    new_gauge("number", "slab_current_items", "Items in the slab class."),
    new_gauge("age", "slab_items_age_seconds", "Age of the oldest item of the slab class."),
    new_counter(
        "crawler_reclaimed",
        "slab_items_crawler_reclaimed_total",
        "Items of the slab class freed by the LRU crawler.",
    ),
    new_counter("evicted", "slab_items_evicted_total", "Items of the slab class evicted before they expired."),
    new_counter(
        "evicted_nonzero",
        "slab_items_evicted_nonzero_total",
        "Items with a time to live evicted before it was over.",
    ),
    new_gauge(
        "evicted_time",
        "slab_items_evicted_time_seconds",
        "Seconds since the last access to the item evicted last.",
    ),
    new_counter("evicted_unfetched", "slab_items_evicted_unfetched_total", "Items evicted and never fetched."),
    new_counter("expired_unfetched", "slab_items_expired_unfetched_total", "Items expired and never fetched."),
    new_counter("outofmemory", "slab_items_outofmemory_total", "Stores of the slab class that found no memory."),
    new_counter("reclaimed", "slab_items_reclaimed_total", "Times the memory of an expired item was used again."),
    new_counter("tailrepairs", "slab_items_tailrepairs_total", "Times an item stuck at the tail had to be repaired."),
    new_untyped("moves_to_cold", "slab_items_moves_to_cold", "Items moved to the cold LRU."),
    new_untyped("moves_to_warm", "slab_items_moves_to_warm", "Items moved to the warm LRU."),
    new_untyped("moves_within_lru", "slab_items_moves_within_lru", "Items moved within the hot or the warm LRU."),
    new_gauge("number_hot", "slab_hot_items", "Items in the hot LRU."),
    new_gauge("number_warm", "slab_warm_items", "Items in the warm LRU."),
    new_gauge("number_cold", "slab_cold_items", "Items in the cold LRU."),
    new_gauge("number_temp", "slab_temporary_items", "Items in the temporary LRU."),
    new_gauge("age_hot", "slab_hot_age_seconds", "Age of the oldest item in the hot LRU."),
    new_gauge("age_warm", "slab_warm_age_seconds", "Age of the oldest item in the warm LRU."),
    new_gauge("mem_requested", "slab_mem_requested_bytes", "Bytes that the items of the slab class really need."),
];

/// Of each slab class's pages.
pub(super) const SLABS: &[Metric] = &[
    new_gauge("chunk_size", "slab_chunk_size_bytes", "Bytes of a chunk."),
    new_gauge("chunks_per_page", "slab_chunks_per_page", "Chunks of a page."),
    new_gauge("total_pages", "slab_current_pages", "Pages of the slab class."),
    new_gauge("total_chunks", "slab_current_chunks", "Chunks of the slab class."),
    new_gauge("used_chunks", "slab_chunks_used", "Chunks that hold an item."),
    new_gauge("free_chunks", "slab_chunks_free", "Chunks without an item."),
    new_gauge("free_chunks_end", "slab_chunks_free_end", "Free chunks at the end of the last page."),
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
