//! The servers' statistics as metrics, in the text format of Prometheus.

mod names;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use remcache::Client;
use remcache::ServerHandle;
use tokio::task::JoinSet;

use crate::escape::escape_line;
use crate::stats::{self, Stats};
use names::{COMMANDS, GENERAL, ITEMS, LRU_HITS, Metric, MetricKind, SETTINGS, SLAB_COMMANDS, SLABS};

/// The results of one server at a scrape.
#[derive(Debug)]
struct Scrape {
    server: String,
    /// `None` if the server did not answer.
    groups: Option<Groups>,
}

/// The statistics of a server by group; groups that it does not have are empty.
#[derive(Debug, Default)]
struct Groups {
    general: Stats,
    settings: Stats,
    items: Stats,
    slabs: Stats,
}

/// Metrics by name, each with its help, kind and values.
#[derive(Debug, Default)]
struct Families(BTreeMap<&'static str, Family>);

#[derive(Debug)]
struct Family {
    kind: MetricKind,
    help: &'static str,
    lines: Vec<(String, String)>,
}

/// All metrics as text, and the number of servers that did not answer.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) text: String,
    pub(crate) unreachable: usize,
}

/// Scrapes all servers, with the metrics of each slab class on request.
pub(crate) async fn scrape(client: &Client, has_classes: bool) -> Metrics {
    let mut tasks = JoinSet::new();
    for (index, server) in client.servers().into_iter().enumerate() {
        tasks.spawn(async move { (index, scrape_server(&server, has_classes).await) });
    }
    let mut scrapes = tasks.join_all().await;
    scrapes.sort_by_key(|(index, _)| *index);
    let mut families = Families::default();
    scrapes.iter().for_each(|(_, scrape)| scrape.add_to(&mut families, has_classes));
    let unreachable = scrapes.iter().filter(|(_, scrape)| scrape.groups.is_none()).count();
    Metrics { text: families.text(), unreachable }
}

async fn scrape_server(server: &ServerHandle, has_classes: bool) -> Scrape {
    let groups = match stats::fetch(server, "").await {
        Ok(general) => Some(Groups {
            general,
            settings: stats::fetch(server, "settings").await.unwrap_or_default(),
            items: match has_classes {
                true => stats::fetch(server, "items").await.unwrap_or_default(),
                false => Stats::default(),
            },
            slabs: stats::fetch(server, "slabs").await.unwrap_or_default(),
        }),
        Err(_) => None,
    };
    Scrape { server: server.name().to_owned(), groups }
}

impl Scrape {
    fn add_to(&self, families: &mut Families, has_classes: bool) {
        let server = format!("server=\"{}\"", escaped(&self.server));
        let up = if self.groups.is_some() { "1" } else { "0" };
        families.push("up", MetricKind::Gauge, "Whether the server answered.", &server, up);
        let Some(groups) = &self.groups else { return };
        if let Some(version) = groups.general.text("version") {
            let labels = format!("{server},version=\"{}\"", escaped(version));
            families.push("version", MetricKind::Gauge, "The version of the server, as a label.", &labels, "1");
        }
        families.push_all(GENERAL, &groups.general, "", &server);
        families.push_all(GENERAL, &groups.slabs, "", &server);
        families.push_all(SETTINGS, &groups.settings, "", &server);
        families.push_commands("commands_total", COMMANDS, &groups.general, "", &server);
        families.push_sets("commands_total", &groups.general, "", &server);
        if has_classes {
            groups.add_classes_to(families, &server);
        }
    }
}

impl Groups {
    /// Adds the metrics of each slab class.
    fn add_classes_to(&self, families: &mut Families, server: &str) {
        for class in self.items.ids("items:") {
            let labels = format!("{server},slab=\"{class}\"");
            families.push_all(ITEMS, &self.items, &format!("items:{class}:"), &labels);
            families.push_lru_hits(&self.items, class, &labels);
        }
        for class in self.slabs.ids("") {
            let labels = format!("{server},slab=\"{class}\"");
            families.push_all(SLABS, &self.slabs, &format!("{class}:"), &labels);
            let prefix = format!("{class}:");
            families.push_commands("slab_commands_total", SLAB_COMMANDS, &self.slabs, &prefix, &labels);
            families.push_sets("slab_commands_total", &self.slabs, &prefix, &labels);
        }
    }
}

impl Families {
    fn push(&mut self, name: &'static str, kind: MetricKind, help: &'static str, labels: &str, value: &str) {
        let family = self.0.entry(name).or_insert_with(|| Family { kind, help, lines: Vec::new() });
        family.lines.push((labels.to_owned(), value.to_owned()));
    }

    /// Adds the metrics that the server reports.
    fn push_all(&mut self, metrics: &'static [Metric], stats: &Stats, prefix: &str, labels: &str) {
        for metric in metrics {
            if let Some(value) = stats.text(&format!("{prefix}{}", metric.stat)).and_then(number) {
                self.push(metric.name, metric.kind, metric.help, labels, &value);
            }
        }
    }

    fn push_commands(
        &mut self,
        name: &'static str,
        commands: &[(&str, &str, &str)],
        stats: &Stats,
        prefix: &str,
        labels: &str,
    ) {
        for (stat, command, status) in commands {
            if let Some(value) = stats.text(&format!("{prefix}{stat}")).and_then(number) {
                let labels = format!("{labels},command=\"{command}\",status=\"{status}\"");
                self.push(name, MetricKind::Counter, "Requests by command and status.", &labels, &value);
            }
        }
    }

    /// Adds the sets without the compare-and-swaps, which the server counts as sets too.
    fn push_sets(&mut self, name: &'static str, stats: &Stats, prefix: &str, labels: &str) {
        let number = |stat: &str| stats.number(&format!("{prefix}{stat}"));
        let sets = number("cmd_set").map(|sets| {
            let swaps = ["cas_hits", "cas_misses", "cas_badval"].map(|stat| number(stat).unwrap_or_default());
            sets.saturating_sub(swaps.iter().sum())
        });
        if let Some(sets) = sets {
            let labels = format!("{labels},command=\"set\",status=\"hit\"");
            self.push(name, MetricKind::Counter, "Requests by command and status.", &labels, &sets.to_string());
        }
    }

    fn push_lru_hits(&mut self, stats: &Stats, class: &str, labels: &str) {
        for (stat, lru) in LRU_HITS {
            if let Some(value) = stats.text(&format!("items:{class}:{stat}")).and_then(number) {
                let labels = format!("{labels},lru=\"{lru}\"");
                self.push(
                    "slab_lru_hits_total",
                    MetricKind::Counter,
                    "Gets that found their item in this LRU.",
                    &labels,
                    &value,
                );
            }
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (name, family) in &self.0 {
            let kind = match family.kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
                MetricKind::Untyped => "untyped",
            };
            // Writing to a String does not fail.
            let _ = write!(text, "# HELP memcached_{name} {}\n# TYPE memcached_{name} {kind}\n", family.help);
            for (labels, value) in &family.lines {
                let _ = writeln!(text, "memcached_{name}{{{labels}}} {value}");
            }
        }
        text
    }
}

/// Returns a statistic as a number: `yes` and `no` are 1 and 0.
fn number(text: &str) -> Option<String> {
    match text {
        "yes" => Some("1".into()),
        "no" => Some("0".into()),
        _ => text.parse::<f64>().ok().map(|_| text.to_owned()),
    }
}

/// Returns the value of a label: quotes and backslashes are escaped, and what could control a terminal.
fn escaped(text: &str) -> String {
    escape_line(text).replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups() -> Groups {
        Groups {
            general: [
                ("version", "1.6.18"),
                ("curr_items", "3"),
                ("cmd_set", "9"),
                ("cas_hits", "2"),
                ("get_hits", "5"),
            ]
            .into_iter()
            .collect(),
            settings: [("lru_crawler", "yes"), ("inter", "0.0.0.0")].into_iter().collect(),
            items: [("items:1:number", "2"), ("items:1:hits_to_hot", "4"), ("items:5:number", "1")]
                .into_iter()
                .collect(),
            slabs: [
                ("1:chunk_size", "96"),
                ("1:get_hits", "4"),
                ("1:cmd_set", "7"),
                ("1:cas_badval", "2"),
                ("total_malloced", "1048576"),
            ]
            .into_iter()
            .collect(),
        }
    }

    fn text(has_classes: bool) -> String {
        let mut families = Families::default();
        Scrape { server: "a:1".into(), groups: Some(groups()) }.add_to(&mut families, has_classes);
        Scrape { server: "b\"".into(), groups: None }.add_to(&mut families, has_classes);
        families.text()
    }

    #[test]
    fn a_scrape_as_text() {
        let text = text(true);
        for line in [
            "memcached_up{server=\"a:1\"} 1",
            "memcached_up{server=\"b\\\"\"} 0",
            "memcached_version{server=\"a:1\",version=\"1.6.18\"} 1",
            "# TYPE memcached_current_items gauge",
            "memcached_current_items{server=\"a:1\"} 3",
            "memcached_commands_total{server=\"a:1\",command=\"set\",status=\"hit\"} 7",
            "memcached_commands_total{server=\"a:1\",command=\"get\",status=\"hit\"} 5",
            "memcached_lru_crawler_enabled{server=\"a:1\"} 1",
            "memcached_slab_current_items{server=\"a:1\",slab=\"5\"} 1",
            "memcached_slab_lru_hits_total{server=\"a:1\",slab=\"1\",lru=\"hot\"} 4",
            "memcached_slab_chunk_size_bytes{server=\"a:1\",slab=\"1\"} 96",
            "memcached_slab_commands_total{server=\"a:1\",slab=\"1\",command=\"get\",status=\"hit\"} 4",
            "memcached_slab_commands_total{server=\"a:1\",slab=\"1\",command=\"set\",status=\"hit\"} 5",
            "memcached_malloced_bytes{server=\"a:1\"} 1048576",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
        assert_eq!(text.matches("# TYPE memcached_up ").count(), 1);
    }

    #[test]
    fn slab_classes_can_be_left_out() {
        let text = text(false);
        assert!(!text.contains("slab=") && !text.contains("memcached_slab"), "{text}");
        // It is of the same group of statistics.
        assert!(text.contains("memcached_malloced_bytes{server=\"a:1\"} 1048576"), "{text}");
    }
}
