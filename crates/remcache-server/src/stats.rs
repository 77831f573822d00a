//! What `stat` tells, by group: names as memcached's, and only what means something here.

use std::sync::atomic::Ordering;

use crate::state::{State, Wires, read};
use crate::store::{ClassSurvey, Counts, Store};

/// Names with their values.
pub(crate) type Statistics = Vec<(String, String)>;

/// The statistics of a group, which may also be an order; `None` if it is unknown.
///
/// memcached looks at the beginning of a group's name only where that is an order.
pub(crate) fn of_group(group: &[u8], store: &mut Store, state: &State) -> Option<Statistics> {
    match group {
        b"" => Some(general(store, state)),
        b"items" => Some(items(store)),
        b"slabs" => Some(slabs(store)),
        b"settings" => Some(settings(store, state)),
        b"sizes" if state.settings.sizes => Some(sizes(store)),
        b"sizes" => Some(vec![named("sizes_status", "disabled")]),
        _ if group.starts_with(b"reset") => Some(reset(store, state)),
        _ => detail(group.strip_prefix(b"detail ")?, store),
    }
}

fn reset(store: &mut Store, state: &State) -> Statistics {
    store.counts = Counts::default();
    store.prefixes.clear();
    state.traffic.reset();
    Vec::new()
}

fn detail(order: &[u8], store: &mut Store) -> Option<Statistics> {
    match order {
        b"on" => store.prefixes.set_counting(true),
        b"off" => store.prefixes.set_counting(false),
        b"dump" => return Some(vec![named("detailed", store.prefixes.dump())]),
        _ => return None,
    }
    Some(Vec::new())
}

fn general(store: &Store, state: &State) -> Statistics {
    let mut all = process(store, state);
    all.extend(counts(&store.counts));
    all.extend([
        named("store_too_large", store.counts.too_large),
        named("store_no_memory", store.counts.no_memory),
        named("auth_cmds", read(&state.traffic.logins)),
        named("auth_errors", read(&state.traffic.failed_logins)),
        named("bytes_read", read(&state.traffic.bytes_read)),
        named("bytes_written", read(&state.traffic.bytes_written)),
        named("limit_maxbytes", store.limits().memory),
        named("accepting_conns", 1),
        named("threads", 1),
        named("bytes", store.bytes()),
        named("curr_items", store.len()),
        named("total_items", store.counts.stored),
        named("evictions", store.counts.evictions),
        named("reclaimed", store.counts.expired),
    ]);
    all
}

fn process(store: &Store, state: &State) -> Statistics {
    let traffic = &state.traffic;
    vec![
        named("pid", std::process::id()),
        named("uptime", store.now().saturating_sub(read(&traffic.started_at))),
        named("time", store.now()),
        named("version", state.settings.version.text()),
        named("pointer_size", usize::BITS),
        named("max_connections", state.settings.max_connections),
        named("curr_connections", traffic.open.load(Ordering::Relaxed)),
        named("total_connections", read(&traffic.accepted)),
        named("rejected_connections", read(&traffic.rejected)),
    ]
}

fn counts(counts: &Counts) -> Statistics {
    let Counts { gets, sets, flushes, touches, get_hits, get_expired, .. } = *counts;
    vec![
        named("cmd_get", gets),
        named("cmd_set", sets),
        named("cmd_flush", flushes),
        named("cmd_touch", touches),
        named("cmd_meta", counts.metas),
        named("get_hits", get_hits),
        named("get_misses", gets.saturating_sub(get_hits)),
        named("get_expired", get_expired),
        named("delete_misses", counts.delete_misses),
        named("delete_hits", counts.delete_hits),
        named("incr_misses", counts.increment_misses),
        named("incr_hits", counts.increment_hits),
        named("decr_misses", counts.decrement_misses),
        named("decr_hits", counts.decrement_hits),
        named("cas_misses", counts.cas_misses),
        named("cas_hits", counts.cas_hits),
        named("cas_badval", counts.cas_mismatches),
        named("touch_hits", counts.touch_hits),
        named("touch_misses", touches.saturating_sub(counts.touch_hits)),
    ]
}

/// By slab class, of those that have items.
fn items(store: &Store) -> Statistics {
    let of_class = |class: ClassSurvey| {
        let number = class.class;
        let told = move |name: &str, value: u64| named(&format!("items:{number}:{name}"), value);
        [
            told("number", class.items as u64),
            told("number_hot", 0),
            told("number_warm", 0),
            told("number_cold", class.items as u64),
            told("age_hot", 0),
            told("age_warm", 0),
            told("age", class.age),
            told("mem_requested", class.bytes as u64),
            told("evicted", class.evicted),
            told("outofmemory", class.no_memory),
            told("reclaimed", class.reclaimed),
        ]
    };
    store.classes().into_iter().flat_map(of_class).collect()
}

fn slabs(store: &Store) -> Statistics {
    let classes = store.classes();
    let of_class = |class: &ClassSurvey| {
        let number = class.class;
        let told = move |name: &str, value: usize| named(&format!("{number}:{name}"), value);
        let chunks = class.pages() * class.chunks_per_page();
        [
            told("chunk_size", class.chunk_size()),
            told("chunks_per_page", class.chunks_per_page()),
            told("total_pages", class.pages()),
            told("total_chunks", chunks),
            told("used_chunks", class.items),
            told("free_chunks", chunks.saturating_sub(class.items)),
            told("free_chunks_end", 0),
        ]
    };
    let total = [
        named("active_slabs", classes.len()),
        named("total_malloced", classes.iter().map(ClassSurvey::allocated).sum::<usize>()),
    ];
    classes.iter().flat_map(of_class).chain(total).collect()
}

fn sizes(store: &Store) -> Statistics {
    store.sizes().into_iter().map(|(size, items)| named(&size.to_string(), items)).collect()
}

fn settings(store: &Store, state: &State) -> Statistics {
    let yes_or_no = |it: bool| if it { "yes" } else { "no" };
    let on_or_off = |it: bool| if it { "on" } else { "off" };
    let (limits, permits) = (store.limits(), state.settings.permits);
    let protocol = match state.wires() {
        Wires::Any => "auto-negotiate",
        Wires::Binary => "binary",
        Wires::Text => "ascii",
    };
    vec![
        named("maxbytes", limits.memory),
        named("maxconns", state.settings.max_connections),
        named("evictions", on_or_off(limits.evicts)),
        named("num_threads", 1),
        named("detail_enabled", yes_or_no(store.prefixes.is_counting())),
        named("cas_enabled", yes_or_no(limits.cas)),
        named("auth_enabled_sasl", yes_or_no(!state.settings.users.is_empty())),
        named("item_size_max", limits.item_size),
        named("maxconns_fast", "yes"),
        named("binding_protocol", protocol),
        named("auth_enabled_ascii", yes_or_no(!state.settings.text_users.is_empty())),
        named("shutdown_command", yes_or_no(permits.shutdown)),
        named("dump_enabled", yes_or_no(permits.dumps)),
        named("track_sizes", yes_or_no(state.settings.sizes)),
        named("flush_enabled", yes_or_no(limits.flush)),
    ]
}

fn named(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}
