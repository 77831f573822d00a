//! Distributions by name: parsing, printing, and what to say about a name that nobody has.

use std::{fmt, str::FromStr};

use super::Distribution;

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Distribution {
    type Err = UnknownDistribution;

    fn from_str(name: &str) -> Result<Self, UnknownDistribution> {
        Self::ALL
            .iter()
            .copied()
            .find(|known| known.name() == name)
            .ok_or_else(|| UnknownDistribution { name: name.to_owned() })
    }
}

/// A name that no [`Distribution`] has.
///
/// ```
/// use remcache::distribution::Distribution;
///
/// let unknown = "ketma".parse::<Distribution>().unwrap_err();
/// assert_eq!(
///     unknown.to_string(),
///     "unknown distribution \"ketma\": did you mean ketama? known: ketama, remcached",
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownDistribution {
    name: String,
}

impl UnknownDistribution {
    /// The name that was asked for.
    ///
    /// ```
    /// use remcache::distribution::Distribution;
    ///
    /// assert_eq!("ring".parse::<Distribution>().unwrap_err().name(), "ring");
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The distribution whose name is nearest, if one is near.
    ///
    /// ```
    /// use remcache::distribution::Distribution;
    ///
    /// let unknown = "libketama".parse::<Distribution>().unwrap_err();
    /// assert_eq!(unknown.suggestion(), Some(Distribution::Ketama));
    /// ```
    #[must_use]
    pub fn suggestion(&self) -> Option<Distribution> {
        Distribution::ALL
            .iter()
            .copied()
            .map(|known| (edit_distance(&self.name, known.name()), known))
            .filter(|(distance, known)| distance * 2 <= known.name().len())
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, known)| known)
    }
}

impl fmt::Display for UnknownDistribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown distribution {:?}: ", self.name)?;
        if let Some(near) = self.suggestion() {
            write!(f, "did you mean {near}? ")?;
        }
        let known: Vec<_> = Distribution::ALL.iter().map(|it| it.name()).collect();
        write!(f, "known: {}", known.join(", "))
    }
}

impl std::error::Error for UnknownDistribution {}

/// Levenshtein's distance in characters: how many insertions, deletions and substitutions lead from one to the other.
fn edit_distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.chars().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[row.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a variant stands in `ALL`: a new variant does not compile until it is counted here.
    fn position(distribution: Distribution) -> usize {
        match distribution {
            Distribution::Ketama => 0,
            Distribution::Remcached => 1,
        }
    }

    #[test]
    fn the_table_holds_every_variant_once() {
        for (at, &distribution) in Distribution::ALL.iter().enumerate() {
            assert_eq!(position(distribution), at);
            assert_eq!(distribution.name().parse(), Ok(distribution));
        }
    }

    #[test]
    fn edit_distances() {
        for (from, to, distance) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("ketama", "ketama", 0),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
            ("été", "ete", 2),
        ] {
            assert_eq!(edit_distance(from, to), distance, "{from} → {to}");
        }
    }

    #[test]
    fn only_near_names_are_suggested() {
        let suggest = |name: &str| name.parse::<Distribution>().unwrap_err().suggestion();
        assert_eq!(suggest("Ketama"), Some(Distribution::Ketama));
        assert_eq!(suggest("remcache"), Some(Distribution::Remcached));
        assert_eq!(suggest("modula"), None);
        assert_eq!(suggest(""), None);
    }
}
