//! State of the screen: tab, order, filter and selection; and the keys that change it.

use std::cmp::Ordering;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::cluster::{Cluster, PolledServer, Window};

/// State of the screen.
#[derive(Debug, Default)]
pub(super) struct Screen {
    pub(super) tab: Tab,
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    pub(super) filter: String,
    /// Whether keys are added to the filter.
    pub(super) is_typing: bool,
    /// Index of the selected row, among those that are shown.
    pub(super) selected: usize,
    /// The first line of a page that is longer than the screen.
    pub(super) first_line: usize,
    pub(super) is_paused: bool,
    pub(super) has_help: bool,
    /// Whether the next key confirms that prefixes are counted.
    pub(super) is_confirming: bool,
    /// The stream of events that is followed.
    pub(super) stream: EventStream,
    /// A message that is shown until the next key.
    pub(super) notice: String,
}

/// An action of a key beyond the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    None,
    Export,
    /// Toggle the counting of prefixes on the selected server, after a confirmation.
    CountPrefixes,
    /// The same, confirmed.
    ConfirmCountPrefixes,
    Quit,
}

/// A page of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tab {
    /// A row for each server.
    #[default]
    Overview,
    /// The slab classes of the selected server.
    Slabs,
    /// The LRU of the selected server.
    Lru,
    /// Counts of the selected server by prefix.
    Prefixes,
    /// The connections of the selected server.
    Connections,
    /// Events of all servers, and the log of the selected one.
    Events,
}

impl Tab {
    pub(super) const ALL: [(Self, &'static str); 6] = [
        (Self::Overview, "overview"),
        (Self::Slabs, "slabs"),
        (Self::Lru, "LRU"),
        (Self::Prefixes, "prefixes"),
        (Self::Connections, "conns"),
        (Self::Events, "events"),
    ];

    fn index(self) -> usize {
        Self::ALL.iter().position(|(tab, _)| *tab == self).unwrap_or_default()
    }

    fn step(self, by: usize) -> Self {
        Self::ALL[(self.index() + by) % Self::ALL.len()].0
    }

    /// Returns the group of statistics that the page shows.
    pub(super) fn group(self) -> Option<&'static str> {
        match self {
            Self::Overview | Self::Prefixes | Self::Events => None,
            Self::Slabs => Some("slabs"),
            Self::Lru => Some("items"),
            Self::Connections => Some("conns"),
        }
    }
}

/// Streams of a server's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum EventStream {
    /// Items evicted to free memory.
    #[default]
    Evictions,
    /// Stores, deletes, counters.
    Mutations,
    /// Fetches.
    Fetchers,
    /// Connections that open and close.
    Connections,
}

impl EventStream {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Evictions, "evictions"),
        (Self::Mutations, "mutations"),
        (Self::Fetchers, "fetchers"),
        (Self::Connections, "connevents"),
    ];

    /// Returns the name in the protocol.
    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(stream, _)| *stream == self).map_or("", |(_, name)| name)
    }

    fn next(self) -> Self {
        let index = Self::ALL.iter().position(|(stream, _)| *stream == self).unwrap_or_default();
        Self::ALL[(index + 1) % Self::ALL.len()].0
    }
}

/// Order of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// The order of the command line.
    #[default]
    Given,
    Name,
    Hits,
    Gets,
    Sets,
    Evictions,
    Memory,
    Items,
    Connections,
    Ping,
}

impl Sort {
    pub(super) const ALL: [(Self, &'static str); 10] = [
        (Self::Given, "as given"),
        (Self::Name, "SERVER"),
        (Self::Hits, "HIT%"),
        (Self::Gets, "GET/s"),
        (Self::Sets, "SET/s"),
        (Self::Evictions, "EVICT/s"),
        (Self::Memory, "MEM%"),
        (Self::Items, "ITEMS"),
        (Self::Connections, "CONNS"),
        (Self::Ping, "PING"),
    ];

    pub(super) fn title(self) -> &'static str {
        Self::ALL.iter().find(|(sort, _)| *sort == self).map(|(_, title)| *title).unwrap_or_default()
    }

    fn step(self, by: usize) -> Self {
        let index = Self::ALL.iter().position(|(sort, _)| *sort == self).unwrap_or_default();
        Self::ALL[(index + by) % Self::ALL.len()].0
    }

    /// Returns the number by which rows are sorted, the largest first.
    fn figure(self, member: &PolledServer) -> f64 {
        let number = |number: Option<u64>| number.map(|number| number as f64);
        let figure = match self {
            Self::Given | Self::Name => None,
            Self::Hits => member.hit_percent(Window::Latest),
            Self::Gets => member.rate("cmd_get"),
            Self::Sets => member.rate("cmd_set"),
            Self::Evictions => member.rate("evictions"),
            Self::Memory => member.share("bytes", "limit_maxbytes"),
            Self::Items => number(member.number("curr_items")),
            Self::Connections => number(member.number("curr_connections")),
            Self::Ping => member.ping.map(|ping| ping.as_secs_f64()),
        };
        figure.unwrap_or(f64::NEG_INFINITY)
    }

    fn compare(self, one: &PolledServer, other: &PolledServer) -> Ordering {
        match self {
            Self::Given => Ordering::Equal,
            Self::Name => one.name.cmp(&other.name),
            _ => self.figure(other).total_cmp(&self.figure(one)),
        }
    }
}

impl Screen {
    /// Returns the indexes of the shown servers, in the order of the rows.
    pub(super) fn rows(&self, cluster: &Cluster) -> Vec<usize> {
        let filter = self.filter.to_lowercase();
        let fits = |member: &PolledServer| member.name.to_lowercase().contains(&filter);
        let mut rows: Vec<usize> = (0..cluster.servers.len()).filter(|&index| fits(&cluster.servers[index])).collect();
        rows.sort_by(|&one, &other| self.sort.compare(&cluster.servers[one], &cluster.servers[other]));
        if self.is_reversed {
            rows.reverse();
        }
        rows
    }

    /// Returns the index of the selected server.
    pub(super) fn selected_index(&self, cluster: &Cluster) -> Option<usize> {
        let rows = self.rows(cluster);
        rows.get(self.selected.min(rows.len().saturating_sub(1))).copied()
    }

    pub(super) fn tab_index(&self) -> usize {
        self.tab.index()
    }

    /// Handles a key.
    pub(super) fn handle_key(&mut self, key: KeyEvent, rows: usize) -> Action {
        self.notice.clear();
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control && matches!(key.code, KeyCode::Char('c')) {
            return Action::Quit;
        }
        if self.is_typing {
            self.type_filter(key.code);
            return Action::None;
        }
        if std::mem::take(&mut self.is_confirming) {
            return if matches!(key.code, KeyCode::Char('y')) { Action::ConfirmCountPrefixes } else { Action::None };
        }
        match key.code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Char('e') => return Action::Export,
            KeyCode::Char('d') if self.tab == Tab::Prefixes => return Action::CountPrefixes,
            KeyCode::Char('w') if self.tab == Tab::Events => self.stream = self.stream.next(),
            KeyCode::Esc if self.has_help => self.has_help = false,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('?' | 'h') => self.has_help = !self.has_help,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('s') | KeyCode::Right => self.sort = self.sort.step(1),
            KeyCode::Char('S') | KeyCode::Left => self.sort = self.sort.step(Sort::ALL.len() - 1),
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Tab => self.tab = self.tab.step(1),
            KeyCode::BackTab => self.tab = self.tab.step(Tab::ALL.len() - 1),
            KeyCode::Char(digit @ '1'..='6') => self.tab = Tab::ALL[digit as usize - '1' as usize].0,
            KeyCode::Enter => self.tab = Tab::Slabs,
            code => self.move_selection(code, rows),
        }
        Action::None
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(letter) => self.filter.push(letter),
            _ => {}
        }
        self.selected = 0;
    }

    /// Scrolls a page about one server; drawing limits it to the end.
    fn scroll(&mut self, code: KeyCode) {
        self.first_line = match code {
            KeyCode::PageUp => self.first_line.saturating_sub(10),
            _ => self.first_line.saturating_add(10),
        };
    }

    fn move_selection(&mut self, code: KeyCode, rows: usize) {
        let last = rows.saturating_sub(1);
        let selected = self.selected.min(last);
        self.selected = match code {
            KeyCode::PageUp | KeyCode::PageDown if self.tab != Tab::Overview => return self.scroll(code),
            KeyCode::Up | KeyCode::Char('k') => selected.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => (selected + 1).min(last),
            KeyCode::PageUp => selected.saturating_sub(10),
            KeyCode::PageDown => (selected + 10).min(last),
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => last,
            _ => selected,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::super::cluster::PollResult;
    use super::*;
    use std::time::{Duration, Instant};

    fn cluster() -> Cluster {
        let mut cluster = Cluster::new(["b:1", "a:1", "c:1"].map(str::to_owned));
        for (index, items) in [(0, "5"), (1, "7")] {
            let stats = Ok([("curr_items", items)].into_iter().collect());
            cluster.update(index, PollResult { at: Instant::now(), stats, ping: Some(Duration::from_millis(1)) });
        }
        cluster.update(2, PollResult { at: Instant::now(), stats: Err("refused".into()), ping: None });
        cluster
    }

    fn press(screen: &mut Screen, keys: &str) {
        for key in keys.chars() {
            screen.handle_key(KeyEvent::from(KeyCode::Char(key)), 3);
        }
    }

    #[test]
    fn rows_are_sorted_and_filtered() {
        let mut screen = Screen::default();
        assert_eq!(screen.rows(&cluster()), [0, 1, 2]);
        screen.sort = Sort::Name;
        assert_eq!(screen.rows(&cluster()), [1, 0, 2]);
        screen.sort = Sort::Items;
        assert_eq!(screen.rows(&cluster()), [1, 0, 2], "unknown values come last");
        press(&mut screen, "r");
        assert_eq!(screen.rows(&cluster()), [2, 0, 1]);
        press(&mut screen, "/A");
        assert_eq!(screen.rows(&cluster()), [1]);
        assert_eq!(screen.selected_index(&cluster()), Some(1));
    }

    #[test]
    fn letters_of_a_filter_are_not_commands() {
        let mut screen = Screen::default();
        press(&mut screen, "/qep");
        assert_eq!((&*screen.filter, screen.is_paused), ("qep", false));
        screen.handle_key(KeyEvent::from(KeyCode::Esc), 3);
        assert_eq!((&*screen.filter, screen.is_typing), ("", false));
        assert_eq!(screen.handle_key(KeyEvent::from(KeyCode::Char('q')), 3), Action::Quit);
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        press(&mut screen, "/");
        assert_eq!(screen.handle_key(control_c, 3), Action::Quit);
    }

    #[test]
    fn counting_prefixes_needs_a_confirmation() {
        let mut screen = Screen { tab: Tab::Prefixes, ..Screen::default() };
        let key = |letter| KeyEvent::from(KeyCode::Char(letter));
        assert_eq!(screen.handle_key(key('d'), 3), Action::CountPrefixes);
        screen.is_confirming = true;
        assert_eq!(screen.handle_key(key('q'), 3), Action::None);
        screen.is_confirming = true;
        assert_eq!(screen.handle_key(key('y'), 3), Action::ConfirmCountPrefixes);
        assert!(!screen.is_confirming);
        screen.tab = Tab::Events;
        assert_eq!(screen.handle_key(key('d'), 3), Action::None);
        screen.handle_key(key('w'), 3);
        assert_eq!(screen.stream.name(), "mutations");
    }

    #[test]
    fn the_selection_stays_within_the_rows() {
        let mut screen = Screen::default();
        press(&mut screen, "jjjjj");
        assert_eq!(screen.selected, 2);
        press(&mut screen, "kkkkk");
        assert_eq!(screen.selected, 0);
        press(&mut screen, "6");
        assert_eq!(screen.tab, Tab::Events);
        screen.handle_key(KeyEvent::from(KeyCode::Tab), 3);
        assert_eq!(screen.tab, Tab::Overview);
    }
}
