//! Pages about one server: its slab classes, its LRU, its connections.

use super::screen::Tab;
use crate::output::number;
use crate::stats::Stats;

/// Statistics of the selected server, for its page.
#[derive(Debug, Default)]
pub(super) struct Details {
    /// `None` until the server has responded.
    pub(super) stats: Option<Stats>,
    /// Why it has not.
    pub(super) failure: Option<String>,
}

/// A column of a page: its title, its statistic and its format.
struct StatColumn {
    title: &'static str,
    width: u16,
    stat: &'static str,
    format: fn(u64) -> String,
}

const fn column(title: &'static str, width: u16, stat: &'static str, format: fn(u64) -> String) -> StatColumn {
    StatColumn { title, width, stat, format }
}

const SLABS: &[StatColumn] = &[
    column("CHUNK", 7, "chunk_size", number::bytes),
    column("PAGES", 6, "total_pages", number::count),
    column("USED", 7, "used_chunks", number::count),
    column("FREE", 7, "free_chunks", number::count),
    column("HITS", 7, "get_hits", number::count),
    column("SETS", 7, "cmd_set", number::count),
];

const LRU: &[StatColumn] = &[
    column("ITEMS", 7, "number", number::count),
    column("BYTES", 7, "mem_requested", number::bytes),
    column("HOT", 7, "number_hot", number::count),
    column("WARM", 7, "number_warm", number::count),
    column("COLD", 7, "number_cold", number::count),
    column("AGE", 7, "age", number::age),
    column("EVICTED", 8, "evicted", number::count),
    column("LAST", 7, "evicted_time", number::age),
    column("UNREAD", 7, "evicted_unfetched", number::count),
    column("NOMEM", 6, "outofmemory", number::count),
];

/// A page about one server, as texts.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Titles and widths.
    pub(super) columns: Vec<(&'static str, u16)>,
    /// Number of left-aligned columns at the beginning; the others are right-aligned.
    pub(super) left_aligned: usize,
    pub(super) rows: Vec<Vec<String>>,
    /// A message above the rows.
    pub(super) note: String,
}

impl Details {
    /// Returns the page of a tab.
    pub(super) fn page(&self, tab: Tab) -> Page {
        let page = match tab {
            Tab::Slabs => self.classes("", SLABS),
            Tab::Lru => self.classes("items:", LRU),
            Tab::Connections => self.connections(),
            Tab::Overview | Tab::Prefixes | Tab::Events => Page::default(),
        };
        let note = match (&self.failure, &self.stats) {
            (Some(reason), _) => reason.clone(),
            (None, None) => "waiting for the server".to_owned(),
            (None, Some(_)) if page.rows.is_empty() => "it has none".to_owned(),
            (None, Some(_)) => String::new(),
        };
        Page { note, ..page }
    }

    /// Returns a row for each slab class, from names such as `items:3:age`.
    fn classes(&self, prefix: &str, columns: &[StatColumn]) -> Page {
        let titles = std::iter::once(("CLASS", 6)).chain(columns.iter().map(|column| (column.title, column.width)));
        let rows = self.stats.iter().flat_map(|stats| stats.ids(prefix)).map(|class| {
            let cell = |column: &StatColumn| {
                let value = self.stats.as_ref()?.number(&format!("{prefix}{class}:{}", column.stat));
                value.map(column.format)
            };
            let cells = columns.iter().map(|column| cell(column).unwrap_or_else(|| "-".into()));
            std::iter::once(class.to_owned()).chain(cells).collect()
        });
        Page { columns: titles.collect(), left_aligned: 1, rows: rows.collect(), note: String::new() }
    }

    fn connections(&self) -> Page {
        let titles = vec![("FD", 5), ("PEER", 30), ("STATE", 18), ("IDLE", 8)];
        let rows = self.stats.iter().flat_map(|stats| stats.ids("")).map(|fd| {
            let text = |stat: &str| self.stats.as_ref()?.text(&format!("{fd}:{stat}"));
            let idle = text("secs_since_last_cmd").and_then(|text| text.parse().ok()).map(number::age);
            let state = text("state").unwrap_or("-").trim_start_matches("conn_");
            vec![fd.to_owned(), text("addr").unwrap_or("-").to_owned(), state.to_owned(), idle.unwrap_or_default()]
        });
        Page { columns: titles, left_aligned: 3, rows: rows.collect(), note: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_a_row_for_each_class_and_connection() {
        let page = |stats: &[(&str, &str)], tab| {
            let stats = stats.iter().copied().collect();
            Details { stats: Some(stats), failure: None }.page(tab).rows
        };
        let slabs = page(
            &[("1:chunk_size", "96"), ("1:total_pages", "1"), ("5:chunk_size", "240"), ("active_slabs", "2")],
            Tab::Slabs,
        );
        assert_eq!((slabs.len(), &slabs[0][..3]), (2, &["1".to_owned(), "96B".into(), "1".into()][..]));
        let lru = page(&[("items:1:number", "7"), ("items:1:age", "60")], Tab::Lru);
        assert_eq!((&*lru[0][1], &*lru[0][6]), ("7", "1m00s"));
        let conns = page(
            &[("25:addr", "tcp:1.2.3.4:5"), ("25:state", "conn_read"), ("25:secs_since_last_cmd", "3")],
            Tab::Connections,
        );
        assert_eq!(conns[0], ["25", "tcp:1.2.3.4:5", "read", "3s"]);
    }

    #[test]
    fn a_page_says_why_it_is_empty() {
        let note = |details: &Details| details.page(Tab::Slabs).note;
        assert_eq!(note(&Details::default()), "waiting for the server");
        assert_eq!(note(&Details { stats: Some(Stats::default()), failure: None }), "it has none");
        assert_eq!(note(&Details { stats: None, failure: Some("refused".into()) }), "refused");
    }
}
