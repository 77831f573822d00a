//! URL options, and how they apply to the settings.

use std::time::Duration;

use super::Config;
use crate::address::list;
use crate::distribution::Distribution;
use crate::error::Error;
use crate::policy::{Failover, Hedge, Retries};

type Apply = fn(Config, &str) -> Result<Config, String>;

/// The supported URL options, each with the setting that it changes.
const OPTIONS: &[(&str, Apply)] = &[
    ("namespace", |config, value| Ok(config.namespace(value))),
    ("timeout", |config, value| Ok(config.timeout(parse_duration(value)?))),
    ("connect_timeout", |config, value| Ok(config.connect_timeout(parse_duration(value)?))),
    ("connections", |config, value| Ok(config.connections(parse_count(value)?))),
    ("distribution", |config, value| {
        let chosen: Distribution = value.parse().map_err(|unknown| format!("{unknown}"))?;
        // The options that adjust the distribution may come before or after this one.
        let chosen = chosen.with_options_of(config.distribution);
        Ok(config.distribution(chosen))
    }),
    ("hash", |config, value| {
        let chosen = config.distribution.hash(value.parse().map_err(|unknown| format!("{unknown}"))?);
        Ok(config.distribution(chosen))
    }),
    ("hash_tag", |config, value| {
        let tag = value.as_bytes().try_into().map_err(|_| "expected two characters such as {}")?;
        let chosen = config.distribution.hash_tag(tag);
        Ok(config.distribution(chosen))
    }),
    ("protocol", |config, value| Ok(config.protocol(value.parse().map_err(|unknown| format!("{unknown}"))?))),
    ("max_value_size", |config, value| Ok(config.max_value_size(parse_count(value)?))),
    ("max_in_flight", |config, value| Ok(config.max_in_flight(parse_count(value)?))),
    ("max_output", |config, value| Ok(config.max_output(parse_count(value)?))),
    ("breaker", |config, value| Ok(config.breaker(parse_number(value)?))),
    ("failover", |config, value| Ok(Config { failover: parse_failover(value)?, ..config })),
    ("gutter", |config, value| Ok(config.failover(Failover::gutter(parse_spares(value)?)))),
    ("failover_ttl", |config, value| {
        let cap = parse_duration(value)?;
        match config.failover {
            Failover::None => Err("there is no failover: add failover=next or gutter=host,host".into()),
            ref failover => Ok(Config { failover: failover.clone().max_ttl(cap), ..config }),
        }
    }),
    ("retries", |config, value| {
        let attempts = parse_number(value)?;
        Ok(Config { retries: Retries { attempts, ..config.retries }, ..config })
    }),
    ("retry_timeout", |config, value| {
        let retries = config.retries.attempt_timeout(parse_duration(value)?);
        Ok(config.retries(retries))
    }),
    ("replicas", |config, value| Ok(config.replicas(parse_count(value)?))),
    ("hedge", |config, value| Ok(config.hedge(Hedge::after(parse_duration(value)?)))),
    ("prefer", |config, value| {
        let part = value.to_owned();
        Ok(config.prefer(move |server| server.name.contains(&part)))
    }),
];

/// Applies the options of a URL, first those on which others depend.
pub(crate) fn apply_all(config: Config, mut options: Vec<(String, String)>) -> Result<Config, Error> {
    options.sort_by_key(|(name, _)| OPTIONS.iter().position(|(known, _)| known == name));
    options.into_iter().try_fold(config, |config, (name, value)| apply(config, &name, &value))
}

fn apply(config: Config, name: &str, value: &str) -> Result<Config, Error> {
    let Some((_, apply)) = OPTIONS.iter().find(|(known, _)| *known == name) else {
        let known: Vec<_> = OPTIONS.iter().map(|(known, _)| *known).collect();
        return Err(Error::config(format!("unknown URL option {name:?}; known are {}", known.join(", "))));
    };
    apply(config, value).map_err(|what| Error::config(format!("URL option {name}={value}: {what}")))
}

fn parse_failover(text: &str) -> Result<Failover, String> {
    match text {
        "none" => Ok(Failover::None),
        "next" => Ok(Failover::next()),
        "gutter" => Ok(Failover::gutter([""; 0])),
        _ => Err("expected none, next or gutter".into()),
    }
}

fn parse_spares(text: &str) -> Result<Vec<String>, String> {
    let spares = list(text).map_err(|error| error.to_string())?;
    Ok(spares.iter().map(|spare| format!("{}:{}", spare.name, spare.weight)).collect())
}

/// Parses a number, which may be 0.
fn parse_number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "expected a number".into())
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("expected a number from 1".into()),
    }
}

/// Units of durations, each with its length in nanoseconds.
const UNITS: &[(&str, f64)] =
    &[("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9), ("d", 86400e9)];

/// Parses a duration such as `250ms`, `1.5s` or `2h`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = UNITS.iter().find(|(known, _)| *known == unit).map(|(_, factor)| *factor);
    match (number.parse::<f64>(), factor) {
        (Ok(number), Some(factor)) if number > 0.0 && number * factor < 1e18 => {
            Ok(Duration::from_secs_f64(number * factor / 1e9))
        }
        (Ok(number), None) if number > 0.0 && unit.is_empty() => {
            Err(format!("a duration needs a unit: write {text}s for seconds or {text}ms for milliseconds"))
        }
        _ => Err("expected a duration above zero such as 250ms, 1.5s or 2h".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_adjusts_the_distribution_in_any_order() {
        let expected = Distribution::TWEMPROXY.hash(crate::distribution::Hash::Murmur).hash_tag(*b"{}");
        for query in
            ["distribution=twemproxy&hash=murmur&hash_tag={}", "hash_tag={}&hash=murmur&distribution=twemproxy"]
        {
            let config = Config::from_url(&format!("memcached://a/?{query}")).unwrap();
            assert_eq!(config.distribution, expected, "{query}");
        }
    }

    #[test]
    fn a_url_says_what_to_do_about_failures() {
        let config = Config::from_url(
            "memcached://a,b/?failover_ttl=5s&gutter=c,[::1]:3:4&retries=2&retry_timeout=100ms&replicas=2&hedge=10ms&breaker=0",
        );
        let config = config.unwrap();
        let seconds = Duration::from_secs(5);
        assert_eq!(config.failover, Failover::gutter(["c:11211:1", "[::1]:3:4"]).max_ttl(seconds));
        assert_eq!(config.retries, Retries::up_to(2).attempt_timeout(Duration::from_millis(100)));
        assert_eq!((config.replicas, config.breaker), (2, 0));
        assert_eq!(config.hedge, Some(Hedge::after(Duration::from_millis(10))));
        let next = Config::from_url("memcached://a,b/?failover_ttl=5s&failover=next").unwrap();
        assert_eq!(next.failover, Failover::next().max_ttl(seconds));
        assert!(Config::from_url("memcached://a/?failover=gutter").unwrap().check().is_err());
    }

    #[test]
    fn url_options_that_do_not_fit_are_named() {
        for (query, word) in [
            ("tiemout=1s", "tiemout"),
            ("timeout=0s", "duration"),
            ("timeout=5", "duration"),
            ("timeout=10", "write 10s"),
            ("hedge=1.5", "1.5ms"),
            ("timeout", "name=value"),
            ("connections=0", "number"),
            ("distribution=nonsense", "nonsense"),
            ("hash=hsieh", "licence"),
            ("hash_tag={", "two characters"),
            ("failover=elsewhere", "none, next or gutter"),
            ("failover_ttl=5s", "failover=next"),
            ("gutter=a,,b", "empty"),
            ("breaker=often", "number"),
            ("retries=-1", "number"),
            ("retry_timeout=0s", "duration"),
            ("replicas=0", "number"),
            ("hedge=soon", "duration"),
        ] {
            let error = Config::from_url(&format!("memcached://a/?{query}")).unwrap_err();
            assert!(error.to_string().contains(word), "{query}: {error}");
        }
    }

    #[test]
    fn durations() {
        for (text, micros) in [("250ms", 250_000), ("1.5s", 1_500_000), ("2h", 7_200_000_000), ("80us", 80)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_micros(micros)), "{text}");
        }
    }
}
