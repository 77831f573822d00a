//! Performance data: figures with their limits, as monitoring plugins print them.

use std::fmt;

use super::figure::Condition;

/// A figure, and the ranges outside of which somebody is told.
#[derive(Clone, Debug)]
pub(super) struct Performance {
    pub(super) label: String,
    value: f64,
    unit: &'static str,
    pub(super) warning: Range,
    pub(super) critical: Range,
}

/// A range in which all is well.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Range {
    least: Option<f64>,
    most: Option<f64>,
}

impl Performance {
    pub(super) fn new(label: String, value: f64, unit: &'static str) -> Self {
        Self { label, value, unit, warning: Range::default(), critical: Range::default() }
    }
}

impl Range {
    /// Takes in a condition on which somebody is told.
    pub(super) fn limit(&mut self, condition: &Condition) {
        let end = if condition.is_of_excess() { &mut self.most } else { &mut self.least };
        *end = Some(condition.limit());
    }
}

impl fmt::Display for Performance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { label, value, unit, warning, critical } = self;
        write!(f, "'{label}'={value}{unit};{warning};{critical}")
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.least, self.most) {
            (None, None) => Ok(()),
            (None, Some(most)) => write!(f, "{most}"),
            (Some(least), None) => write!(f, "{least}:"),
            (Some(least), Some(most)) => write!(f, "{least}:{most}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_say_what_is_well() {
        let range = |conditions: &[&str]| {
            let mut range = Range::default();
            conditions.iter().for_each(|condition| range.limit(&condition.parse().unwrap()));
            range.to_string()
        };
        assert_eq!(range(&[]), "");
        assert_eq!(range(&["curr_items>5"]), "5");
        assert_eq!(range(&["hit%<90"]), "90:");
        assert_eq!(range(&["curr_items>=100", "curr_items<=5"]), "5:100");
    }
}
