//! The overview: a row for each server, with as many columns and curves as fit.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState};

use super::cluster::{Cluster, PolledServer, Trend, Window};
use super::draw::Theme;
use super::screen::{Screen, Sort};
use crate::escape::escape_line;
use crate::output::{chart, number};

/// A column: its title, its width, its text for a server, and its curve.
struct OverviewColumn {
    title: &'static str,
    width: u16,
    figure: fn(&PolledServer, Theme) -> ColumnText,
    trend: Option<Trend>,
}

/// Text of a cell, and its style.
struct ColumnText {
    text: Option<String>,
    style: Style,
}

const fn plain(title: &'static str, width: u16, figure: fn(&PolledServer, Theme) -> ColumnText) -> OverviewColumn {
    OverviewColumn { title, width, figure, trend: None }
}

const fn curved(
    title: &'static str,
    width: u16,
    figure: fn(&PolledServer, Theme) -> ColumnText,
    trend: Trend,
) -> OverviewColumn {
    OverviewColumn { title, width, figure, trend: Some(trend) }
}

/// All columns; on a narrow screen the last ones are left out.
const COLUMNS: &[OverviewColumn] = &[
    curved("HIT%", 6, |member, theme| hits(member, Window::Latest, theme), Trend::Hits),
    curved("GET/s", 6, |member, _| rate(member, "cmd_get"), Trend::Gets),
    curved("SET/s", 6, |member, _| rate(member, "cmd_set"), Trend::Sets),
    curved("EVICT/s", 7, evictions, Trend::Evictions),
    plain("MEM%", 5, |member, _| memory(member)),
    plain("ITEMS", 6, |member, _| figure(member.number("curr_items").map(number::count))),
    curved("CONNS", 6, connections, Trend::Connections),
    curved("PING", 7, ping, Trend::Ping),
    plain("10s%", 6, |member, theme| hits(member, Window::Long, theme)),
    plain("ALL%", 6, |member, theme| hits(member, Window::Start, theme)),
    plain("UP", 6, |member, _| figure(member.number("uptime").map(number::age))),
    plain("VERSION", 8, |member, _| {
        figure(member.stats().and_then(|stats| Some(escape_line(stats.text("version")?).into_owned())))
    }),
];

/// The order in which columns get curves, as long as they fit.
const CURVES: &[Trend] = &[Trend::Gets, Trend::Hits, Trend::Ping, Trend::Sets, Trend::Evictions, Trend::Connections];

/// Returns the columns that fit, each with the width of its curve.
fn columns(mut room: u16) -> Vec<(&'static OverviewColumn, u16)> {
    let mut take = |width: u16| {
        let fits = room > width;
        room = room.saturating_sub(width + 1);
        fits
    };
    let shown: Vec<&OverviewColumn> = COLUMNS.iter().take_while(|column| take(column.width)).collect();
    let mut curves: Vec<Trend> = Vec::new();
    if shown.len() == COLUMNS.len() {
        curves.extend(CURVES.iter().take_while(|_| take(CURVE)));
    } else if shown.iter().any(|column| column.trend == Some(CURVES[0])) && take(CURVE) {
        // The rest may be too narrow for the next column, and wide enough for a curve.
        curves.push(CURVES[0]);
    }
    let has_curve = |column: &OverviewColumn| column.trend.is_some_and(|trend| curves.contains(&trend));
    shown.into_iter().map(|column| (column, if has_curve(column) { CURVE } else { 0 })).collect()
}

/// Draws the overview.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, cluster: &Cluster, screen: &Screen, theme: Theme) {
    let rows = screen.rows(cluster);
    let longest =
        rows.iter().map(|&index| escape_line(&cluster.servers[index].name).chars().count()).max().unwrap_or_default();
    let name_width = (longest.max(6) as u16).min(area.width * 2 / 5).max(6);
    let columns = columns(area.width.saturating_sub(name_width));
    let titles = columns.iter().map(|(column, curve)| {
        let title = format!("{:>width$}", column.title, width = usize::from(column.width));
        heading(format!("{title}{}", " ".repeat(usize::from(*curve))), column.title == screen.sort.title())
    });
    let header = std::iter::once(heading("SERVER".into(), screen.sort == Sort::Name)).chain(titles);
    let widths = columns.iter().map(|(column, curve)| column.width + if *curve > 0 { curve + 1 } else { 0 });
    let selected = screen.selected.min(rows.len().saturating_sub(1));
    let lines = rows.iter().enumerate();
    let lines = lines.map(|(line, &index)| row(&cluster.servers[index], line == selected, &columns, theme));
    let table = Table::new(lines, std::iter::once(name_width).chain(widths).map(Constraint::Length))
        .header(Row::new(header).style(theme.title()));
    let mut state = TableState::new().with_selected(Some(selected));
    frame.render_stateful_widget(table, area, &mut state);
    if rows.is_empty() {
        let below = Rect { y: area.y + 1.min(area.height), height: area.height.saturating_sub(1), ..area };
        frame.render_widget(Paragraph::new("no server matches the filter"), below);
    }
    reasons(frame, area, &rows, cluster, &state, name_width, theme);
}

/// Draws why servers are down, in place of their columns.
fn reasons(
    frame: &mut Frame<'_>,
    area: Rect,
    rows: &[usize],
    cluster: &Cluster,
    state: &TableState,
    name: u16,
    theme: Theme,
) {
    let shown = rows.iter().skip(state.offset()).take(usize::from(area.height.saturating_sub(1)));
    for (line, &index) in (area.y + 1..).zip(shown) {
        if let Some(reason) = &cluster.servers[index].down {
            let left = (area.x + name + 1).min(area.right());
            let rest = Rect { x: left, y: line, width: area.right() - left, height: 1 };
            frame.render_widget(Paragraph::new(format!("DOWN: {}", escape_line(reason))).style(theme.bad()), rest);
        }
    }
}

fn heading(title: String, is_sorted: bool) -> Cell<'static> {
    let style = if is_sorted { Style::new().add_modifier(Modifier::UNDERLINED) } else { Style::new() };
    Cell::from(title).style(style)
}

fn row(member: &PolledServer, is_selected: bool, columns: &[(&OverviewColumn, u16)], theme: Theme) -> Row<'static> {
    // Only the name is reversed: a reversed row would lose the meaning of its colours.
    let style = if is_selected { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
    let name = Cell::from(escape_line(&member.name).into_owned()).style(style);
    if !member.is_up() {
        let cells = if member.is_unknown() { vec![name, Cell::from("…")] } else { vec![name] };
        return Row::new(cells).style(theme.faint());
    }
    Row::new(std::iter::once(name).chain(columns.iter().map(|(column, curve)| cell(member, column, *curve, theme))))
}

fn cell(member: &PolledServer, column: &OverviewColumn, curve: u16, theme: Theme) -> Cell<'static> {
    let figure = (column.figure)(member, theme);
    let text = figure.text.unwrap_or_else(|| "-".into());
    let text = Span::styled(format!("{text:>width$}", width = usize::from(column.width)), figure.style);
    let Some(trend) = column.trend.filter(|_| curve > 0) else { return Cell::from(text) };
    let recent_heights = chart::sparkline(&member.recent_heights(trend, curve.into()));
    let recent_heights = format!(" {recent_heights:>width$}", width = usize::from(curve));
    Cell::from(Line::from(vec![text, Span::styled(recent_heights, theme.color(Color::Cyan))]))
}

fn figure(text: Option<String>) -> ColumnText {
    ColumnText { text, style: Style::new() }
}

fn rate(member: &PolledServer, name: &str) -> ColumnText {
    figure(member.rate(name).map(number::rate))
}

fn evictions(member: &PolledServer, theme: Theme) -> ColumnText {
    let is_evicting = member.rate("evictions").is_some_and(|rate| rate > 0.0);
    let figure = rate(member, "evictions");
    if is_evicting { ColumnText { style: theme.warning(), ..figure } } else { figure }
}

fn hits(member: &PolledServer, window: Window, theme: Theme) -> ColumnText {
    let percent = member.hit_percent(window);
    let style = match percent {
        Some(..50.0) => theme.bad(),
        Some(50.0..80.0) => theme.warning(),
        _ => Style::new(),
    };
    ColumnText { text: percent.map(|percent| format!("{percent:.1}")), style }
}

/// Returns the memory in use, without a warning: a full cache is normal, and evictions have a column of their own.
fn memory(member: &PolledServer) -> ColumnText {
    figure(member.share("bytes", "limit_maxbytes").map(|share| format!("{:.0}", 100.0 * share)))
}

fn connections(member: &PolledServer, theme: Theme) -> ColumnText {
    let style = match member.share("curr_connections", "max_connections") {
        Some(0.9..) => theme.bad(),
        Some(0.75..) => theme.warning(),
        _ => Style::new(),
    };
    ColumnText { text: member.number("curr_connections").map(number::count), style }
}

fn ping(member: &PolledServer, theme: Theme) -> ColumnText {
    let style = match member.ping {
        Some(ping) if ping >= Duration::from_millis(100) => theme.bad(),
        Some(ping) if ping >= Duration::from_millis(10) => theme.warning(),
        _ => Style::new(),
    };
    ColumnText { text: member.ping.map(number::duration), style }
}

/// The width of a curve.
const CURVE: u16 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_first_and_curves_use_the_rest() {
        let shape = |room| {
            let columns = columns(room);
            (columns.len(), columns.iter().filter(|(_, curve)| *curve > 0).count())
        };
        assert_eq!(shape(0), (0, 0));
        assert_eq!(shape(14), (2, 0));
        assert_eq!(shape(100), (COLUMNS.len(), 1));
        assert_eq!(shape(300), (COLUMNS.len(), CURVES.len()));
        let widths: u16 =
            columns(100).iter().map(|(column, curve)| column.width + 1 + if *curve > 0 { curve + 1 } else { 0 }).sum();
        assert!(widths <= 100, "{widths}");
    }
}
