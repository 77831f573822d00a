//! The pages about one server: its slab classes, its LRU, its connections.

use super::screen::Tab;
use crate::output::number;
use crate::stats::Stats;

/// What the selected server tells beyond the overview.
#[derive(Debug, Default)]
pub(super) struct Details {
    pub(super) figures: Stats,
    /// Why there is nothing.
    pub(super) failure: Option<String>,
}

/// A column of a page: its title, the statistic, and how it is written.
struct Column {
    title: &'static str,
    width: u16,
    stat: &'static str,
    write: fn(u64) -> String,
}

const fn column(title: &'static str, width: u16, stat: &'static str, write: fn(u64) -> String) -> Column {
    Column { title, width, stat, write }
}

const SLABS: &[Column] = &[
    column("CHUNK", 7, "chunk_size", number::bytes),
    column("PAGES", 6, "total_pages", number::count),
    column("USED", 7, "used_chunks", number::count),
    column("FREE", 7, "free_chunks", number::count),
    column("HITS", 7, "get_hits", number::count),
    column("SETS", 7, "cmd_set", number::count),
];

const LRU: &[Column] = &[
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

/// A page about one server, ready to be drawn.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Titles and widths.
    pub(super) columns: Vec<(&'static str, u16)>,
    /// How many of the first columns hold words: the others hold numbers, which stand at their right.
    pub(super) words: usize,
    pub(super) rows: Vec<Vec<String>>,
    /// What is to be said beside them; empty where they say all.
    pub(super) note: String,
}

impl Details {
    /// The page of a tab.
    pub(super) fn page(&self, tab: Tab) -> Page {
        let page = match tab {
            Tab::Slabs => self.classes("", SLABS),
            Tab::Lru => self.classes("items:", LRU),
            Tab::Connections => self.connections(),
            Tab::Overview | Tab::Prefixes | Tab::Events => Page::default(),
        };
        let note = match (&self.failure, page.rows.is_empty()) {
            (Some(reason), _) => reason.clone(),
            (None, true) => "nothing to show".to_owned(),
            (None, false) => String::new(),
        };
        Page { note, ..page }
    }

    /// Names such as `items:3:age`, as a row for each class.
    fn classes(&self, prefix: &str, columns: &[Column]) -> Page {
        let titles = std::iter::once(("CLASS", 6)).chain(columns.iter().map(|column| (column.title, column.width)));
        let rows = self.subjects(prefix).into_iter().map(|class| {
            let cell = |column: &Column| {
                let value = self.figures.number(&format!("{prefix}{class}:{}", column.stat));
                value.map_or_else(|| "-".into(), column.write)
            };
            std::iter::once(class.to_owned()).chain(columns.iter().map(cell)).collect()
        });
        Page { columns: titles.collect(), words: 1, rows: rows.collect(), note: String::new() }
    }

    fn connections(&self) -> Page {
        let titles = vec![("FD", 5), ("PEER", 30), ("STATE", 18), ("SILENT", 8)];
        let rows = self.subjects("").into_iter().map(|fd| {
            let text = |stat: &str| self.figures.text(&format!("{fd}:{stat}"));
            let silent = text("secs_since_last_cmd").and_then(|text| text.parse().ok()).map(number::age);
            let state = text("state").unwrap_or("-").trim_start_matches("conn_");
            vec![fd.to_owned(), text("addr").unwrap_or("-").to_owned(), state.to_owned(), silent.unwrap_or_default()]
        });
        Page { columns: titles, words: 3, rows: rows.collect(), note: String::new() }
    }

    /// The numbers that names begin with, in the server's order.
    fn subjects(&self, prefix: &str) -> Vec<&str> {
        let mut subjects: Vec<&str> = Vec::new();
        for (name, _) in self.figures.iter() {
            let subject = name.strip_prefix(prefix).and_then(|rest| Some(rest.split_once(':')?.0));
            if let Some(subject) = subject.filter(|subject| subject.bytes().all(|byte| byte.is_ascii_digit()))
                && subjects.last() != Some(&subject)
            {
                subjects.push(subject);
            }
        }
        subjects
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_a_row_for_each_class_and_connection() {
        let page = |figures: &[(&str, &str)], tab| {
            let figures = figures.iter().copied().collect();
            Details { figures, failure: None }.page(tab).rows
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
}
