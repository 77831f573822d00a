//! Distributions by name: parsing, printing and suggestions for unknown names.

use std::{fmt, str::FromStr};

use crate::Distribution;
use crate::spec_table::SPECS;

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Distribution {
    type Err = UnknownDistribution;

    /// Parses a name or an alias; the options have their defaults.
    fn from_str(name: &str) -> Result<Self, UnknownDistribution> {
        let known = Self::all().find(|known| known.name() == name || known.aliases().contains(&name));
        known.ok_or_else(|| UnknownDistribution { name: name.to_owned() })
    }
}

/// A name that no [`Distribution`] has.
///
/// ```
/// use remcache_distribution::Distribution;
///
/// let unknown = "twemprox".parse::<Distribution>().unwrap_err();
/// assert!(unknown.to_string().starts_with("unknown distribution \"twemprox\": did you mean twemproxy"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownDistribution {
    name: String,
}

impl UnknownDistribution {
    /// Returns the unknown name.
    ///
    /// ```
    /// use remcache_distribution::Distribution;
    ///
    /// assert_eq!("ring".parse::<Distribution>().unwrap_err().name(), "ring");
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns similar names and aliases, the most similar first; at most three.
    ///
    /// ```
    /// use remcache_distribution::Distribution;
    ///
    /// let unknown = "pylibmc_ketama".parse::<Distribution>().unwrap_err();
    /// assert_eq!(unknown.suggestions().first(), Some(&"pylibmc-ketama"));
    /// ```
    #[must_use]
    pub fn suggestions(&self) -> Vec<&'static str> {
        let asked = self.name.to_lowercase();
        let mut near: Vec<_> = names().map(|name| (similarity(&asked, name), name)).collect();
        near.retain(|(similarity, _)| *similarity >= NEAR);
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        near.into_iter().take(3).map(|(_, name)| name).collect()
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    SPECS.iter().flat_map(|spec| std::iter::once(&spec.name).chain(spec.aliases)).copied()
}

/// Returns the similarity from 0 to 1; a name that contains the given one, or is contained in it, is always similar.
fn similarity(asked: &str, name: &str) -> f64 {
    let is_part = asked.len() >= 4 && (name.contains(asked) || asked.contains(name));
    let distance = strsim::normalized_damerau_levenshtein(asked, name);
    if is_part { distance.max(NEAR) } else { distance }
}

const NEAR: f64 = 0.6;

impl fmt::Display for UnknownDistribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown distribution {:?}: ", self.name)?;
        let suggestions = self.suggestions();
        if !suggestions.is_empty() {
            write!(f, "did you mean {}? ", suggestions.join(" or "))?;
        }
        write!(f, "the default is {}; docs/placement.md and Distribution::all list every name", Distribution::default())
    }
}

impl std::error::Error for UnknownDistribution {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_are_found_and_printed() {
        for distribution in Distribution::all() {
            assert_eq!(distribution.to_string().parse(), Ok(distribution));
            for alias in distribution.aliases() {
                assert_eq!(alias.parse(), Ok(distribution));
            }
        }
    }

    #[test]
    fn no_name_is_given_twice() {
        let mut names: Vec<_> = names().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn names_are_lower_case_words() {
        for name in names() {
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte)),
                "{name}"
            );
        }
    }

    #[test]
    fn only_near_names_are_suggested() {
        let suggest = |name: &str| name.parse::<Distribution>().unwrap_err().suggestions();
        assert_eq!(suggest("Ketama")[0], "ketama");
        assert_eq!(suggest("ketma")[0], "ketama");
        assert_eq!(suggest("remcache")[0], "remcached");
        assert_eq!(suggest("memcached-proxy-ktama")[0], "memcached-proxy-ketama");
        assert!(suggest("modula").contains(&"twemproxy-modula"));
        assert!(suggest("nonsense").is_empty() && suggest("").is_empty());
    }
}
