//! Dashboards of Grafana, as far as they are queries for Prometheus.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{PATIENCE, POLL, Prometheus, Series};

/// A dashboard.
#[derive(Debug)]
pub struct Dashboard {
    /// Its title.
    pub title: String,
    /// Its panels, from the top.
    pub panels: Vec<Panel>,
    /// Expressions that have the values of its variables as labels.
    variables: Vec<String>,
}

/// A diagram of a dashboard.
#[derive(Debug)]
#[non_exhaustive]
pub struct Panel {
    /// Its title.
    pub title: String,
    /// The unit of its values, as Grafana names it: `s`, `ops`, `percentunit`.
    pub unit: String,
    /// Its queries.
    pub targets: Vec<Target>,
}

/// A query of a panel.
#[derive(Debug)]
pub struct Target {
    /// The expression, without variables.
    pub expression: String,
    /// The text that describes a series; labels are in double braces.
    legend: String,
}

impl Dashboard {
    /// Reads a dashboard with all servers selected, and this duration as the interval of rates.
    ///
    /// # Panics
    /// Panics if the text is not a dashboard, or has an unknown variable.
    #[must_use]
    pub fn read(json: &str, rate_interval: &str) -> Self {
        let json: Value = serde_json::from_str(json).expect("a dashboard is JSON");
        let variables = list(&json["templating"]["list"]).filter(|variable| variable["type"] == "query");
        let variables = variables.map(|variable| variable_expression(&text(&variable["query"]))).collect();
        let panels = list(&json["panels"]).map(|panel| Panel {
            title: text(&panel["title"]),
            unit: text(&panel["fieldConfig"]["defaults"]["unit"]),
            targets: list(&panel["targets"]).map(|target| Target::read(target, rate_interval)).collect(),
        });
        Self { title: text(&json["title"]), panels: panels.collect(), variables }
    }

    /// Waits until every query has returned data, of the panels and of the variables, now or in the last two minutes.
    ///
    /// # Panics
    /// Panics after a minute with the queries that have returned none.
    pub fn wait_for_data(&self, prometheus: &Prometheus) {
        let targets = self.panels.iter().flat_map(|panel| &panel.targets).map(|target| target.expression.clone());
        let mut queries: Vec<_> = targets.chain(self.variables.iter().cloned()).collect();
        let start = Instant::now();
        loop {
            queries.retain(|query| {
                let series = prometheus.query_range(query, Duration::from_secs(120), Duration::from_secs(1));
                series.iter().all(|series| series.points.is_empty())
            });
            if queries.is_empty() {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{}: no data: {queries:#?}", self.title);
            thread::sleep(POLL);
        }
    }
}

impl Target {
    fn read(json: &Value, rate_interval: &str) -> Self {
        let expression = text(&json["expr"]).replace("$__rate_interval", rate_interval).replace("$server", ".*");
        assert!(!expression.contains('$'), "an unknown variable: {expression}");
        Self { expression, legend: text(&json["legendFormat"]) }
    }

    /// Returns the text that describes a series. A missing label is shown as `none`.
    #[must_use]
    pub fn legend(&self, series: &Series) -> String {
        let mut parts = self.legend.split("{{");
        let start = parts.next().unwrap_or_default().to_owned();
        parts.fold(start, |text, part| {
            let (label, rest) = part.split_once("}}").unwrap_or((part, ""));
            let value = series.labels.get(label).map_or("none", String::as_str);
            text + value + rest
        })
    }
}

/// Returns the expression for `label_values(metric, label)`, which Grafana does not send as a query.
fn variable_expression(query: &str) -> String {
    let arguments = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
    let (metric, label) =
        arguments.and_then(|text| text.split_once(", ")).unwrap_or_else(|| panic!("unknown function: {query}"));
    format!("group by ({label}) ({metric})")
}

fn list(json: &Value) -> impl Iterator<Item = &Value> {
    json.as_array().into_iter().flatten()
}

fn text(json: &Value) -> String {
    json.as_str().unwrap_or_default().to_owned()
}
