//! Why a server evicts items: because it is full, or because its memory is in other slab classes.

use super::{ServerInfo, Verdict};
use crate::output::number;
use crate::stats::Stats;

/// Reports evictions if more than a twentieth of the stored items were evicted, or some are right now.
pub(super) fn evictions(info: &ServerInfo) -> Option<Verdict> {
    let (evicted, stored) = (info.general.number("evictions")?, info.general.number("total_items")?);
    let rate = recent_rate(info);
    let is_frequent = evicted > 0 && evicted.saturating_mul(20) > stored;
    Some(match is_frequent || rate.is_some_and(|rate| rate > 0.0) {
        true => explain(info, evicted, stored, rate),
        false => Verdict::good(few(info, evicted, rate), evicted as f64),
    })
}

/// Describes evictions that are too few to be a problem.
fn few(info: &ServerInfo, evicted: u64, rate: Option<f64>) -> String {
    if evicted == 0 {
        return "none since the server started".into();
    }
    let now = if rate.is_some() { "none in the last second, " } else { "" };
    let class = evicting_class(info).map(|class| format!(", the most in slab class {}", class.number));
    format!("{now}{} since the server started{}", number::exact(evicted), class.unwrap_or_default())
}

/// Explains evictions by the memory of the server and of its slab classes.
fn explain(info: &ServerInfo, evicted: u64, stored: u64, rate: Option<f64>) -> Verdict {
    let now = match rate {
        Some(rate) if rate > 0.0 => format!(", {} a second now", number::rate(rate)),
        Some(_) => ", none in the last second".into(),
        None => String::new(),
    };
    let counted = format!("{} of {} stored items were evicted{now}", number::exact(evicted), number::exact(stored));
    // A flush explains that little memory is used now, whatever was the case when items were evicted.
    let was_flushed = info.general.number("cmd_flush").is_some_and(|flushes| flushes > 0);
    if was_flushed && rate.is_none_or(|rate| rate == 0.0) {
        let advice =
            "it was flushed since it started, so its memory now does not show why: run doctor again while it evicts";
        return Verdict::problem(counted, advice);
    }
    match (used_percent(info), evicting_class(info)) {
        (Some(used), Some(class)) if used < MOSTLY_USED => {
            let problem = format!(
                "{counted}, although memory is {used:.0} % used: slab class {} (items up to {}) has {} of {} pages",
                class.number,
                number::bytes(class.chunk_size),
                number::exact(class.pages),
                number::exact(class.all_pages),
            );
            Verdict::problem(problem, rebalancing_advice(&info.settings))
        }
        _ => Verdict::problem(counted, "its memory is too small: raise -m, add servers, or shorten TTLs"),
    }
}

/// The percentage of used memory from which a server counts as full: pages are never filled completely.
const MOSTLY_USED: f64 = 60.0;

/// A slab class that evicts.
#[derive(Debug, PartialEq, Eq)]
struct EvictingClass<'s> {
    number: &'s str,
    chunk_size: u64,
    pages: u64,
    /// Pages of all classes.
    all_pages: u64,
}

fn recent_rate(info: &ServerInfo) -> Option<f64> {
    let (before, elapsed) = info.before.as_ref()?;
    let evicted = info.general.number("evictions")?.checked_sub(before.number("evictions")?)?;
    Some(evicted as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE))
}

fn used_percent(info: &ServerInfo) -> Option<f64> {
    let limit = info.general.number("limit_maxbytes").filter(|&limit| limit > 0)?;
    Some(100.0 * info.general.number("bytes")? as f64 / limit as f64)
}

/// Returns the slab class that has evicted most.
fn evicting_class(info: &ServerInfo) -> Option<EvictingClass<'_>> {
    let evicted = info.items.iter().filter_map(|(name, value)| {
        let class = name.strip_prefix("items:")?.strip_suffix(":evicted")?;
        Some((value.parse::<u64>().ok().filter(|&evicted| evicted > 0)?, class))
    });
    let (_, number) = evicted.max()?;
    let pages = |name: &str, value: &str| name.ends_with(":total_pages").then(|| value.parse::<u64>().ok())?;
    Some(EvictingClass {
        number,
        chunk_size: info.slabs.number(&format!("{number}:chunk_size"))?,
        pages: info.slabs.number(&format!("{number}:total_pages"))?,
        all_pages: info.slabs.iter().filter_map(|(name, value)| pages(name, value)).sum(),
    })
}

fn rebalancing_advice(settings: &Stats) -> &'static str {
    match (settings.text("slab_reassign"), settings.text("slab_automove")) {
        (Some("no"), _) => "other classes hold the memory: start it with -o slab_reassign,slab_automove",
        (_, Some("0")) => {
            "other classes hold the memory: start it with -o slab_automove=1, or run slabs automove 1 in remcache shell"
        }
        _ => {
            "other classes hold the memory, and it moves pages only slowly: see remcache stats slabs; a restart frees them at once"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Finding;
    use super::*;
    use std::time::Duration;

    fn finding(info: &ServerInfo) -> Finding {
        evictions(info).unwrap().finding().clone()
    }

    fn info(used: &str, before: &str) -> ServerInfo {
        let general = [("evictions", "60"), ("total_items", "1000"), ("bytes", used), ("limit_maxbytes", "100")];
        let earlier = [("evictions", before)];
        let items = [("items:5:evicted", "50"), ("items:7:evicted", "10"), ("items:9:evicted", "0")];
        let slabs = [("5:chunk_size", "240"), ("5:total_pages", "1"), ("30:total_pages", "63")];
        ServerInfo {
            general: general.into_iter().collect(),
            items: items.into_iter().collect(),
            slabs: slabs.into_iter().collect(),
            before: Some((earlier.into_iter().collect(), Duration::from_secs(2))),
            ..ServerInfo::default()
        }
    }

    #[test]
    fn a_full_server_needs_memory() {
        let finding = finding(&info("90", "40"));
        assert_eq!(finding.problem, "60 of 1,000 stored items were evicted, 10 a second now");
        assert!(finding.advice.contains("raise -m"), "{finding:?}");
    }

    #[test]
    fn a_server_with_free_memory_has_it_in_other_slab_classes() {
        let found = finding(&info("11", "60"));
        let expected = "60 of 1,000 stored items were evicted, none in the last second, although memory is 11 % used: \
                        slab class 5 (items up to 240B) has 1 of 64 pages";
        assert_eq!(found.problem, expected);
        assert!(!found.advice.contains("raise -m") && found.advice.contains("stats slabs"), "{found:?}");
        for (settings, word) in [([("slab_reassign", "no")], "slab_reassign"), ([("slab_automove", "0")], "automove 1")]
        {
            let info = ServerInfo { settings: settings.into_iter().collect(), ..info("11", "60") };
            assert!(finding(&info).advice.contains(word), "{word}");
        }
    }

    #[test]
    fn a_flush_hides_the_reason_of_earlier_evictions() {
        let flushed = |before: &str| {
            let info = info("11", before);
            let general = info.general.iter().chain([("cmd_flush", "1")]).collect();
            finding(&ServerInfo { general, ..info })
        };
        let finding = flushed("60");
        assert_eq!(finding.problem, "60 of 1,000 stored items were evicted, none in the last second");
        assert!(finding.advice.contains("flushed") && !finding.advice.contains("slab"), "{finding:?}");
        assert!(flushed("40").problem.contains("slab class 5"), "it evicts now");
    }

    #[test]
    fn few_evictions_count_only_while_they_happen() {
        let few = |before: &str| {
            let general = [("evictions", "10"), ("total_items", "1000")];
            let earlier = [("evictions", before)];
            let before = Some((earlier.into_iter().collect(), Duration::from_secs(1)));
            ServerInfo { general: general.into_iter().collect(), before, ..ServerInfo::default() }
        };
        let figure = "none in the last second, 10 since the server started";
        assert_eq!(evictions(&few("10")), Some(Verdict::good(figure, 10.0)));
        assert!(finding(&few("5")).problem.ends_with("5.0 a second now"));
    }

    #[test]
    fn ended_evictions_are_reported_with_their_slab_class() {
        let info = |evictions: &'static str| {
            let general = [("evictions", evictions), ("total_items", "10000")];
            ServerInfo { general: general.into_iter().collect(), ..info("11", evictions) }
        };
        let figure = "none in the last second, 60 since the server started, the most in slab class 5";
        assert_eq!(evictions(&info("60")), Some(Verdict::good(figure, 60.0)));
        assert_eq!(evictions(&info("0")), Some(Verdict::good("none since the server started", 0.0)));
    }
}
