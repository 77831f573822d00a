//! Comparison operators in conditions: `p99>2ms`, `hit%<90`.

/// A comparison operator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Comparison {
    AtLeast,
    AtMost,
    Above,
    Below,
}

/// The operators; `>=` must be found before `>`.
const OPERATORS: [(&str, Comparison); 4] =
    [(">=", Comparison::AtLeast), ("<=", Comparison::AtMost), (">", Comparison::Above), ("<", Comparison::Below)];

impl Comparison {
    /// Splits a condition into its name, its operator and its limit.
    pub(crate) fn split(text: &str) -> Option<(&str, Self, &str)> {
        let (name, condition) = text.split_at(text.find(['<', '>'])?);
        let parts = |(operator, comparison): &(&str, Self)| Some((*comparison, condition.strip_prefix(operator)?));
        let (comparison, limit) = OPERATORS.iter().find_map(parts)?;
        Some((name.trim(), comparison, limit.trim()))
    }

    /// Returns whether the comparison of a value with a limit is true.
    pub(crate) fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::AtLeast => value >= limit,
            Self::AtMost => value <= limit,
            Self::Above => value > limit,
            Self::Below => value < limit,
        }
    }
}

/// Returns the advice for a limit that cannot be parsed because it holds more conditions; else it is empty.
pub(crate) fn hint(limit: &str) -> &'static str {
    match limit.contains([',', ';', '<', '>', '&', '|', ' ']) {
        true => "; give each condition in an option of its own",
        false => "",
    }
}
