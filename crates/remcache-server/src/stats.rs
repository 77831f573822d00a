//! Statistics by group. The names are memcached's; only those that mean something here are reported.

use std::sync::atomic::Ordering;

use crate::settings::BindingProtocol;
use crate::state::{ServerState, read};
use crate::store::{ClassStats, Counters, Store};

/// Names with their values.
pub(crate) type Stats = Vec<(String, String)>;

/// Returns the statistics of a group, or executes the command that is named like one. Returns `None` if it is unknown.
///
/// Like memcached, this compares groups as a whole but commands by their prefix.
pub(crate) fn group(name: &[u8], store: &mut Store, state: &ServerState) -> Option<Stats> {
    match name {
        b"" => Some(general(store, state)),
        b"items" => Some(items(store)),
        b"slabs" => Some(slabs(store)),
        b"settings" => Some(settings(store, state)),
        b"sizes" if state.settings.track_sizes => Some(sizes(store)),
        b"sizes" => Some(vec![stat("sizes_status", "disabled")]),
        _ if name.starts_with(b"reset") => Some(reset(store, state)),
        _ => detail(name.strip_prefix(b"detail ")?, store),
    }
}

fn reset(store: &mut Store, state: &ServerState) -> Stats {
    store.counters = Counters::default();
    store.prefix_stats.clear();
    state.traffic.reset();
    Vec::new()
}

fn detail(command: &[u8], store: &mut Store) -> Option<Stats> {
    match command {
        b"on" => store.prefix_stats.set_enabled(true),
        b"off" => store.prefix_stats.set_enabled(false),
        b"dump" => return Some(vec![stat("detailed", store.prefix_stats.dump())]),
        _ => return None,
    }
    Some(Vec::new())
}

fn general(store: &Store, state: &ServerState) -> Stats {
    let traffic = &state.traffic;
    let mut stats = process(store, state);
    stats.extend(operations(&store.counters));
    stats.extend([
        stat("store_too_large", store.counters.too_large),
        stat("store_no_memory", store.counters.no_memory),
        stat("auth_cmds", read(&traffic.auth_attempts)),
        stat("auth_errors", read(&traffic.auth_failures)),
        stat("bytes_read", read(&traffic.bytes_read)),
        stat("bytes_written", read(&traffic.bytes_written)),
        stat("limit_maxbytes", store.limits().memory),
        stat("accepting_conns", 1),
        stat("threads", 1),
        stat("bytes", store.bytes()),
        stat("curr_items", store.len()),
        stat("total_items", store.counters.stored),
        stat("evictions", store.counters.evictions),
        stat("reclaimed", store.counters.expired),
    ]);
    stats
}

fn process(store: &Store, state: &ServerState) -> Stats {
    let traffic = &state.traffic;
    vec![
        stat("pid", std::process::id()),
        stat("uptime", store.now().saturating_sub(read(&traffic.started_at))),
        stat("time", store.now()),
        stat("version", state.settings.version.text()),
        stat("pointer_size", usize::BITS),
        stat("max_connections", state.settings.max_connections),
        stat("curr_connections", traffic.open.load(Ordering::Relaxed)),
        stat("total_connections", read(&traffic.accepted)),
        stat("rejected_connections", read(&traffic.rejected)),
    ]
}

fn operations(counters: &Counters) -> Stats {
    let Counters { gets, sets, flushes, touches, get_hits, get_expired, .. } = *counters;
    vec![
        stat("cmd_get", gets),
        stat("cmd_set", sets),
        stat("cmd_flush", flushes),
        stat("cmd_touch", touches),
        stat("cmd_meta", counters.metas),
        stat("get_hits", get_hits),
        stat("get_misses", gets.saturating_sub(get_hits)),
        stat("get_expired", get_expired),
        stat("delete_misses", counters.delete_misses),
        stat("delete_hits", counters.delete_hits),
        stat("incr_misses", counters.increment_misses),
        stat("incr_hits", counters.increment_hits),
        stat("decr_misses", counters.decrement_misses),
        stat("decr_hits", counters.decrement_hits),
        stat("cas_misses", counters.cas_misses),
        stat("cas_hits", counters.cas_hits),
        stat("cas_badval", counters.cas_mismatches),
        stat("touch_hits", counters.touch_hits),
        stat("touch_misses", touches.saturating_sub(counters.touch_hits)),
    ]
}

/// Returns the statistics of the slab classes that have items. There is one LRU list, which is reported as "cold".
fn items(store: &Store) -> Stats {
    let of_class = |class: ClassStats| {
        let number = class.class;
        let class_stat = move |name: &str, value: u64| stat(&format!("items:{number}:{name}"), value);
        [
            class_stat("number", class.items as u64),
            class_stat("number_hot", 0),
            class_stat("number_warm", 0),
            class_stat("number_cold", class.items as u64),
            class_stat("age_hot", 0),
            class_stat("age_warm", 0),
            class_stat("age", class.age),
            class_stat("mem_requested", class.bytes as u64),
            class_stat("evicted", class.evicted),
            class_stat("outofmemory", class.no_memory),
            class_stat("reclaimed", class.reclaimed),
        ]
    };
    store.classes().into_iter().flat_map(of_class).collect()
}

fn slabs(store: &Store) -> Stats {
    let classes = store.classes();
    let of_class = |class: &ClassStats| {
        let number = class.class;
        let class_stat = move |name: &str, value: usize| stat(&format!("{number}:{name}"), value);
        let chunks = class.pages() * class.chunks_per_page();
        [
            class_stat("chunk_size", class.chunk_size()),
            class_stat("chunks_per_page", class.chunks_per_page()),
            class_stat("total_pages", class.pages()),
            class_stat("total_chunks", chunks),
            class_stat("used_chunks", class.items),
            class_stat("free_chunks", chunks.saturating_sub(class.items)),
            class_stat("free_chunks_end", 0),
        ]
    };
    let total = [
        stat("active_slabs", classes.len()),
        stat("total_malloced", classes.iter().map(ClassStats::allocated).sum::<usize>()),
    ];
    classes.iter().flat_map(of_class).chain(total).collect()
}

fn sizes(store: &Store) -> Stats {
    store.sizes().into_iter().map(|(size, items)| stat(&size.to_string(), items)).collect()
}

fn settings(store: &Store, state: &ServerState) -> Stats {
    let yes_no = |value: bool| if value { "yes" } else { "no" };
    let on_off = |value: bool| if value { "on" } else { "off" };
    let (limits, settings) = (store.limits(), &state.settings);
    let permissions = settings.permissions;
    let protocol = match settings.binding_protocol() {
        BindingProtocol::Auto => "auto-negotiate",
        BindingProtocol::Binary => "binary",
        BindingProtocol::Text => "ascii",
    };
    vec![
        stat("maxbytes", limits.memory),
        stat("maxconns", settings.max_connections),
        stat("evictions", on_off(limits.evictions)),
        stat("num_threads", 1),
        stat("detail_enabled", yes_no(store.prefix_stats.is_enabled())),
        stat("cas_enabled", yes_no(limits.cas)),
        stat("auth_enabled_sasl", yes_no(!settings.sasl_users.is_empty())),
        stat("item_size_max", limits.item_size),
        stat("maxconns_fast", "yes"),
        stat("binding_protocol", protocol),
        stat("auth_enabled_ascii", yes_no(!settings.text_users.is_empty())),
        stat("shutdown_command", yes_no(permissions.shutdown)),
        stat("dump_enabled", yes_no(permissions.dumps)),
        stat("track_sizes", yes_no(settings.track_sizes)),
        stat("flush_enabled", yes_no(limits.flush)),
    ]
}

fn stat(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}
