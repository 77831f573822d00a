//! The results as an SVG chart: gets per second by number of callers, and bars for every other scenario.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::adapter::{Role, Runtime};
use crate::results::{ClientRow, ScenarioResult};
use crate::table::thousands;

/// Draws the chart. The multi-threaded runtime is shown in the tables only.
pub(crate) fn draw(results: &[ScenarioResult], machine: &str) -> Result<String> {
    let (curves, panels): (Vec<_>, Vec<_>) = results.iter().partition(|result| is_on_curve(result));
    let height = Layout::of(&curves, &panels);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height.total())).into_drawing_area();
        draw_all(&root, &height, &curves, &panels, machine).map_err(|error| anyhow!("drawing: {error}"))?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type DrawResult = Result<(), Box<dyn std::error::Error>>;

/// The heights of the chart's parts, from top to bottom.
struct Layout {
    curves: u32,
    panel_rows: u32,
}

impl Layout {
    fn of(curves: &[&ScenarioResult], panels: &[&ScenarioResult]) -> Self {
        let panel_rows = panels.len().div_ceil(PANEL_COLUMNS) as u32;
        Self { curves: if curves.is_empty() { 0 } else { CURVES_HEIGHT }, panel_rows }
    }

    fn total(&self) -> u32 {
        self.curves + self.panel_rows * PANEL_HEIGHT + FOOTER_HEIGHT
    }
}

fn draw_all(
    root: &Area<'_>,
    layout: &Layout,
    curves: &[&ScenarioResult],
    panels: &[&ScenarioResult],
    machine: &str,
) -> DrawResult {
    root.fill(&WHITE)?;
    let (upper, lower) = root.split_vertically(layout.curves);
    if !curves.is_empty() {
        draw_curves(&upper, curves)?;
    }
    let (middle, footer) = lower.split_vertically(layout.panel_rows * PANEL_HEIGHT);
    let cells = middle.split_evenly((layout.panel_rows.max(1) as usize, PANEL_COLUMNS));
    for (result, cell) in panels.iter().zip(&cells) {
        draw_panel(cell, result)?;
    }
    let remarks = remarks(panels).map(|remark| format!("; * {remark}")).unwrap_or_default();
    footer.draw_text(&format!("{machine}{remarks}"), &text(11.0, MUTED), (PADDING, PADDING / 2))?;
    Ok(root.present()?)
}

/// Returns whether a scenario is a point of the curve: a get of a small value from one server, whatever the callers.
fn is_on_curve(result: &ScenarioResult) -> bool {
    result.id.strip_prefix("get-").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
}

fn draw_curves(area: &Area<'_>, results: &[&ScenarioResult]) -> DrawResult {
    let most = results.iter().flat_map(|result| drawn_rows(result)).map(|(_, ops)| ops).fold(1.0, f64::max);
    let callers = results.iter().map(|result| result.callers as f64).fold(2.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption("gets per second by number of callers, 100-byte values", text(16.0, INK))
        .margin(PADDING)
        .x_label_area_size(38)
        .y_label_area_size(78)
        .build_cartesian_2d((1.0..callers * 1.2).log_scale(), (MIN_OPS..most * 1.5).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(INK.mix(0.12))
        .x_desc("callers")
        .axis_desc_style(text(13.0, INK))
        .label_style(text(12.0, INK))
        .x_label_formatter(&|callers| thousands(*callers))
        .y_label_formatter(&|ops| thousands(*ops))
        .draw()?;
    for name in names(results) {
        let points = curve(results, &name);
        let style = colour(&name).stroke_width(stroke(&name));
        let dots = points.iter().map(|&point| Circle::new(point, 3, colour(&name).filled())).collect::<Vec<_>>();
        chart
            .draw_series(LineSeries::new(points, style))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], style));
        chart.draw_series(dots)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .label_font(text(12.0, INK))
        .draw()?;
    Ok(())
}

/// Returns one client's points: callers and operations per second.
fn curve(results: &[&ScenarioResult], name: &str) -> Vec<(f64, f64)> {
    let point = |result: &&ScenarioResult| {
        let (_, ops) = drawn_rows(result).find(|(row, _)| row.client == name)?;
        Some((result.callers as f64, ops.max(MIN_OPS)))
    };
    results.iter().filter_map(point).collect()
}

/// Returns the clients that have results in these scenarios, without duplicates.
fn names(results: &[&ScenarioResult]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (row, _) in results.iter().flat_map(|result| drawn_rows(result)) {
        if !names.contains(&row.client) {
            names.push(row.client.clone());
        }
    }
    names
}

/// Returns the rows that are drawn, with their operations per second.
fn drawn_rows(result: &ScenarioResult) -> impl Iterator<Item = (&ClientRow, f64)> {
    let rows = result.rows.iter().filter(|row| row.runtime != Runtime::MultiThread && row.role != Role::Variant);
    rows.filter_map(|row| Some((row, row.figures.as_ref()?.ops_per_second)))
}

/// Draws one scenario: a bar per client, between its name and its operations per second.
fn draw_panel(area: &Area<'_>, result: &ScenarioResult) -> DrawResult {
    area.draw_text(result.title, &text(13.0, INK), (PADDING, PADDING))?;
    let rows: Vec<_> = drawn_rows(result).collect();
    let most = rows.iter().map(|&(_, ops)| ops).fold(1.0, f64::max);
    let (width, _) = area.dim_in_pixel();
    let max_length = f64::from(width as i32 - BAR_LEFT - NUMBER_WIDTH - PADDING);
    for (index, (row, ops)) in rows.into_iter().enumerate() {
        let top = PADDING + 24 + index as i32 * BAR_STEP;
        let end = BAR_LEFT + (max_length * ops / most) as i32;
        let bar = Rectangle::new([(BAR_LEFT, top), (end, top + BAR_STEP - 5)], colour(&row.client).filled());
        area.draw(&bar)?;
        let middle = top + (BAR_STEP - 5) / 2;
        let name_style = text(11.0, INK).pos(Pos::new(HPos::Right, VPos::Center));
        let number_style = text(11.0, INK).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw_text(&row.client, &name_style, (BAR_LEFT - 6, middle))?;
        let mark = if row.unranked.is_some() { "*" } else { "" };
        area.draw_text(&format!("{}{mark}", thousands(ops)), &number_style, (end + 5, middle))?;
    }
    Ok(())
}

/// Returns the explanation of the marked numbers.
fn remarks(results: &[&ScenarioResult]) -> Option<&'static str> {
    let mut rows = results.iter().flat_map(|result| drawn_rows(result));
    rows.find_map(|(row, _)| row.unranked)
}

fn text(size: f64, colour: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&colour)
}

/// Returns the colour of a client, the same wherever it appears.
fn colour(name: &str) -> RGBColor {
    COLOURS.iter().find(|(known, _)| *known == name).map_or(MUTED, |&(_, colour)| colour)
}

fn stroke(name: &str) -> u32 {
    let ours = name.parse::<crate::adapter::Entry>().is_ok_and(|entry| entry.profile.role == Role::Ours);
    if ours { 4 } else { 2 }
}

const COLOURS: &[(&str, RGBColor)] = &[
    ("lockstep", RGBColor(140, 140, 140)),
    ("async-memcached", RGBColor(31, 119, 180)),
    ("memcache-exp", RGBColor(148, 103, 189)),
    ("memcache-classic", RGBColor(140, 86, 75)),
    ("memcache-async", RGBColor(44, 140, 60)),
    ("libmemcached", RGBColor(230, 159, 0)),
    ("remcache", RGBColor(214, 39, 40)),
];
const INK: RGBColor = RGBColor(30, 30, 30);
const MUTED: RGBColor = RGBColor(110, 110, 110);
/// The start of the axis of operations; lower values are drawn there.
const MIN_OPS: f64 = 1_000.0;
const WIDTH: u32 = 960;
const CURVES_HEIGHT: u32 = 460;
const PANEL_COLUMNS: usize = 2;
const PANEL_HEIGHT: u32 = 200;
const FOOTER_HEIGHT: u32 = 26;
const PADDING: i32 = 12;
const BAR_LEFT: i32 = 128;
const BAR_STEP: i32 = 22;
const NUMBER_WIDTH: i32 = 72;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::Entry;
    use crate::results::Figures;
    use crate::scenario::SCENARIOS;

    #[test]
    fn every_client_has_its_own_colour() {
        let is_drawn = |entry: &&Entry| entry.runtime != Runtime::MultiThread && entry.profile.role != Role::Variant;
        for entry in Entry::all().iter().filter(is_drawn) {
            let own = colour(entry.profile.id);
            assert_ne!(own, MUTED, "{entry}");
            assert_eq!(COLOURS.iter().filter(|(_, other)| *other == own).count(), 1, "{entry}");
        }
    }

    #[test]
    fn the_chart_contains_every_scenario_and_every_number() {
        let entries = Entry::all();
        let figures = |ops| Figures { ops_per_second: ops, ..Figures::default() };
        let results: Vec<_> = SCENARIOS
            .iter()
            .map(|scenario| {
                let outcomes = entries.iter().map(|entry| (*entry, Ok(figures(123_456.0))));
                ScenarioResult::new(scenario, outcomes.collect())
            })
            .collect();
        let svg = draw(&results, "a machine").unwrap();
        assert!(svg.trim_end().ends_with("</svg>"));
        for result in results.iter().filter(|result| !is_on_curve(result)) {
            assert!(svg.contains(result.title), "{}", result.title);
        }
        assert!(svg.contains("123,456") && svg.contains("a machine"));
        assert!(!svg.contains("+mt"), "the multi-threaded runtime is in the tables only");
    }

    #[test]
    fn small_gets_are_a_curve_and_other_scenarios_bars() {
        let on_curve: Vec<_> = SCENARIOS
            .iter()
            .filter(|scenario| is_on_curve(&ScenarioResult::new(scenario, Vec::new())))
            .map(|scenario| scenario.id)
            .collect();
        assert_eq!(on_curve, ["get-1", "get-16", "get-64", "get-512", "get-4096", "get-10000"]);
    }
}
