//! Performance data: metrics with their ranges, as monitoring plugins print them.

use std::fmt;

use super::metric::{CheckMetric, Condition};

/// A metric, and the ranges outside of which it raises an alert.
#[derive(Clone, Debug)]
pub(super) struct PerfData {
    pub(super) metric: CheckMetric,
    /// The value; `None` if it is undefined.
    pub(super) value: Option<f64>,
    pub(super) warning: AlertRange,
    pub(super) critical: AlertRange,
}

/// A range of values that raise no alert.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AlertRange {
    min: Option<f64>,
    max: Option<f64>,
}

impl PerfData {
    pub(super) fn new(metric: CheckMetric, value: Option<f64>) -> Self {
        Self { metric, value, warning: AlertRange::default(), critical: AlertRange::default() }
    }

    /// Returns the metric with its value, for people.
    pub(super) fn text(&self) -> Option<String> {
        Some(self.metric.describe(self.value?))
    }

    /// Returns the metric of a server as a monitoring plugin prints it; `U` stands for an undefined value.
    pub(super) fn perfdata(&self, server: &str) -> String {
        let Self { metric, value, warning, critical } = self;
        let value = value.map_or_else(|| "U".into(), |value| format!("{value}{}", metric.unit()));
        format!("'{server} {}'={value};{warning};{critical}", metric.name())
    }
}

impl AlertRange {
    /// Adds the limit of a condition that raises an alert.
    pub(super) fn add(&mut self, condition: &Condition) {
        let end = if condition.is_upper_bound() { &mut self.max } else { &mut self.min };
        *end = Some(condition.limit());
    }
}

impl fmt::Display for AlertRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (None, None) => Ok(()),
            (None, Some(max)) => write!(f, "{max}"),
            (Some(min), None) => write!(f, "{min}:"),
            (Some(min), Some(max)) => write!(f, "{min}:{max}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_the_conditions() {
        let range = |conditions: &[&str]| {
            let mut range = AlertRange::default();
            conditions.iter().for_each(|condition| range.add(&condition.parse().unwrap()));

            range.to_string()
        };
        assert_eq!(range(&[]), "");
        assert_eq!(range(&["curr_items>5"]), "5");
        assert_eq!(range(&["hit%<90"]), "90:");
        assert_eq!(range(&["curr_items>=100", "curr_items<=5"]), "5:100");
    }
}
