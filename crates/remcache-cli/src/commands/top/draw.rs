//! Draws the screen: a pure function of the state.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Row, Table, Tabs};

use super::cluster::Cluster;
use super::details::{Details, Page};
use super::log::LogTail;
use super::overview;
use super::prefixes::Prefixes;
use super::screen::{Screen, Tab};
use crate::escape::escape_line;
use crate::output::number;

/// The state that is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct RenderState<'s> {
    pub(super) cluster: &'s Cluster,
    pub(super) screen: &'s Screen,
    pub(super) details: &'s Details,
    pub(super) prefixes: &'s Prefixes,
    /// The end of the selected server's log, while it is followed.
    pub(super) log: Option<&'s LogTail>,
    pub(super) is_colored: bool,
}

/// Draws the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, state: RenderState<'_>) {
    let theme = Theme { is_colored: state.is_colored };
    let (cluster, screen) = (state.cluster, state.screen);
    let [top, tabs, page, bottom] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(Paragraph::new(summary(cluster, top.width, theme)), top);
    draw_tabs(frame, tabs, screen);
    match screen.tab {
        Tab::Overview => overview::draw(frame, page, cluster, screen, theme),
        Tab::Events => events(frame, page, state, theme),
        Tab::Prefixes => draw_page(frame, page, state, state.prefixes.page(), theme),
        _ => draw_page(frame, page, state, state.details.page(screen.tab), theme),
    }
    frame.render_widget(Paragraph::new(footer(screen)), bottom);
    if screen.has_help {
        help(frame);
    }
}

/// Styles of the screen, with or without colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    is_colored: bool,
}

impl Theme {
    pub(super) fn good(self) -> Style {
        self.color(Color::Green)
    }

    pub(super) fn color(self, color: Color) -> Style {
        if self.is_colored { Style::new().fg(color) } else { Style::new() }
    }

    pub(super) fn bad(self) -> Style {
        self.color(Color::Red)
    }

    pub(super) fn warning(self) -> Style {
        self.color(Color::Yellow)
    }

    pub(super) fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) fn title(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }
}

fn summary(cluster: &Cluster, width: u16, theme: Theme) -> Line<'static> {
    let (alive, all) = (cluster.alive(), cluster.servers.len());
    let rate = |name: &'static str| number::rate(cluster.total(|member| member.rate(name)));
    let sum = |name: &'static str| cluster.total(|member| Some(member.number(name)? as f64)) as u64;
    let style = if alive < all { theme.bad() } else { theme.good() };
    let hits = cluster.hit_percent().map_or_else(String::new, |percent| format!("  {percent:.1}% hit"));
    let mut spans = vec![
        Span::styled(format!("{alive}/{all} up"), style),
        Span::raw(format!("  {} get/s  {} set/s{hits}", rate("cmd_get"), rate("cmd_set"))),
        Span::raw(format!("  {} items", number::count(sum("curr_items")))),
        Span::raw(format!("  {}", number::bytes_of(sum("bytes"), sum("limit_maxbytes")))),
    ];
    if width >= WIDE {
        spans.insert(0, Span::styled("remcache top  ", theme.title()));
    }
    Line::from(spans)
}

/// Draws the titles of all pages, or on a narrow screen that of the shown page.
fn draw_tabs(frame: &mut Frame<'_>, area: Rect, screen: &Screen) {
    let titles = Tab::ALL.iter().enumerate().map(|(index, (_, title))| format!("{} {title}", index + 1));
    let titles: Vec<String> = titles.collect();
    let highlight = Style::new().add_modifier(Modifier::REVERSED);
    let width: usize = titles.iter().map(|title| title.len() + 2).sum();
    if width > usize::from(area.width) {
        let shown =
            Line::from(vec![Span::styled(titles[screen.tab_index()].clone(), highlight), Span::raw(" Tab: next")]);
        return frame.render_widget(Paragraph::new(shown), area);
    }
    frame.render_widget(Tabs::new(titles).select(screen.tab_index()).highlight_style(highlight).divider(""), area);
}

fn footer(screen: &Screen) -> String {
    if !screen.notice.is_empty() {
        return screen.notice.clone();
    }
    if screen.is_typing {
        return format!("filter: {}_   Enter: apply  Esc: clear", screen.filter);
    }
    let mut parts = vec!["? help  q quit".to_owned()];
    if screen.is_paused {
        parts.insert(0, "PAUSED".into());
    }
    match screen.tab {
        Tab::Prefixes => parts.push("d: start or stop counting".into()),
        Tab::Events => parts.push("w: next stream".into()),
        _ => parts.push(format!("sort: {}{}", screen.sort.title(), if screen.is_reversed { " reversed" } else { "" })),
    }
    if !screen.filter.is_empty() {
        parts.push(format!("filter: {}", screen.filter));
    }
    parts.join("   ")
}

/// Draws the events of all servers, and below them the log of the selected one.
fn events(frame: &mut Frame<'_>, area: Rect, state: RenderState<'_>, theme: Theme) {
    let happened = state.cluster.events.iter().map(|event| {
        let style = if event.is_bad { theme.bad() } else { theme.good() };
        Line::from(vec![
            Span::styled(format!("{}  ", event.time), theme.faint()),
            Span::raw(format!("{}  ", escape_line(&event.server))),
            Span::styled(escape_line(&event.what).into_owned(), style),
        ])
    });
    let [upper, lower] = Layout::vertical([Constraint::Fill(1), Constraint::Fill(2)]).areas(area);
    let mut lines: Vec<Line<'_>> = happened.take(upper.height.into()).collect();
    if lines.is_empty() {
        lines.push(Line::from("no events yet"));
    }
    frame.render_widget(Paragraph::new(lines), upper);
    let tail = state.log.cloned().unwrap_or_default();
    let mut title = format!("{}: {} {}", state.selected(), number::exact(tail.events), state.screen.stream.name());
    if tail.skipped > 0 {
        title += &format!(", {} skipped by the server", number::exact(tail.skipped));
    }
    if let Some(reason) = tail.failure {
        title += &format!("; {reason}");
    }
    let title = escape_line(&title).into_owned();
    let lines: Vec<Line<'_>> = tail.lines.into_iter().take(lower.height.into()).map(Line::from).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::new().title(title).title_style(theme.title())), lower);
}

impl<'s> RenderState<'s> {
    /// Returns the name of the selected server.
    fn selected(self) -> &'s str {
        self.screen.selected_index(self.cluster).map(|index| &*self.cluster.servers[index].name).unwrap_or_default()
    }
}

/// Draws a page about the selected server, with as many columns as fit.
fn draw_page(frame: &mut Frame<'_>, area: Rect, state: RenderState<'_>, page: Page, theme: Theme) {
    let selected = state.selected();
    let columns = fitting(&page.columns, area.width);
    let widths: Vec<u16> = columns.iter().map(|(_, width)| *width).collect();
    let mut note = if page.note.is_empty() { selected.to_owned() } else { format!("{selected}: {}", page.note) };
    let (all, room) = (page.rows.len(), usize::from(area.height.saturating_sub(2)));
    let first = state.screen.first_line.min(all.saturating_sub(room));
    if all > room {
        note += &format!("  {}-{} of {all}", first + 1, first + room);
    }
    if columns.len() < page.columns.len() {
        let omitted: Vec<_> = page.columns[columns.len()..].iter().map(|(title, _)| *title).collect();
        note += &format!("  (left out: {})", omitted.join(", "));
    }
    let note = escape_line(&note).into_owned();
    let rows = page.rows.into_iter().skip(first).map(|cells| {
        let cells = cells.iter().map(|cell| escape_line(cell).into_owned());
        let aligned = cells.zip(&widths).enumerate();
        Row::new(
            aligned.map(|(index, (cell, width))| if index < page.left_aligned { cell } else { right(&cell, *width) }),
        )
    });
    let titles = columns.iter().enumerate();
    let titles = titles.map(
        |(index, (title, width))| if index < page.left_aligned { (*title).to_owned() } else { right(title, *width) },
    );
    let table = Table::new(rows, widths.iter().copied().map(Constraint::Length))
        .header(Row::new(titles).style(theme.title()))
        .block(Block::new().title(note));
    frame.render_widget(table, area);
}

/// Returns the columns that fit the width. A column that is squeezed would show wrong numbers.
fn fitting<'c>(columns: &'c [(&'static str, u16)], width: u16) -> &'c [(&'static str, u16)] {
    let mut end = 0;
    let fits = |(_, column): &&(&str, u16)| {
        end += column + if end == 0 { 0 } else { 1 };
        end <= width
    };
    let count = columns.iter().take_while(fits).count();
    // The first column names the row, and is shown on any screen.
    &columns[..count.max(1).min(columns.len())]
}

/// Right-aligns a text in its column.
fn right(text: &str, width: u16) -> String {
    format!("{text:>width$}", width = usize::from(width))
}

const HELP: &str = "\
Tab 1-6     pages
Up Down     select a server
Enter       its slab classes
PgUp PgDn   scroll servers, or a page
s S         sort by the next, the previous column
r           reverse the order
/           filter the servers by name
p           pause, resume
e           export the shown servers as JSON
d           start or stop counting prefixes
w           next stream of events
q           quit";

/// The width from which the title is shown.
const WIDE: u16 = 60;

fn help(frame: &mut Frame<'_>) {
    let area = frame.area();
    let (width, height) = (52.min(area.width), 14.min(area.height));
    let x = area.x + (area.width - width) / 2;
    let y = area.y + (area.height - height) / 2;
    let area = Rect { x, y, width, height };
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(HELP).block(Block::bordered().title("keys")), area);
}

#[cfg(test)]
mod tests {
    use super::super::cluster::PollResult;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use std::time::{Duration, Instant};

    fn cluster() -> Cluster {
        let mut cluster = Cluster::new(["cache1:11211", "cache2:11211"].map(str::to_owned));
        for (second, gets) in [(0, 0), (1, 1000)] {
            let at = Instant::now() + Duration::from_secs(second);
            let stats =
                [("cmd_get", gets), ("get_hits", gets), ("get_misses", 0), ("bytes", 50), ("limit_maxbytes", 100)];
            let stats = stats.iter().map(|(name, value)| (*name, value.to_string())).collect();
            cluster.update(0, PollResult { at, stats: Ok(stats), ping: Some(Duration::from_micros(40)) });
        }
        cluster.update(1, PollResult { at: Instant::now(), stats: Err("connection refused".into()), ping: None });
        cluster
    }

    fn drawn(width: u16, height: u16, screen: &Screen) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let (cluster, details, prefixes) = (cluster(), Details::default(), Prefixes::default());
        let state = RenderState {
            cluster: &cluster,
            screen,
            details: &details,
            prefixes: &prefixes,
            log: None,
            is_colored: false,
        };
        terminal.draw(|frame| draw(frame, state)).unwrap();
        let lines = terminal.backend().buffer().content.chunks(width.into());
        lines.map(|line| line.iter().map(ratatui::buffer::Cell::symbol).collect::<String>() + "\n").collect()
    }

    #[test]
    fn a_server_that_is_down_shows_the_reason() {
        let text = drawn(120, 8, &Screen::default());
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert!(line("cache1:11211").contains(" 100.0 "), "{text}");
        assert!(line("cache1:11211").contains(" 1.0k        █ "), "{text}");
        assert!(line("cache2:11211").contains("DOWN: connection refused"), "{text}");
        assert!(text.starts_with("remcache top  1/2 up  1.0k get/s  0 set/s"), "{text}");
    }

    #[test]
    fn any_size_can_be_drawn() {
        for (width, height) in [(1, 1), (20, 3), (20, 10), (40, 5), (300, 100)] {
            for (tab, _) in Tab::ALL {
                for has_help in [false, true] {
                    drawn(width, height, &Screen { tab, has_help, ..Screen::default() });
                }
            }
        }
        let narrow = drawn(20, 6, &Screen::default());
        assert!(narrow.contains("cache1:1  100.0"), "{narrow}");
        assert!(narrow.starts_with("1/2 up") && narrow.contains("1 overview Tab: next"), "{narrow}");
        assert!(narrow.contains("? help  q quit"), "{narrow}");
    }

    #[test]
    fn columns_that_do_not_fit_are_left_out() {
        let columns = [("CLASS", 6), ("CHUNK", 7), ("PAGES", 6), ("USED", 7)];
        assert_eq!(fitting(&columns, 80).len(), 4);
        assert_eq!(fitting(&columns, 29).len(), 4);
        assert_eq!(fitting(&columns, 28).len(), 3);
        assert_eq!(fitting(&columns, 3).len(), 1);
        assert!(fitting(&[], 80).is_empty());
    }
}
