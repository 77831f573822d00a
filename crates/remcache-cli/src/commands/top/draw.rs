//! The screen as it is drawn: a pure function of what is known and what is looked at.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table, TableState, Tabs};

use super::details::Details;
use super::fleet::{Fleet, Member, Window};
use super::screen::{Screen, Sort, Tab};
use crate::output::{number, picture};

/// Draws the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, fleet: &Fleet, screen: &Screen, details: &Details, is_colored: bool) {
    let theme = Theme { is_colored };
    let [top, tabs, page, bottom] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(Paragraph::new(summary(fleet, theme)), top);
    let titles = Tab::ALL.iter().enumerate().map(|(index, (_, title))| format!("{} {title}", index + 1));
    let highlight = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Tabs::new(titles).select(screen.tab_index()).highlight_style(highlight).divider(""), tabs);
    match screen.tab {
        Tab::Overview => overview(frame, page, fleet, screen, theme),
        Tab::Events => events(frame, page, fleet, theme),
        _ => frame.render_widget(table_of(details, fleet, screen, theme), page),
    }
    frame.render_widget(Paragraph::new(footer(screen)), bottom);
    if screen.has_help {
        help(frame);
    }
}

/// Colours, where they are wanted.
#[derive(Clone, Copy, Debug)]
struct Theme {
    is_colored: bool,
}

impl Theme {
    fn color(self, color: Color) -> Style {
        if self.is_colored { Style::new().fg(color) } else { Style::new() }
    }

    fn bad(self) -> Style {
        self.color(Color::Red)
    }

    fn warning(self) -> Style {
        self.color(Color::Yellow)
    }

    fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn title(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }
}

fn summary(fleet: &Fleet, theme: Theme) -> Line<'static> {
    let (alive, all) = (fleet.alive(), fleet.members.len());
    let rate = |name: &'static str| number::rate(fleet.total(|member| member.rate(name)));
    let sum = |name: &'static str| fleet.total(|member| Some(member.number(name)? as f64)) as u64;
    let style = if alive < all { theme.bad() } else { theme.color(Color::Green) };
    Line::from(vec![
        Span::styled("remcache top  ", theme.title()),
        Span::styled(format!("{alive}/{all} up"), style),
        Span::raw(format!("  {} get/s  {} set/s", rate("cmd_get"), rate("cmd_set"))),
        Span::raw(format!("  {} items", number::count(sum("curr_items")))),
        Span::raw(format!("  {}", number::bytes_of(sum("bytes"), sum("limit_maxbytes")))),
    ])
}

fn footer(screen: &Screen) -> String {
    if !screen.notice.is_empty() {
        return screen.notice.clone();
    }
    if screen.is_typing {
        return format!("filter: {}_   Enter keeps it, Esc clears it", screen.filter);
    }
    let mut parts = vec![format!("sort: {}{}", screen.sort.title(), if screen.is_reversed { " reversed" } else { "" })];
    if !screen.filter.is_empty() {
        parts.push(format!("filter: {}", screen.filter));
    }
    if screen.is_paused {
        parts.push("PAUSED".into());
    }
    parts.push("? help  q quit".into());
    parts.join("   ")
}

/// A column of the overview: its title, its width, and what it shows of a server.
struct Column {
    title: &'static str,
    width: u16,
    cell: fn(&Member, Theme) -> Cell<'static>,
}

/// From the left; where the screen is narrow, columns at the end are left out.
const COLUMNS: &[Column] = &[
    Column { title: "HIT%", width: 6, cell: |member, theme| hits(member, Window::Latest, theme) },
    Column { title: "GET/s", width: 6, cell: |member, _| rate(member, "cmd_get") },
    Column { title: "SET/s", width: 6, cell: |member, _| rate(member, "cmd_set") },
    Column { title: "EVICT/s", width: 7, cell: evictions },
    Column { title: "MEM%", width: 5, cell: |member, theme| share(member, "bytes", "limit_maxbytes", 2.0, theme) },
    Column { title: "ITEMS", width: 6, cell: |member, _| text(member.number("curr_items").map(number::count)) },
    Column { title: "CONNS", width: 6, cell: connections },
    Column { title: "PING", width: 7, cell: |member, _| text(member.ping.map(number::duration)) },
    Column { title: "GETS", width: 20, cell: curve },
    Column { title: "10s%", width: 6, cell: |member, theme| hits(member, Window::Long, theme) },
    Column { title: "ALL%", width: 6, cell: |member, theme| hits(member, Window::Start, theme) },
    Column { title: "UP", width: 6, cell: |member, _| text(member.number("uptime").map(number::age)) },
    Column {
        title: "VERSION",
        width: 8,
        cell: |member, _| text(member.figures().and_then(|figures| figures.text("version").map(str::to_owned))),
    },
];

fn overview(frame: &mut Frame<'_>, area: Rect, fleet: &Fleet, screen: &Screen, theme: Theme) {
    let rows = screen.rows(fleet);
    let longest = rows.iter().map(|&place| fleet.members[place].name.chars().count()).max().unwrap_or_default();
    let name_width = (longest.max(6) as u16).min(area.width * 2 / 5).max(6);
    let mut left = area.width.saturating_sub(name_width);
    let columns: Vec<&Column> = COLUMNS
        .iter()
        .take_while(|column| {
            let fits = left > column.width;
            left = left.saturating_sub(column.width + 1);
            fits
        })
        .collect();
    let header = std::iter::once(heading("SERVER", screen.sort == Sort::Name))
        .chain(columns.iter().map(|column| heading(column.title, column.title == screen.sort.title())));
    let widths = std::iter::once(name_width).chain(columns.iter().map(|column| column.width));
    let lines = rows.iter().map(|&place| row(&fleet.members[place], &columns, theme));
    let table = Table::new(lines, widths.map(Constraint::Length))
        .header(Row::new(header).style(theme.title()))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let selected = screen.selected.min(rows.len().saturating_sub(1));
    let mut state = TableState::new().with_selected(Some(selected));
    frame.render_stateful_widget(table, area, &mut state);
    if let Some(bottom) = (rows.is_empty()).then_some(area) {
        frame.render_widget(Paragraph::new("no server fits the filter"), bottom);
    }
    reasons(frame, area, &rows, fleet, &state, name_width, theme);
}

/// Why servers are down, over the columns that they have no figures for.
fn reasons(
    frame: &mut Frame<'_>,
    area: Rect,
    rows: &[usize],
    fleet: &Fleet,
    state: &TableState,
    name: u16,
    theme: Theme,
) {
    let shown = rows.iter().skip(state.offset()).take(usize::from(area.height.saturating_sub(1)));
    for (line, &place) in (area.y + 1..).zip(shown) {
        if let Some(reason) = &fleet.members[place].down {
            let left = (area.x + name + 1).min(area.right());
            let rest = Rect { x: left, y: line, width: area.right() - left, height: 1 };
            frame.render_widget(Paragraph::new(format!("DOWN: {reason}")).style(theme.bad()), rest);
        }
    }
}

fn heading(title: &'static str, is_sorted: bool) -> Cell<'static> {
    let style = if is_sorted { Style::new().add_modifier(Modifier::UNDERLINED) } else { Style::new() };
    Cell::from(title).style(style)
}

fn row(member: &Member, columns: &[&Column], theme: Theme) -> Row<'static> {
    let name = Cell::from(member.name.clone());
    if !member.is_up() {
        let cells = if member.is_unknown() { vec![name, Cell::from("…")] } else { vec![name] };
        return Row::new(cells).style(theme.faint());
    }
    Row::new(std::iter::once(name).chain(columns.iter().map(|column| (column.cell)(member, theme))))
}

fn text(value: Option<String>) -> Cell<'static> {
    Cell::from(value.unwrap_or_else(|| "-".into()))
}

fn rate(member: &Member, name: &str) -> Cell<'static> {
    text(member.rate(name).map(number::rate))
}

fn evictions(member: &Member, theme: Theme) -> Cell<'static> {
    let evicted = member.rate("evictions");
    let cell = rate(member, "evictions");
    if evicted.is_some_and(|rate| rate > 0.0) { cell.style(theme.warning()) } else { cell }
}

fn hits(member: &Member, window: Window, theme: Theme) -> Cell<'static> {
    let percent = member.hit_percent(window);
    let cell = text(percent.map(|percent| format!("{percent:.1}")));
    match percent {
        Some(..50.0) => cell.style(theme.bad()),
        Some(50.0..80.0) => cell.style(theme.warning()),
        _ => cell,
    }
}

/// A share in percent, in colour from nine tenths of `most` on.
fn share(member: &Member, name: &str, limit: &str, most: f64, theme: Theme) -> Cell<'static> {
    let share = member.share(name, limit);
    let cell = text(share.map(|share| format!("{:.0}", 100.0 * share)));
    if share.is_some_and(|share| share >= 0.9 * most) { cell.style(theme.warning()) } else { cell }
}

fn connections(member: &Member, theme: Theme) -> Cell<'static> {
    let cell = text(member.number("curr_connections").map(number::count));
    let share = member.share("curr_connections", "max_connections");
    if share.is_some_and(|share| share >= 0.9) { cell.style(theme.bad()) } else { cell }
}

fn curve(member: &Member, theme: Theme) -> Cell<'static> {
    let latest: Vec<u64> = member.history.iter().rev().take(20).rev().copied().collect();
    Cell::from(picture::sparkline(&latest)).style(theme.color(Color::Cyan))
}

fn events(frame: &mut Frame<'_>, area: Rect, fleet: &Fleet, theme: Theme) {
    let lines = fleet.events.iter().take(area.height.into()).map(|event| {
        let style = if event.is_bad { theme.bad() } else { theme.color(Color::Green) };
        Line::from(vec![
            Span::styled(format!("{}  ", event.time), theme.faint()),
            Span::raw(format!("{}  ", event.server)),
            Span::styled(event.what.clone(), style),
        ])
    });
    let lines: Vec<Line<'_>> = lines.collect();
    let text = if lines.is_empty() { vec![Line::from("nothing has happened yet")] } else { lines };
    frame.render_widget(Paragraph::new(text), area);
}

/// The page of one server's statistics.
fn table_of<'d>(details: &'d Details, fleet: &'d Fleet, screen: &Screen, theme: Theme) -> Table<'d> {
    let selected = screen.selected_place(fleet).map(|place| &*fleet.members[place].name).unwrap_or_default();
    let (columns, rows) = details.page(screen.tab);
    let widths = columns.iter().map(|(_, width)| Constraint::Length(*width));
    let note = match (&details.failure, rows.is_empty()) {
        (Some(reason), _) => format!("{selected}: {reason}"),
        (None, true) => format!("{selected}: nothing to show"),
        (None, false) => selected.to_owned(),
    };
    Table::new(rows.into_iter().map(Row::new), widths)
        .header(Row::new(columns.iter().map(|(title, _)| *title)).style(theme.title()))
        .block(Block::new().title(note))
}

const HELP: &str = "\
Tab 1-5     pages
Up Down     select a server
Enter       its slab classes
s S         sort by the next, the previous column
r           reverse the order
/           show servers whose name contains …
p           pause, and go on
e           export what is shown as JSON
q           quit";

fn help(frame: &mut Frame<'_>) {
    let area = frame.area();
    let (width, height) = (52.min(area.width), 11.min(area.height));
    let x = area.x + (area.width - width) / 2;
    let y = area.y + (area.height - height) / 2;
    let area = Rect { x, y, width, height };
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(HELP).block(Block::bordered().title("keys")), area);
}

#[cfg(test)]
mod tests {
    use super::super::fleet::Seen;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use std::time::{Duration, Instant};

    fn fleet() -> Fleet {
        let mut fleet = Fleet::new(["cache1:11211", "cache2:11211"].map(str::to_owned));
        for (second, gets) in [(0, 0), (1, 1000)] {
            let at = Instant::now() + Duration::from_secs(second);
            let figures =
                [("cmd_get", gets), ("get_hits", gets), ("get_misses", 0), ("bytes", 50), ("limit_maxbytes", 100)];
            let figures = figures.iter().map(|(name, value)| (*name, value.to_string())).collect();
            fleet.update(0, Seen { at, figures: Ok(figures), ping: Some(Duration::from_micros(40)) });
        }
        fleet.update(1, Seen { at: Instant::now(), figures: Err("connection refused".into()), ping: None });
        fleet
    }

    fn drawn(width: u16, height: u16, screen: &Screen) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &fleet(), screen, &Details::default(), false)).unwrap();
        let lines = terminal.backend().buffer().content.chunks(width.into());
        lines.map(|line| line.iter().map(ratatui::buffer::Cell::symbol).collect::<String>() + "\n").collect()
    }

    #[test]
    fn a_server_that_is_down_has_its_reason_in_place_of_figures() {
        let text = drawn(100, 8, &Screen::default());
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert!(line("cache1:11211").contains("100.0  1.0k"), "{text}");
        assert!(line("cache2:11211").contains("DOWN: connection refused"), "{text}");
        assert!(text.starts_with("remcache top  1/2 up  1.0k get/s"), "{text}");
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
        assert!(narrow.contains("cache1:1 100.0"), "{narrow}");
    }
}
