//! Relations in conditions that people write: `p99>2ms`, `hit%<90`.

/// How a value stands to a limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Comparison {
    AtLeast,
    AtMost,
    Above,
    Below,
}

/// The longer signs first: one begins with the other.
const SIGNS: [(&str, Comparison); 4] =
    [(">=", Comparison::AtLeast), ("<=", Comparison::AtMost), (">", Comparison::Above), ("<", Comparison::Below)];

impl Comparison {
    /// The name, the relation and the limit of a condition.
    pub(crate) fn split(text: &str) -> Option<(&str, Self, &str)> {
        SIGNS.iter().find_map(|(sign, relation)| {
            let (name, limit) = text.split_once(sign)?;
            Some((name.trim(), *relation, limit.trim()))
        })
    }

    /// Whether it holds.
    pub(crate) fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::AtLeast => value >= limit,
            Self::AtMost => value <= limit,
            Self::Above => value > limit,
            Self::Below => value < limit,
        }
    }
}
