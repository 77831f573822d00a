//! Draws a dashboard as SVG: its panels, with the values that Prometheus returns for their queries.

use std::time::Duration;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use remcache_testkit::prometheus::{Dashboard, Panel, Prometheus};

/// A line of a diagram: its legend, and its points by seconds since the start.
struct Line {
    legend: String,
    points: Vec<(f64, f64)>,
}

/// Draws the last `period` of a dashboard with a point for each `step`.
pub(crate) fn draw(dashboard: &Dashboard, prometheus: &Prometheus, period: Duration, step: Duration) -> Result<String> {
    let rows = dashboard.panels.len().div_ceil(COLUMNS);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, PANEL_HEIGHT * rows as u32)).into_drawing_area();
        let draw_panels = || -> DrawResult {
            root.fill(&WHITE)?;
            for (panel, area) in dashboard.panels.iter().zip(root.split_evenly((rows, COLUMNS))) {
                draw_panel(&area, panel, &query_lines(panel, prometheus, period, step), period.as_secs_f64())?;
            }
            Ok(root.present()?)
        };
        draw_panels().map_err(|error| anyhow!("{}: {error}", dashboard.title))?;
    }
    Ok(svg)
}

type DrawResult = Result<(), Box<dyn std::error::Error>>;

/// Queries the values of a panel.
fn query_lines(panel: &Panel, prometheus: &Prometheus, period: Duration, step: Duration) -> Vec<Line> {
    let targets = panel.targets.iter().map(|target| (target, prometheus.query_range(&target.expression, period, step)));
    let series: Vec<_> = targets
        .flat_map(|(target, found)| found.into_iter().map(move |series| (target.legend(&series), series)))
        .collect();
    let times = series.iter().filter_map(|(_, series)| Some(series.points.last()?.0));
    let end = times.fold(0.0, f64::max);
    let line = |(legend, series): (String, remcache_testkit::prometheus::Series)| Line {
        legend,
        points: series.points.iter().map(|&(time, value)| (time - end + period.as_secs_f64(), value)).collect(),
    };
    series.into_iter().map(line).filter(|line| !line.points.is_empty()).collect()
}

fn draw_panel(area: &DrawingArea<SVGBackend<'_>, Shift>, panel: &Panel, lines: &[Line], seconds: f64) -> DrawResult {
    let values = lines.iter().flat_map(|line| &line.points).map(|point| point.1);
    let max = values.fold(0.0, f64::max);
    let top = if max == 0.0 { 1.0 } else { max * 1.1 };
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, text(14.0))
        .margin(PADDING)
        .x_label_area_size(22)
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..seconds * WITH_LEGEND, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .x_labels(9)
        .y_labels(5)
        .label_style(text(11.0))
        .x_label_formatter(&|time| if *time <= seconds { format!("{time:.0} s") } else { String::new() })
        .y_label_formatter(&|value| with_unit(*value, &panel.unit))
        .draw()?;
    for (index, line) in lines.iter().enumerate() {
        let style = Palette99::pick(index).stroke_width(1);
        // A gap in the values is a gap in the line.
        for segment in line.points.chunk_by(|point, next| next.0 - point.0 < MAX_GAP) {
            chart.draw_series(LineSeries::new(segment.iter().copied(), style))?;
        }
        chart
            .draw_series(std::iter::empty::<PathElement<(f64, f64)>>())?
            .label(&line.legend)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], style));
    }
    let mut labels = chart.configure_series_labels();
    labels.position(SeriesLabelPosition::UpperRight).background_style(WHITE.mix(0.8)).label_font(text(10.0)).draw()?;
    Ok(())
}

fn text(size: f64) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&BLACK)
}

/// Formats a value of a unit of Grafana.
fn with_unit(value: f64, unit: &str) -> String {
    match unit {
        "s" if value < 1e-3 => format!("{:.0} µs", value * 1e6),
        "s" if value < 1.0 => format!("{:.1} ms", value * 1e3),
        "s" => format!("{value:.1} s"),
        "percentunit" if value < 0.05 => format!("{:.2} %", value * 100.0),
        "percentunit" => format!("{:.0} %", value * 100.0),
        "Bps" if value >= 1e3 => format!("{:.0} kB/s", value / 1e3),
        "Bps" => format!("{value:.0} B/s"),
        "ops" => format!("{value:.1}/s"),
        _ => format!("{value:.1}"),
    }
}

const COLUMNS: usize = 2;
const WIDTH: u32 = 1_100;
const PANEL_HEIGHT: u32 = 230;
const PADDING: i32 = 8;
/// The width of a diagram with its legend at the right, as a multiple of its own.
const WITH_LEGEND: f64 = 1.5;
/// Seconds without a value after which a line is interrupted.
const MAX_GAP: f64 = 3.0;

#[cfg(test)]
mod tests {
    use super::with_unit;

    #[test]
    fn values_have_readable_units() {
        for (value, unit, text) in [
            (0.000_25, "s", "250 µs"),
            (0.025, "s", "25.0 ms"),
            (2.0, "s", "2.0 s"),
            (0.5, "percentunit", "50 %"),
            (0.004, "percentunit", "0.40 %"),
            (12_000.0, "Bps", "12 kB/s"),
            (0.4, "ops", "0.4/s"),
            (3.0, "short", "3.0"),
        ] {
            assert_eq!(with_unit(value, unit), text);
        }
    }
}
