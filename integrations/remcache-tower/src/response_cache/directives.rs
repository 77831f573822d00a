//! `Cache-Control` and related fields, as interpreted by a shared cache (RFC 9111).

use std::time::{Duration, SystemTime};

use http::header::{AUTHORIZATION, CACHE_CONTROL, DATE, EXPIRES, HeaderName, SET_COOKIE, VARY};
use http::{HeaderMap, StatusCode};

use crate::stored_response::text;

/// The directives of `Cache-Control` fields.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Directives {
    pub(crate) no_store: bool,
    pub(crate) no_cache: bool,
    pub(crate) only_if_cached: bool,
    pub(crate) max_age: Option<Duration>,
    is_private: bool,
    is_public: bool,
    must_revalidate: bool,
    s_maxage: Option<Duration>,
}

impl Directives {
    /// Parses the directives; unknown ones are ignored. An invalid age counts as zero.
    pub(crate) fn parse(fields: &HeaderMap) -> Self {
        let mut directives = Self::default();
        for value in fields.get_all(CACHE_CONTROL) {
            for directive in value.to_str().unwrap_or("no-store").split(',') {
                directives.parse_one(directive.trim());
            }
        }
        directives
    }

    fn parse_one(&mut self, directive: &str) {
        let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim_end().to_ascii_lowercase().as_str() {
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache = true,
            "private" => self.is_private = true,
            "public" => self.is_public = true,
            "must-revalidate" => self.must_revalidate = true,
            "only-if-cached" => self.only_if_cached = true,
            "max-age" => self.max_age = Some(parse_age(argument)),
            "s-maxage" => self.s_maxage = Some(parse_age(argument)),
            _ => {}
        }
    }
}

fn parse_age(argument: &str) -> Duration {
    Duration::from_secs(argument.trim().trim_matches('"').parse().unwrap_or(0))
}

/// The conditions under which a response may be stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Storable {
    /// The time until it is stale.
    pub(crate) fresh_for: Duration,
    /// The names of the request fields that it depends on, in lower case and sorted.
    pub(crate) vary: Vec<String>,
    /// Whether it may be returned to requests with `Authorization`, and stored from them.
    pub(crate) allows_authorized: bool,
}

/// Returns how a response may be stored; `None` if it must not be.
///
/// Only responses that name their lifetime are stored, and none that sets a cookie.
pub(crate) fn storable(status: StatusCode, fields: &HeaderMap) -> Option<Storable> {
    let directives = Directives::parse(fields);
    let is_forbidden = directives.no_store || directives.no_cache || directives.is_private;
    if is_forbidden || fields.contains_key(SET_COOKIE) || !STORABLE.contains(&status) {
        return None;
    }
    let lifetime = directives.s_maxage.or(directives.max_age).or_else(|| time_until_expiry(fields))?;
    let age = text(fields, &AGE).map_or(Duration::ZERO, parse_age);
    let fresh_for = lifetime.checked_sub(age).filter(|fresh_for| *fresh_for >= Duration::from_secs(1))?;
    let allows_authorized = directives.is_public || directives.must_revalidate || directives.s_maxage.is_some();
    Some(Storable { fresh_for, vary: vary(fields)?, allows_authorized })
}

fn time_until_expiry(fields: &HeaderMap) -> Option<Duration> {
    let expires = httpdate::parse_http_date(text(fields, &EXPIRES)?).ok()?;
    let date = text(fields, &DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    expires.duration_since(date.unwrap_or_else(SystemTime::now)).ok()
}

/// Returns the sorted names in `Vary`; `None` for `*`.
fn vary(fields: &HeaderMap) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for value in fields.get_all(VARY) {
        for name in value.to_str().ok()?.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if name == "*" {
                return None;
            }
            names.push(name.to_ascii_lowercase());
        }
    }
    names.sort_unstable();
    names.dedup();
    Some(names)
}

/// Returns whether a request has credentials of a user.
pub(crate) fn is_authorized(fields: &HeaderMap) -> bool {
    fields.contains_key(AUTHORIZATION)
}

/// Statuses of responses that are stored if they name a lifetime.
const STORABLE: [StatusCode; 7] = [
    StatusCode::OK,
    StatusCode::NON_AUTHORITATIVE_INFORMATION,
    StatusCode::NO_CONTENT,
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::PERMANENT_REDIRECT,
    StatusCode::NOT_FOUND,
    StatusCode::GONE,
];
pub(crate) const AGE: HeaderName = http::header::AGE;

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    fn fresh_for(list: &[(&'static str, &str)]) -> Option<u64> {
        storable(StatusCode::OK, &fields(list)).map(|storable| storable.fresh_for.as_secs())
    }

    #[test]
    fn the_lifetime_is_the_one_for_shared_caches() {
        let date = ("date", "Tue, 01 Dec 2026 20:00:00 GMT");
        for (list, expected) in [
            (&[("cache-control", "max-age=60")][..], Some(60)),
            (&[("cache-control", "Max-Age=60, S-MaxAge=10")], Some(10)),
            (&[("cache-control", "max-age=60"), ("cache-control", "s-maxage=10")], Some(10)),
            (&[("cache-control", "max-age=\"60\"")], Some(60)),
            (&[("cache-control", "max-age=60"), ("age", "20")], Some(40)),
            (&[("cache-control", "max-age=60"), ("age", "60")], None),
            (&[date, ("expires", "Tue, 01 Dec 2026 20:00:30 GMT")], Some(30)),
            (&[date, ("expires", "Tue, 01 Dec 2026 20:00:30 GMT"), ("cache-control", "max-age=5")], Some(5)),
            (&[date, ("expires", "Tue, 01 Dec 2026 19:00:00 GMT")], None),
            (&[("expires", "0")], None),
            (&[("cache-control", "max-age=0")], None),
            (&[("cache-control", "max-age=-1")], None),
            (&[("cache-control", "public")], None),
            (&[], None),
        ] {
            assert_eq!(fresh_for(list), expected, "{list:?}");
        }
    }

    #[test]
    fn responses_that_must_not_be_stored_are_rejected() {
        let lifetime = ("cache-control", "public, max-age=60");
        for field in [
            ("cache-control", "no-store"),
            ("cache-control", "private"),
            ("cache-control", "private=\"set-cookie\""),
            ("cache-control", "No-Cache"),
            ("set-cookie", "id=1"),
            ("vary", "*"),
            ("vary", "accept, *"),
        ] {
            assert_eq!(fresh_for(&[lifetime, field]), None, "{field:?}");
        }
        assert_eq!(storable(StatusCode::INTERNAL_SERVER_ERROR, &fields(&[lifetime])), None);
        assert_eq!(storable(StatusCode::PARTIAL_CONTENT, &fields(&[lifetime])), None);
    }

    #[test]
    fn responses_to_authorized_requests_need_permission() {
        for (value, expected) in [
            ("max-age=60", false),
            ("public, max-age=60", true),
            ("s-maxage=60", true),
            ("must-revalidate, max-age=60", true),
        ] {
            let storable = storable(StatusCode::OK, &fields(&[("cache-control", value)])).unwrap();
            assert_eq!(storable.allows_authorized, expected, "{value}");
        }
    }

    #[test]
    fn names_in_vary_are_sorted_and_in_lower_case() {
        let list = [("cache-control", "max-age=60"), ("vary", "Accept-Language, accept"), ("vary", "Accept,,")];
        let storable = storable(StatusCode::OK, &fields(&list)).unwrap();
        assert_eq!(storable.vary, ["accept", "accept-language"]);
    }
}
