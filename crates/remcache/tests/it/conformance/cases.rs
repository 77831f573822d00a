//! The cases of the conformance suite, in the order of the table in docs/protocols.md.

use std::time::{Duration, UNIX_EPOCH};

use remcache::proto::{Feature, MetaOptions, Protocol, Request, Status, Ttl};

use super::case::{Case, absent, case, done, step, with_cas};

const ALL: &[Protocol] = &Protocol::ALL;
const BINARY: &[Protocol] = &[Protocol::Binary];
const META: &[Protocol] = &[Protocol::Meta];
const NOT_TEXT: &[Protocol] = &[Protocol::Binary, Protocol::Meta];
const NOT_BINARY: &[Protocol] = &[Protocol::Meta, Protocol::Text];
const NONE: &[Protocol] = &[];

const MINUTE: Duration = Duration::from_secs(60);
/// A CAS value that differs from that of any item.
const OTHER: u64 = u64::MAX;

pub(crate) fn cases() -> Vec<Case> {
    [fetches(), stores(), extensions(), counters(), removals(), leases(), keys_and_times(), server()]
        .into_iter()
        .flatten()
        .collect()
}

fn fetches() -> Vec<Case> {
    vec![
        case("get: a hit with its flags and CAS value", ALL, || {
            vec![
                done(Request::set("get", "val").flags(7)),
                done(Request::get("get")).value("val").flags(7).key("").returns_cas_on(ALL).no_info(),
            ]
        }),
        case("get: a miss", ALL, || vec![absent(Request::get("get:absent"))]),
        case("get: with the key in the reply", ALL, || {
            vec![
                done(Request::set("get:key", "val")),
                done(Request::get("get:key").with_key()).value("val").key("get:key"),
                absent(Request::get("get:nokey").with_key()).key("get:nokey").value(""),
            ]
        }),
        case("get: a quiet miss", ALL, || vec![absent(Request::get("get:quiet").quiet())]),
        case("get and touch", ALL, || {
            vec![
                absent(Request::get_and_touch("gat", MINUTE)),
                done(Request::set("gat", "val").flags(9)),
                done(Request::get_and_touch("gat", MINUTE)).value("val").flags(9).returns_cas_on(ALL),
                done(Request::get_and_touch("gat", MINUTE).with_key()).value("val").key("gat"),
            ]
        }),
        case("touch", ALL, || {
            vec![
                absent(Request::touch("touch", MINUTE)),
                done(Request::set("touch", "val").flags(9)),
                done(Request::touch("touch", Ttl::Never)).returns_cas_on(NOT_TEXT),
                done(Request::get("touch")).value("val").flags(9),
            ]
        }),
        case("inspect: the metadata of an item", META, || {
            vec![
                done(Request::set("inspect", "val").flags(9).ttl(MINUTE)),
                done(Request::inspect("inspect"))
                    .flags(9)
                    .value("")
                    .info(|info| info.size == Some(3) && info.fetched == Some(false) && info.last_access.is_some()),
                absent(Request::inspect("inspect:absent")),
                done(Request::inspect("inspect")).info(|info| matches!(info.remaining_ttl, Some(Ttl::After(_)))),
            ]
        }),
        case("get: the value only if its CAS value differs", META, || {
            vec![
                done(Request::set("unless", "val")),
                done(Request::get("unless")),
                with_cas(|cas| Request::get("unless").meta(MetaOptions::new().omit_value_if_cas(cas)), Status::NoError)
                    .value(""),
                done(Request::get("unless").meta(MetaOptions::new().omit_value_if_cas(OTHER))).value("val"),
            ]
        })
        .since(Feature::OmitValueIfCas),
        case("debug: the server's description of an item", META, || {
            vec![
                done(Request::set("debug", "val")),
                absent(Request::debug("debug:absent")),
                done(Request::set("debug b", "val")),
                done(Request::debug("debug b")),
                done(Request::debug("debug")),
            ]
        }),
    ]
}

fn stores() -> Vec<Case> {
    vec![
        case("set", ALL, || {
            vec![
                done(Request::set("set", "val").flags(u32::MAX).ttl(MINUTE)).returns_cas_on(NOT_TEXT),
                done(Request::set("set", "other")),
                done(Request::get("set")).value("other").flags(0),
            ]
        }),
        case("set: an empty value, line ends, 100 kB", ALL, || {
            vec![
                done(Request::set("set:any", "")),
                done(Request::get("set:any")).value(""),
                done(Request::set("set:any", "a\r\nEND\r\nEN\r\n")),
                done(Request::get("set:any")).value("a\r\nEND\r\nEN\r\n"),
                done(Request::set("set:any", vec![b'v'; 100_000])),
                done(Request::get("set:any")).value(vec![b'v'; 100_000]),
            ]
        }),
        case("set: quiet", ALL, || {
            vec![done(Request::set("set:quiet", "val").quiet()), done(Request::get("set:quiet")).value("val")]
        }),
        case("set: a value above the server's limit", ALL, || {
            vec![
                step(Request::set("set:large", vec![b'v'; 1_048_570]), Status::ValueTooLarge),
                absent(Request::get("set:large")),
                done(Request::noop()),
            ]
        }),
        case("set with a CAS value", ALL, || {
            vec![
                absent(Request::set("cas", "no").cas(9)),
                done(Request::set("cas", "val")),
                step(Request::set("cas", "no").cas(OTHER), Status::KeyExists),
                done(Request::get("cas")).returns_cas_on(ALL),
                with_cas(|cas| Request::set("cas", "new").cas(cas), Status::NoError),
                done(Request::get("cas")).value("new"),
            ]
        }),
        case("add", ALL, || {
            vec![
                done(Request::add("add", "val").flags(7)),
                step(Request::add("add", "no"), Status::KeyExists),
                done(Request::get("add")).value("val").flags(7),
            ]
        }),
        case("add with a CAS value", NONE, || vec![step(Request::add("add:cas", "no").cas(7), Status::Unsupported)]),
        case("replace", ALL, || {
            vec![
                absent(Request::replace("replace", "no")),
                done(Request::set("replace", "val")),
                done(Request::replace("replace", "new")),
                done(Request::get("replace")).value("new"),
            ]
        }),
        case("replace with a CAS value", ALL, || {
            vec![
                absent(Request::replace("replace:cas", "no").cas(9)),
                done(Request::set("replace:cas", "val")),
                step(Request::replace("replace:cas", "no").cas(OTHER), Status::KeyExists),
            ]
        }),
        case("set: assigning a CAS value", META, || {
            vec![
                done(Request::set("chosen", "val").meta(MetaOptions::new().new_cas(1 << 40))),
                done(Request::set("chosen", "new").cas(1 << 40)),
                done(Request::get("chosen")).value("new"),
                done(Request::set("chosen", "val").meta(MetaOptions::new().new_cas(7))),
            ]
        })
        .since(Feature::NewCas),
    ]
}

fn extensions() -> Vec<Case> {
    vec![
        case("append and prepend", ALL, || {
            vec![
                step(Request::append("extend", "no"), Status::ItemNotStored),
                step(Request::prepend("extend", "no"), Status::ItemNotStored),
                done(Request::set("extend", "val").flags(7)),
                done(Request::append("extend", ">").quiet()),
                done(Request::prepend("extend", "<")),
                done(Request::get("extend")).value("<val>").flags(7),
            ]
        }),
        case("append and prepend with a CAS value", NOT_TEXT, || {
            vec![
                done(Request::set("extend:cas", "val")),
                done(Request::get("extend:cas")),
                with_cas(|cas| Request::append("extend:cas", ">").cas(cas), Status::NoError),
                step(Request::append("extend:no", "x").cas(5), Status::ItemNotStored),
                step(Request::prepend("extend:cas", "no").cas(OTHER), Status::KeyExists),
            ]
        }),
        case("append and prepend: creating the item", META, || {
            let creating = || MetaOptions::new().vivify(MINUTE);
            vec![
                done(Request::append("create", "b").meta(creating())),
                done(Request::get("create")).value("b"),
                done(Request::prepend("create", "a").meta(creating())),
                done(Request::get("create")).value("ab"),
                done(Request::append("create", "c").meta(creating())),
            ]
        })
        .since(Feature::VivifyingAppend),
    ]
}

fn counters() -> Vec<Case> {
    vec![
        case("increment and decrement", ALL, || {
            vec![
                absent(Request::increment("count", 1)),
                done(Request::set("count", "10")),
                done(Request::increment("count", 5)).number(15).returns_cas_on(NOT_TEXT),
                done(Request::decrement("count", 100)).number(0),
                done(Request::set("count", "18446744073709551615")),
                done(Request::increment("count", 2)).number(1),
                done(Request::set("count", "ten")),
                step(Request::increment("count", 1), Status::NonNumericValue),
                done(Request::noop()),
            ]
        }),
        case("increment and decrement: creating the counter", NOT_TEXT, || {
            vec![
                done(Request::increment("count:new", 1).initial(41)).number(41),
                done(Request::increment("count:new", 1).initial(7)).number(42),
                done(Request::decrement("count:down", 1).initial(3).ttl(MINUTE)).number(3),
                done(Request::increment("count:quiet", 1).initial(1).quiet()),
            ]
        }),
        case("increment and decrement with a CAS value", NOT_TEXT, || {
            vec![
                done(Request::set("count:cas", "1")),
                absent(Request::increment("count:no", 1).cas(OTHER)),
                step(Request::increment("count:cas", 1).cas(OTHER), Status::KeyExists),
            ]
        }),
    ]
}

fn removals() -> Vec<Case> {
    vec![
        case("delete", ALL, || {
            vec![
                absent(Request::delete("delete")),
                done(Request::set("delete", "val")),
                done(Request::delete("delete")),
                absent(Request::get("delete")),
                absent(Request::delete("delete").quiet()),
                done(Request::set("delete", "val")),
                done(Request::delete("delete").quiet()),
            ]
        }),
        case("delete with a CAS value", NOT_TEXT, || {
            vec![
                done(Request::set("delete:cas", "val")),
                absent(Request::delete("delete:no").cas(5)),
                step(Request::delete("delete:cas").cas(OTHER), Status::KeyExists),
            ]
        }),
        case("delete: keeping an empty item", META, || {
            let drop = || MetaOptions::new().remove_value();
            vec![
                done(Request::set("drop", "val").flags(7)),
                done(Request::delete("drop").meta(drop())),
                done(Request::get("drop")).value("").flags(0),
                done(Request::delete("drop").meta(drop())),
            ]
        })
        .since(Feature::RemoveValue),
        case("invalidate: marking an item as stale", META, || {
            let stale = || MetaOptions::new().stale().update_ttl(MINUTE);
            vec![
                done(Request::set("stale", "old")),
                done(Request::delete("stale").meta(stale())),
                done(Request::get("stale")).value("old").info(|info| info.stale && info.won),
                done(Request::get("stale")).value("old").info(|info| info.stale && info.already_won),
                done(Request::set("stale", "new")),
                done(Request::get("stale")).value("new").no_info(),
                done(Request::delete("stale").meta(stale())),
            ]
        }),
    ]
}

fn leases() -> Vec<Case> {
    vec![
        case("lease: one caller that misses refills the item", META, || {
            let lease = || Request::get("lease").meta(MetaOptions::new().vivify(MINUTE));
            vec![
                done(lease()).value("").info(|info| info.won && !info.already_won),
                done(lease()).value("").info(|info| info.already_won && !info.won),
                step(Request::set("lease", "late").cas(OTHER), Status::KeyExists),
                done(Request::set("lease", "fresh")),
                done(lease()).value("fresh").no_info(),
            ]
        }),
        case("refresh: one caller that hits an old item refills it", META, || {
            let fetch = || Request::get("recache").meta(MetaOptions::new().recache(2 * MINUTE));
            vec![
                done(Request::set("recache", "val").ttl(MINUTE)),
                done(fetch()).value("val").info(|info| info.won),
                done(fetch()).value("val").info(|info| info.already_won),
            ]
        }),
    ]
}

fn keys_and_times() -> Vec<Case> {
    vec![
        case("keys of 250 printable bytes, UTF-8 too", ALL, || {
            let long = || "key-of-250-bytes".repeat(16)[..250].to_owned();
            vec![
                done(Request::set(long(), "long")),
                done(Request::get(long()).with_key()).value("long").key(long()),
                done(Request::set("\u{43a}\u{43b}\u{44e}\u{447}", "utf-8")),
                done(Request::get("\u{43a}\u{43b}\u{44e}\u{447}").with_key()).key("\u{43a}\u{43b}\u{44e}\u{447}"),
            ]
        }),
        case("keys with spaces and control bytes, up to 186 bytes", NOT_TEXT, || {
            vec![
                done(Request::set("a b\r\n\0\x7f", "val").flags(3)),
                done(Request::get("a b\r\n\0\x7f").with_key()).value("val").key("a b\r\n\0\x7f").flags(3),
                absent(Request::get("absent \r\n").with_key()).key("absent \r\n"),
                done(Request::delete("a b\r\n\0\x7f")),
                done(Request::set(" ".repeat(186), "val")),
            ]
        }),
        case("keys with spaces and control bytes, 187 to 250 bytes", BINARY, || {
            vec![done(Request::set(" ".repeat(250), "val"))]
        }),
        case("storing an item that is already expired", ALL, || {
            vec![done(Request::set("expired", "x").ttl(Ttl::Expired)), absent(Request::get("expired"))]
        }),
        case("TTLs that end after January 2038, on meta and text shortened to that", ALL, || {
            let at = |seconds| Ttl::At(UNIX_EPOCH + Duration::from_secs(seconds));
            vec![
                done(Request::set("late", "val").ttl(at(1 << 31))),
                done(Request::get("late")).value("val"),
                done(Request::add("later", "val").ttl(at(7_258_118_400))),
                done(Request::touch("later", at(1 << 31))),
                done(Request::get_and_touch("later", at(7_258_118_400))).value("val"),
            ]
        }),
    ]
}

fn server() -> Vec<Case> {
    vec![
        case("no-op", ALL, || vec![done(Request::noop()).value("")]),
        case("version", ALL, || vec![done(Request::version())]),
        case("statistics, by group", ALL, || {
            vec![
                done(Request::set("stats", "val")),
                done(Request::stat("")).listed(20),
                done(Request::stat("settings")).listed(2),
                done(Request::stat("items")).listed(1),
                done(Request::stat("slabs")).listed(2),
                done(Request::stat("sizes")).listed(1),
                done(Request::stat("reset")),
                step(Request::stat("no such group"), Status::KeyNotFound),
                done(Request::noop()),
            ]
        }),
        case("flush, immediate and delayed", ALL, || {
            vec![
                done(Request::flush().ttl(Duration::from_secs(3600))),
                done(Request::set("flush", "val")),
                done(Request::get("flush")),
                done(Request::flush()),
                absent(Request::get("flush")),
            ]
        }),
        case("verbosity", NOT_BINARY, || vec![done(Request::verbosity(0))]),
        case("metadump: every item", NOT_BINARY, || {
            vec![done(Request::set("dump", "val")), done(Request::metadump("all")).listed(1)]
        }),
        case("mgdump: every key", NOT_BINARY, || {
            vec![done(Request::set("dump:key", "val")), done(Request::mgdump("all")).listed(1)]
        })
        .since(Feature::Mgdump),
        case("memory limit, slabs, LRU, its crawler", NOT_BINARY, || {
            vec![
                done(Request::memory_limit(100)),
                step(Request::memory_limit(7), Status::InvalidArguments),
                done(Request::slabs("automove 1")),
                step(Request::slabs("reassign 1 1"), Status::InvalidArguments),
                done(Request::lru("mode segmented")),
                done(Request::lru_crawler("crawl all")),
            ]
        }),
        case("configuration of a cluster", NOT_BINARY, || {
            vec![step(Request::cluster_config(), Status::UnknownCommand)]
        }),
        case("SASL: the mechanisms", BINARY, || vec![step(Request::sasl_list(), Status::UnknownCommand)]),
        case("quit", ALL, || vec![done(Request::quit())]),
    ]
}
