//! Draws a terminal's screen as SVG text, with its colours.

use std::fmt::Write as _;

use anstyle::{Ansi256Color, Color, RgbColor, Style};
use anstyle_svg::{Palette, Term};
use vt100::Screen;

/// Draws a screen below the command that printed it, without empty rows at its end.
///
/// The background is dark, as that of a terminal, also on a light page.
pub(crate) fn draw(command: &str, screen: &Screen) -> String {
    let (rows, columns) = screen.size();
    let lines: Vec<String> = (0..rows.get()).map(|row| line(screen, row, columns.get())).collect();
    let used = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    let prompt = Style::new().dimmed();
    let text = format!("{prompt}${prompt:#} {command}\n{}", lines[..used].join("\n"));
    Term::new().palette(PALETTE).fg_color(FOREGROUND).bg_color(BACKGROUND).min_width_px(400).render_svg(&text)
}

/// Returns a row as text with escape sequences for its styles, without spaces at its end.
fn line(screen: &Screen, row: u16, columns: u16) -> String {
    let cells = (0..columns).filter_map(|column| screen.cell(row, column));
    let cells: Vec<(&str, Style)> = cells
        .filter(|cell| !cell.is_wide_continuation())
        .map(|cell| (if cell.has_contents() { cell.contents() } else { " " }, style(cell)))
        .collect();
    let is_visible = |(text, style): &(&str, Style)| text.trim() != "" || *style != Style::new();
    let used = cells.iter().rposition(is_visible).map_or(0, |last| last + 1);
    let mut text = String::new();
    for run in cells[..used].chunk_by(|(_, one), (_, other)| one == other) {
        let style = run[0].1;
        let words: String = run.iter().map(|(text, _)| *text).collect();
        // Writing to a string cannot fail.
        let _ = write!(text, "{style}{words}{style:#}");
    }
    text
}

fn style(cell: &vt100::Cell) -> Style {
    let mut style = Style::new().fg_color(color(cell.fgcolor())).bg_color(color(cell.bgcolor()));
    for (is_on, effect) in [
        (cell.bold(), anstyle::Effects::BOLD),
        (cell.dim(), anstyle::Effects::DIMMED),
        (cell.italic(), anstyle::Effects::ITALIC),
        (cell.underline(), anstyle::Effects::UNDERLINE),
        (cell.inverse(), anstyle::Effects::INVERT),
    ] {
        if is_on {
            style |= effect;
        }
    }
    style
}

fn color(color: vt100::Color) -> Option<Color> {
    match color {
        vt100::Color::Default => None,
        vt100::Color::Idx(index) => {
            let indexed = Ansi256Color(index);
            Some(indexed.into_ansi().map_or(Color::Ansi256(indexed), Color::Ansi))
        }
        vt100::Color::Rgb(red, green, blue) => Some(Color::Rgb(RgbColor(red, green, blue))),
    }
}

const FOREGROUND: Color = Color::Rgb(RgbColor(220, 223, 228));
const BACKGROUND: Color = Color::Rgb(RgbColor(24, 26, 31));

/// The eight colours and their bright variants, with enough contrast to the background.
const PALETTE: Palette = Palette([
    RgbColor(62, 68, 81),
    RgbColor(240, 98, 104),
    RgbColor(126, 200, 110),
    RgbColor(226, 186, 96),
    RgbColor(97, 175, 239),
    RgbColor(198, 120, 221),
    RgbColor(86, 190, 202),
    RgbColor(220, 223, 228),
    RgbColor(120, 128, 144),
    RgbColor(255, 130, 134),
    RgbColor(152, 220, 138),
    RgbColor(240, 206, 128),
    RgbColor(130, 195, 250),
    RgbColor(214, 150, 235),
    RgbColor(120, 210, 220),
    RgbColor(255, 255, 255),
]);

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZero;

    fn screen(text: &str) -> Screen {
        let size = |size| NonZero::new(size).expect("not zero");
        let mut parser = vt100::Parser::new(size(4), size(20), 0);
        parser.process(text.as_bytes());
        parser.screen().clone()
    }

    #[test]
    fn rows_keep_their_styles_and_lose_trailing_spaces() {
        let screen = screen("plain  \r\n\x1b[1;31mred\x1b[0m then\r\n");
        assert_eq!(line(&screen, 0, 20), "plain");
        assert_eq!(line(&screen, 1, 20), "\x1b[1m\x1b[31mred\x1b[0m then");
        assert_eq!(line(&screen, 2, 20), "");
    }

    #[test]
    fn a_drawing_contains_the_command_and_the_text() {
        let svg = draw("remcache <ping>", &screen("a \x1b[32mgood\x1b[0m answer"));
        for part in ["<svg", "remcache &lt;ping&gt;", ">good<", "fill: #7EC86E", "</svg>"] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
    }
}
