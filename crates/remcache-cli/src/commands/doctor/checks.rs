//! The checks that `doctor` runs on the statistics of a server.

use std::time::{SystemTime, UNIX_EPOCH};

#[cfg(feature = "tls")]
use super::certificate::certificate;
use super::evictions::evictions;
use super::{Finding, ServerInfo};
use crate::output::number;

/// A check: its name, and a function that returns a finding if there is a problem.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) run: fn(&ServerInfo) -> Option<Finding>,
}

pub(super) const CHECKS: &[Check] = &[
    Check { name: "version", run: version },
    #[cfg(feature = "tls")]
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

fn version(info: &ServerInfo) -> Option<Finding> {
    // The embedded server reports the version that it behaves like; memcached reports its libevent too.
    info.general.text("libevent")?;
    let text = info.general.text("version")?;
    let release = release(text)?;
    let (_, problem, advice) = FIXES.iter().find(|(fixed, ..)| release < *fixed)?;
    Some(Finding::new(format!("{problem}: {text}"), *advice))
}

fn clock(info: &ServerInfo) -> Option<Finding> {
    let server = info.general.number("time")?;
    let here = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let difference = server.abs_diff(here);
    (difference > MAX_CLOCK_DIFFERENCE).then(|| {
        Finding::new(
            format!("its clock differs from this machine's by {}", number::age(difference)),
            "TTLs beyond 30 days are absolute times and will be wrong: synchronize the clocks by NTP",
        )
    })
}

/// In seconds.
const MAX_CLOCK_DIFFERENCE: u64 = 5;

fn connections(info: &ServerInfo) -> Option<Finding> {
    let (now, max) = (info.general.number("curr_connections")?, info.general.number("max_connections")?);
    (now.saturating_mul(10) >= max.saturating_mul(9)).then(|| {
        Finding::new(
            format!("{now} of {max} connections are in use"),
            "raise -c, or find the clients that hold them: remcache stats conns --by-address",
        )
    })
}

fn refusals(info: &ServerInfo) -> Option<Finding> {
    let refused =
        ["rejected_connections", "listen_disabled_num"].iter().filter_map(|name| info.general.number(name)).sum();
    (refused > 0_u64).then(|| {
        Finding::new(
            format!("{} times a connection was refused or had to wait", number::exact(refused)),
            "there were more connections than -c allows: raise -c, or find the clients: remcache stats conns --by-address",
        )
    })
}

fn memory(info: &ServerInfo) -> Option<Finding> {
    let failed = ["malloc_fails", "response_obj_oom", "read_buf_oom", "store_no_memory"];
    let failed: u64 = failed.iter().filter_map(|name| info.general.number(name)).sum();
    (failed > 0).then(|| {
        Finding::new(
            format!("{} times an allocation failed", number::exact(failed)),
            "give the machine more memory, or the process higher limits",
        )
    })
}

fn cas(info: &ServerInfo) -> Option<Finding> {
    (info.settings.text("cas_enabled") == Some("no")).then(|| {
        Finding::new(
            "compare-and-swap is off (-C)",
            "conditional stores always succeed in the binary protocol, and never in the others: start it without -C if a client relies on them",
        )
    })
}

fn item_size(info: &ServerInfo) -> Option<Finding> {
    let limit = info.settings.number("item_size_max")?;
    (limit < DEFAULT_ITEM_SIZE).then(|| {
        Finding::new(
            format!("items are limited to {}", number::bytes(limit)),
            "larger values are refused: raise -I, or set the clients' limit to the same",
        )
    })
}

/// The default of `-I`.
const DEFAULT_ITEM_SIZE: u64 = 1 << 20;

fn too_large(info: &ServerInfo) -> Option<Finding> {
    let refused = info.general.number("store_too_large")?;
    (refused > 0).then(|| {
        Finding::new(
            format!(
                "{} values were too large, and the items that they were to replace are gone",
                number::exact(refused)
            ),
            "raise -I, or make the values smaller",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "tls")]
    use crate::commands::doctor::certificate::tests::{Dates, certificate_of};

    fn info(general: &[(&str, &str)], settings: &[(&str, &str)]) -> ServerInfo {
        ServerInfo {
            general: general.iter().copied().collect(),
            settings: settings.iter().copied().collect(),
            ..ServerInfo::default()
        }
    }

    #[test]
    #[cfg(feature = "tls")]
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
        let certificate = Some(certificate_of(Dates::EndingSoon));
        let faulty = ServerInfo { certificate, ..general };
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
        let healthy = ServerInfo { certificate: Some(certificate_of(Dates::Now)), ..healthy };
        for check in CHECKS {
            assert!((check.run)(&faulty).is_some(), "{}", check.name);
            assert_eq!((check.run)(&healthy), None, "{}", check.name);
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
        let finding = cas(&info(&[], &[("cas_enabled", "no")])).unwrap();
        assert!(finding.advice.contains("never in the others"), "{finding:?}");
    }
}
