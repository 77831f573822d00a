//! Latency curves as SVG: latency by percentile, as HdrHistogram plots it.

use std::error::Error;
use std::time::Duration;

use plotters::prelude::*;

use crate::load_generator::{OpStats, Operation, Recorder};
use crate::output::number;

/// Draws a curve for each operation. The axis of the percentiles is logarithmic, so that each further nine has
/// the same width.
pub(super) fn draw(recorder: &Recorder, title: &str) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let nines = nines(recorder.stats(None).answers);
        let mut chart = ChartBuilder::on(&root)
            .caption(title, text(15.0))
            .margin(14)
            .margin_right(40)
            .x_label_area_size(42)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..nines, 0.0..highest(recorder, nines))?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(INK.mix(0.12))
            .x_desc("percentile")
            .axis_desc_style(text(13.0))
            .label_style(text(12.0))
            .x_labels(nines as usize + 1)
            .x_label_formatter(&|nines| percentile(*nines))
            .y_label_formatter(&|nanos| number::duration(Duration::from_nanos(*nanos as u64)))
            .draw()?;
        for (verb, tallied) in recorder.operations().filter(|(_, tallied)| tallied.answers > 0) {
            let style = COLOURS[verb as usize].stroke_width(3);
            chart
                .draw_series(LineSeries::new(curve(tallied, nines), style))?
                .label(format!("{}  ({})", verb.name(), number::exact(tallied.answers)))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .label_font(text(12.0))
            .draw()?;
        root.present()?;
    }
    Ok(svg)
}

/// Returns the number of nines of the axis: as many as there are enough replies for.
fn nines(answers: u64) -> f64 {
    (answers.max(1) as f64).log10().ceil().clamp(2.0, MAX_NINES)
}

/// Returns the quantile at a number of nines: 0.99 for 2.
fn quantile(nines: f64) -> f64 {
    1.0 - 10_f64.powf(-nines)
}

fn percentile(nines: f64) -> String {
    match nines.round() as usize {
        0 => "0%".into(),
        1 => "90%".into(),
        2 => "99%".into(),
        more => format!("99.{}%", "9".repeat(more - 2)),
    }
}

fn curve(tallied: &OpStats, nines: f64) -> impl Iterator<Item = (f64, f64)> {
    let step = move |step: u32| nines * f64::from(step) / f64::from(STEPS);
    (0..=STEPS).map(step).map(|nines| (nines, tallied.latency.value_at_quantile(quantile(nines)) as f64))
}

/// Returns the upper end of the latency axis, a little above the highest point.
fn highest(recorder: &Recorder, nines: f64) -> f64 {
    let ends = recorder.operations().map(|(_, tallied)| tallied.latency.value_at_quantile(quantile(nines)));
    ends.max().unwrap_or_default().max(1) as f64 * 1.08
}

fn text(size: f64) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

const SIZE: (u32, u32) = (860, 420);
const STEPS: u32 = 400;
const MAX_NINES: f64 = 6.0;
const INK: RGBColor = RGBColor(30, 30, 30);
/// A colour for each operation, in the order of `Operation::ALL`.
const COLOURS: [RGBColor; Operation::ALL.len()] = [
    RGBColor(214, 39, 40),
    RGBColor(31, 119, 180),
    RGBColor(44, 140, 60),
    RGBColor(148, 103, 189),
    RGBColor(230, 159, 0),
    RGBColor(140, 86, 75),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_curve_and_every_nine_a_label() {
        let mut recorder = Recorder::default();
        for micros in 1..=20_000 {
            recorder.record(Operation::Get, &Ok(true), Duration::from_micros(micros));
            recorder.record(Operation::Incr, &Ok(true), Duration::from_micros(micros * 2));
        }
        let svg = draw(&recorder, "a <title>").unwrap();
        for text in ["get  (20,000)", "incr  (20,000)", "99.99%", ">\n0%", "percentile", "a &lt;title&gt;"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        for verb in [Operation::Get, Operation::Incr] {
            let RGBColor(red, green, blue) = COLOURS[verb as usize];
            assert!(svg.contains(&format!("#{red:02X}{green:02X}{blue:02X}")), "{svg}");
        }
        assert!(svg.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn a_chart_without_data_is_empty() {
        assert!(draw(&Recorder::default(), "").unwrap().contains("</svg>"));
    }

    #[test]
    fn nines_are_percentiles() {
        assert_eq!((percentile(0.0), percentile(1.0), percentile(4.0)), ("0%".into(), "90%".into(), "99.99%".into()));
        assert!((quantile(3.0) - 0.999).abs() < 1e-9);
        assert_eq!((nines(0), nines(5_000), nines(u64::MAX)), (2.0, 4.0, 6.0));
    }
}
