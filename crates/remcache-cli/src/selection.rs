//! Selects items of a server by key, size, time to live and idle time.

use std::ffi::OsString;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use regex::bytes::{Regex, RegexBuilder};
use remcache::Ttl;
use remcache::proto::text::MetadumpItem;

use crate::options::value;
use crate::output::text;

/// The options that select items; all conditions must hold.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Selection {
    #[command(flatten)]
    keys: KeyPattern,

    /// Only items of at least this size in memory
    #[arg(long, value_name = "BYTES", value_parser = value::bytes)]
    min_size: Option<usize>,

    /// Only items whose remaining time to live is below this
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    ttl_below: Option<Duration>,

    /// Only items that were not accessed for longer than this
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    idle_above: Option<Duration>,

    /// A pattern in an argument of the command.
    #[arg(skip)]
    pattern: Option<Glob>,
}

/// A pattern with * and ?: its text, and the regular expression for it.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    pub(crate) text: String,
    regex: Regex,
}

/// The options that select keys; all conditions must hold.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct KeyPattern {
    /// Only keys that begin with this text
    #[arg(long, value_name = "TEXT")]
    prefix: Option<OsString>,

    /// Only keys that match a pattern with * and ?
    #[arg(long, value_name = "PATTERN", value_parser = glob)]
    glob: Option<Glob>,

    /// Only keys that contain a match of a regular expression
    #[arg(long, value_name = "REGEX", value_parser = regex)]
    regex: Option<Regex>,
}

impl KeyPattern {
    /// Returns whether a key is selected.
    pub(crate) fn fits(&self, key: &[u8]) -> bool {
        self.prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix.as_encoded_bytes()))
            && self.glob.as_ref().is_none_or(|glob| glob.regex.is_match(key))
            && self.regex.as_ref().is_none_or(|regex| regex.is_match(key))
    }
}

/// Parses a pattern with * and ?.
pub(crate) fn glob(pattern: &str) -> Result<Glob, String> {
    let glob = globset::Glob::new(pattern).map_err(|error| error.to_string())?;
    // Keys may contain line ends, which * matches too.
    let regex =
        RegexBuilder::new(glob.regex()).dot_matches_new_line(true).build().map_err(|error| error.to_string())?;
    Ok(Glob { text: pattern.to_owned(), regex })
}

fn regex(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| error.to_string())
}

impl Selection {
    /// Returns the same selection with the pattern of an argument.
    pub(crate) fn and(self, pattern: Option<Glob>) -> Self {
        Self { pattern, ..self }
    }

    /// Returns the conditions of the options, as they are written on the command line.
    pub(crate) fn conditions(&self) -> Vec<String> {
        let KeyPattern { prefix, glob, regex } = &self.keys;
        let seconds = |time: Duration| format!("{}s", time.as_secs_f64());
        let conditions = [
            ("prefix", prefix.as_ref().map(|prefix| text::inline(prefix.as_encoded_bytes()).into_owned())),
            ("glob", glob.as_ref().map(|glob| glob.text.clone())),
            ("regex", regex.as_ref().map(ToString::to_string)),
            ("min-size", self.min_size.map(|size| size.to_string())),
            ("ttl-below", self.ttl_below.map(seconds)),
            ("idle-above", self.idle_above.map(seconds)),
        ];
        conditions.into_iter().filter_map(|(name, value)| Some(format!("--{name} {}", value?))).collect()
    }

    /// Returns whether there are conditions on other properties than the key.
    pub(crate) fn looks_beyond_the_key(&self) -> bool {
        self.min_size.is_some() || self.ttl_below.is_some() || self.idle_above.is_some()
    }

    /// Returns whether an item is selected at this time, in seconds of Unix time. The name is its key without the
    /// namespace.
    pub(crate) fn fits(&self, name: &[u8], item: &MetadumpItem, now: u64) -> bool {
        self.keys.fits(name)
            && self.pattern.as_ref().is_none_or(|glob| glob.regex.is_match(name))
            && self.min_size.is_none_or(|least| item.size >= least as u64)
            && self.ttl_below.is_none_or(|most| seconds_left(item, now).is_some_and(|seconds| seconds < most.as_secs()))
            && self.idle_above.is_none_or(|least| now.saturating_sub(item.last_access) > least.as_secs())
    }
}

/// Returns the remaining time to live of an item in seconds; `None` if it does not expire.
pub(crate) fn seconds_left(item: &MetadumpItem, now: u64) -> Option<u64> {
    expiry(item).map(|at| at.saturating_sub(now))
}

/// Returns the time when an item expires, in seconds of Unix time; `None` if it does not expire.
pub(crate) fn expiry(item: &MetadumpItem) -> Option<u64> {
    match item.expires {
        Ttl::At(at) => at.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs()),
        _ => None,
    }
}

/// Returns the current time in seconds of Unix time.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        selection: Selection,
    }

    fn fits(args: &[&str], line: &str) -> bool {
        let line = MetadumpItem::parse(line.as_bytes()).unwrap();
        Line::try_parse_from([&["test"], args].concat())
            .unwrap_or_else(|error| panic!("{error}"))
            .selection
            .fits(&line.key, &line, 1000)
    }

    #[test]
    fn all_conditions_must_hold() {
        let line = "key=user%3A42 exp=1060 la=900 cas=1 fetch=no cls=1 size=63";
        for (args, expected) in [
            (&[][..], true),
            (&["--prefix", "user:"], true),
            (&["--prefix", "session:"], false),
            (&["--glob", "user:*"], true),
            (&["--glob", "user:?"], false),
            (&["--regex", "4[0-9]$"], true),
            (&["--regex", "^4"], false),
            (&["--min-size", "63"], true),
            (&["--min-size", "64"], false),
            (&["--ttl-below", "61s"], true),
            (&["--ttl-below", "60s"], false),
            (&["--idle-above", "99s"], true),
            (&["--idle-above", "100s"], false),
            (&["--prefix", "user:", "--min-size", "64"], false),
        ] {
            assert_eq!(fits(args, line), expected, "{args:?}");
        }
        let line = "key=a%0Ab%FF exp=-1 la=1 cas=1 fetch=no cls=1 size=1";
        assert!(fits(&["--glob", "a?b*"], line), "? matches any byte");
        assert!(
            !fits(&["--ttl-below", "9h"], "key=k exp=-1 la=1 cas=1 fetch=no cls=1 size=1"),
            "an item that does not expire"
        );
    }
}
