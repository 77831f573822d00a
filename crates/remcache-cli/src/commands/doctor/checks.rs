//! The checks that `doctor` runs on the statistics of a server.

use std::time::{SystemTime, UNIX_EPOCH};

use super::evictions::evictions;
use super::{ServerInfo, Verdict};
use crate::output::number;

/// A check: its name, and a function that returns its verdict; `None` if the server does not report what it needs.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) run: fn(&ServerInfo) -> Option<Verdict>,
}

pub(super) const CHECKS: &[Check] = &[
    Check { name: "version", run: version },
    Check { name: "certificate", run: certificate },
    Check { name: "clock", run: clock },
    Check { name: "connections", run: connections },
    Check { name: "refusals", run: refusals },
    Check { name: "evictions", run: evictions },
    Check { name: "memory", run: memory },
    Check { name: "CAS", run: cas },
    Check { name: "item size", run: item_size },
    Check { name: "too large", run: too_large },
];

/// Reads a version as numbers.
fn release(text: &str) -> Option<(u32, u32, u32)> {
    // Packages may add a suffix: 1.4.24-Ubuntu.
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let mut parts = text[..end].split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

/// Versions from which a problem is fixed, by memcached's release notes.
const FIXES: &[((u32, u32, u32), &str, &str)] = &[
    (
        (1, 6, 2),
        "a malformed request can crash it",
        "update the server: before 1.6.2 a remote client can end 1.6.0 and 1.6.1",
    ),
    (
        (1, 6, 45),
        "it lacks security fixes",
        "update the server, unless its distribution has backported them: 1.6.42 to 1.6.45 fix crashes and an overflow",
    ),
];

fn version(info: &ServerInfo) -> Option<Verdict> {
    // The embedded server reports the version that it behaves like; memcached reports its libevent too.
    info.general.text("libevent")?;
    let text = info.general.text("version")?;
    let release = release(text)?;
    Some(match FIXES.iter().find(|(fixed, ..)| release < *fixed) {
        Some((_, problem, advice)) => Verdict::problem(format!("{problem}: {text}"), *advice),
        None => {
            let (major, minor, patch) = release;
            Verdict::good(text, -(f64::from(major) * 1e12 + f64::from(minor) * 1e6 + f64::from(patch)))
        }
    })
}

fn certificate(info: &ServerInfo) -> Option<Verdict> {
    // A certificate that has expired is refused by the handshake.
    let expiry = info.expiry?;
    let (remaining, date) = (number::age(expiry.remaining), expiry.date());
    Some(match expiry.remaining < info.expiry_margin.as_secs() {
        true => Verdict::problem(
            format!("its certificate expires in {remaining}, on {date}"),
            "renew it before then; memcached reads changed files after the command refresh_certs",
        ),
        false => Verdict::good(format!("expires in {remaining}, on {date}"), -(expiry.remaining as f64)),
    })
}

fn clock(info: &ServerInfo) -> Option<Verdict> {
    let server = info.general.number("time")?;
    let here = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let difference = server.abs_diff(here);
    Some(match difference {
        ..=MAX_CLOCK_DIFFERENCE => Verdict::good(format!("within {MAX_CLOCK_DIFFERENCE}s of this machine's"), 0.0),
        _ => Verdict::problem(
            format!("its clock differs from this machine's by {}", number::age(difference)),
            "TTLs beyond 30 days are absolute times and will be wrong: synchronize the clocks by NTP",
        ),
    })
}

/// In seconds.
const MAX_CLOCK_DIFFERENCE: u64 = 5;

fn connections(info: &ServerInfo) -> Option<Verdict> {
    let (now, max) = (info.general.number("curr_connections")?, info.general.number("max_connections")?);
    Some(match now.saturating_mul(10) >= max.saturating_mul(9) {
        true => Verdict::problem(
            format!("{now} of {max} connections are in use"),
            "raise -c, or find the clients that hold them: remcache stats conns --by-address",
        ),
        false => {
            Verdict::good(format!("{} of {} in use", number::exact(now), number::exact(max)), now as f64 / max as f64)
        }
    })
}

fn refusals(info: &ServerInfo) -> Option<Verdict> {
    let refused = counted(info, &["rejected_connections", "listen_disabled_num"])?;
    Some(match refused {
        0 => Verdict::good("no connection was refused or had to wait", 0.0),
        _ => Verdict::problem(
            format!("{} times a connection was refused or had to wait", number::exact(refused)),
            "there were more connections than -c allows: raise -c, or find the clients: remcache stats conns --by-address",
        ),
    })
}

fn memory(info: &ServerInfo) -> Option<Verdict> {
    let failed = counted(info, &["malloc_fails", "response_obj_oom", "read_buf_oom", "store_no_memory"])?;
    Some(match failed {
        0 => Verdict::good("no allocation failed", 0.0),
        _ => Verdict::problem(
            format!("{} times an allocation failed", number::exact(failed)),
            "give the machine more memory, or the process higher limits",
        ),
    })
}

/// Returns the sum of those of these counters that the server reports; `None` if it reports none.
fn counted(info: &ServerInfo, names: &[&str]) -> Option<u64> {
    names.iter().filter_map(|name| info.general.number(name)).reduce(u64::saturating_add)
}

fn cas(info: &ServerInfo) -> Option<Verdict> {
    Some(match info.settings.text("cas_enabled")? {
        "no" => Verdict::problem(
            "compare-and-swap is off (-C)",
            "conditional stores always succeed in the binary protocol, and never in the others: start it without -C if a client relies on them",
        ),
        _ => Verdict::good("compare-and-swap is on", 0.0),
    })
}

fn item_size(info: &ServerInfo) -> Option<Verdict> {
    let limit = info.settings.number("item_size_max")?;
    Some(match limit < DEFAULT_ITEM_SIZE {
        true => Verdict::problem(
            format!("items are limited to {}", number::bytes(limit)),
            "larger values are refused: raise -I, or set the clients' limit to the same",
        ),
        false => Verdict::good(format!("items of up to {} are accepted", number::bytes(limit)), -(limit as f64)),
    })
}

/// The default of `-I`.
const DEFAULT_ITEM_SIZE: u64 = 1 << 20;

fn too_large(info: &ServerInfo) -> Option<Verdict> {
    let refused = info.general.number("store_too_large")?;
    Some(match refused {
        0 => Verdict::good("no value was too large", 0.0),
        _ => Verdict::problem(
            format!(
                "{} values were too large, and the items that they were to replace are gone",
                number::exact(refused)
            ),
            "raise -I, or make the values smaller",
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::certificate::Expiry;

    fn info(general: &[(&str, &str)], settings: &[(&str, &str)]) -> ServerInfo {
        ServerInfo {
            general: general.iter().copied().collect(),
            settings: settings.iter().copied().collect(),
            ..ServerInfo::default()
        }
    }

    fn with_certificate(days: u64, info: ServerInfo) -> ServerInfo {
        let expiry = Some(Expiry { at: 1_798_761_600, remaining: days * 86_400 });
        ServerInfo { expiry, expiry_margin: Duration::from_secs(30 * 86_400), ..info }
    }

    #[test]
    fn each_check_finds_its_problem_and_no_other() {
        let general = info(
            &[
                ("version", "1.6.1"),
                ("libevent", "2.1.12-stable"),
                ("time", "7"),
                ("curr_connections", "95"),
                ("max_connections", "100"),
                ("listen_disabled_num", "2"),
                ("evictions", "60"),
                ("total_items", "1000"),
                ("malloc_fails", "1"),
                ("store_too_large", "1"),
            ],
            &[("cas_enabled", "no"), ("item_size_max", "1024")],
        );
        let faulty = with_certificate(29, general);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().to_string();
        let healthy = info(
            &[
                ("version", "1.6.45"),
                ("libevent", "2.1.12-stable"),
                ("time", &now),
                ("curr_connections", "5"),
                ("max_connections", "100"),
                ("listen_disabled_num", "0"),
                ("evictions", "50"),
                ("total_items", "1000"),
                ("malloc_fails", "0"),
                ("store_too_large", "0"),
            ],
            &[("cas_enabled", "yes"), ("item_size_max", "1048576")],
        );
        let healthy = with_certificate(31, healthy);
        for check in CHECKS {
            assert!(matches!((check.run)(&faulty), Some(Verdict::Problem(_))), "{}", check.name);
            assert!(matches!((check.run)(&healthy), Some(Verdict::Good { .. })), "{}", check.name);
            assert_eq!((check.run)(&ServerInfo::default()), None, "{}", check.name);
        }
    }

    #[test]
    fn versions_with_and_without_a_suffix() {
        assert_eq!(release("1.6.18"), Some((1, 6, 18)));
        assert_eq!(release("1.4.24-Ubuntu"), Some((1, 4, 24)));
        assert_eq!(release("nonsense"), None);
    }

    #[test]
    fn advice_on_cas_depends_on_the_protocol() {
        let verdict = cas(&info(&[], &[("cas_enabled", "no")])).unwrap();
        assert!(verdict.finding().advice.contains("never in the others"), "{verdict:?}");
    }
}
