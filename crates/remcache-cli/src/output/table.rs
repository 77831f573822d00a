//! Tables with aligned columns, fitted to the width of a terminal.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::style::{Paint, TextStyle};
use crate::escape::escape_line;
use crate::wrap;

/// A table.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

/// A column: its title, its alignment, and how it adapts to a narrow terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    title: &'static str,
    align: Align,
    /// Columns with the highest number are left out first; 0 is never left out.
    optional: u8,
    can_shrink: bool,
}

/// Alignment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// For words.
    Left,
    /// For numbers.
    Right,
}

/// A cell: a text and its style.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    style: TextStyle,
    spans: bool,
}

/// A table as lines of text.
#[derive(Debug)]
pub(crate) struct FittedTable {
    pub(crate) lines: Vec<String>,
    /// Titles of the columns that were left out.
    pub(crate) omitted: Vec<&'static str>,
}

impl Column {
    /// Creates a left-aligned column.
    pub(crate) const fn left(title: &'static str) -> Self {
        Self { title, align: Align::Left, optional: 0, can_shrink: false }
    }

    /// Creates a right-aligned column.
    pub(crate) const fn right(title: &'static str) -> Self {
        Self { align: Align::Right, ..Self::left(title) }
    }

    /// Allows the column to be left out where the table is too wide, those with the highest number first.
    pub(crate) const fn optional(self, order: u8) -> Self {
        Self { optional: order, ..self }
    }

    /// Allows the texts of the column to be cut where the table is too wide.
    pub(crate) const fn shrinkable(self) -> Self {
        Self { can_shrink: true, ..self }
    }
}

impl Cell {
    /// Creates a cell; control characters in its text are escaped.
    pub(crate) fn new(text: impl ToString) -> Self {
        Self { text: escape_line(&text.to_string()).into_owned(), ..Self::default() }
    }

    /// Creates a cell for an unknown value.
    pub(crate) fn unknown() -> Self {
        Self::new("-").style(TextStyle::Faint)
    }

    /// Sets the style.
    pub(crate) fn style(self, style: TextStyle) -> Self {
        Self { style, ..self }
    }

    /// Adds a mark that stands out without colours too.
    pub(crate) fn marked(self) -> Self {
        Self { text: self.text + "!", ..self }
    }

    /// Makes the cell the last one of its row: it extends over the remaining columns, and widens none.
    pub(crate) fn spanning(self) -> Self {
        Self { spans: true, ..self }
    }

    fn width(&self) -> usize {
        self.text.width()
    }
}

impl Table {
    /// Creates a table; it has no header if all titles are empty.
    pub(crate) fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// Adds a row, which may have fewer cells than there are columns.
    pub(crate) fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        self.rows.push(cells.into());
    }

    /// Returns the width of the table without a limit.
    pub(crate) fn width(&self) -> usize {
        self.lines(Paint::new(false)).iter().map(|line| line.width()).max().unwrap_or_default()
    }

    /// Formats the table without a limit of its width.
    pub(crate) fn lines(&self, paint: Paint) -> Vec<String> {
        self.fit(paint, None).lines
    }

    /// Formats the table for a terminal with this many columns, if the number is known.
    ///
    /// Where the table is too wide, optional columns are left out, then shrinkable ones are cut, and the last
    /// text of a row is wrapped. On a terminal that is too narrow for that, each row is a block of lines.
    pub(crate) fn fit(&self, paint: Paint, limit: Option<usize>) -> FittedTable {
        let mut widths = self.widths();
        // A column without a title and texts would only widen the gap.
        let mut visible: Vec<bool> = widths.iter().map(|width| *width > 0).collect();
        let limit = limit.unwrap_or(usize::MAX);
        while self.total_width(&widths, &visible) > limit {
            let Some(index) = self.least_important(&visible) else { break };
            visible[index] = false;
        }
        self.shrink(&mut widths, &visible, limit);
        if self.total_width(&widths, &visible) > limit {
            let lines = self.rows.iter().flat_map(|row| self.block(row, limit, paint)).collect();
            return FittedTable { lines, omitted: Vec::new() };
        }
        let header: Vec<Cell> =
            self.columns.iter().map(|column| Cell::new(column.title).style(TextStyle::Title)).collect();
        let rows = self.has_header().then_some(&header).into_iter().chain(&self.rows);
        let lines = rows.flat_map(|row| self.format(row, &widths, &visible, limit, paint)).collect();
        let omitted =
            self.columns.iter().zip(&visible).filter(|(column, visible)| !**visible && !column.title.is_empty());
        FittedTable { lines, omitted: omitted.map(|(column, _)| column.title).collect() }
    }

    /// Formats a row as a block: its first cell, then a line for each other one with the title of its column.
    fn block(&self, row: &[Cell], limit: usize, paint: Paint) -> Vec<String> {
        let mut lines = Vec::new();
        let cells = row.iter().zip(&self.columns).enumerate().filter(|(_, (cell, _))| !cell.text.is_empty());
        for (index, (cell, column)) in cells {
            let (title, indent) = match index {
                0 => ("", 0),
                _ if cell.spans => ("", GAP),
                _ => (column.title, GAP),
            };
            let gap = if title.is_empty() { "" } else { " " };
            let room = limit.saturating_sub(indent + title.width() + gap.len());
            for (index, part) in wrap::wrap(&cell.text, room).into_iter().enumerate() {
                let title = if index == 0 { title.to_owned() } else { " ".repeat(title.width()) };
                let title = paint.apply(TextStyle::Title, title);
                lines.push(format!("{:indent$}{title}{gap}{}", "", paint.apply(cell.style, part)));
            }
        }
        lines
    }

    fn has_header(&self) -> bool {
        self.columns.iter().any(|column| !column.title.is_empty())
    }

    fn widths(&self) -> Vec<usize> {
        let width = |(index, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(index)).filter(|cell| !cell.spans);
            cells.map(Cell::width).chain([column.title.width()]).max().unwrap_or_default()
        };
        self.columns.iter().enumerate().map(width).collect()
    }

    /// Returns the width of the visible columns; the last one counts with the width to which it can be wrapped.
    fn total_width(&self, widths: &[usize], visible: &[bool]) -> usize {
        let last = visible.iter().rposition(|visible| *visible);
        let shown = (0..widths.len()).filter(|&index| visible[index]);
        let width = |index| if Some(index) == last { self.wrapped_width(index) } else { widths[index] + GAP };
        shown.map(width).sum()
    }

    /// Returns the least width to which a column is wrapped: no word is broken.
    fn wrapped_width(&self, index: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(index)).filter(|cell| !cell.spans);
        let word = |cell: &Cell| match self.columns[index].align {
            Align::Left => {
                let word = cell.text.split(' ').map(|word| word.width()).max().unwrap_or_default();
                word.max(cell.width().min(wrap::MIN_WIDTH))
            }
            Align::Right => cell.width(),
        };
        cells.map(word).chain([self.columns[index].title.width()]).max().unwrap_or_default()
    }

    /// Returns the visible column that is left out next.
    fn least_important(&self, visible: &[bool]) -> Option<usize> {
        let optional = (0..self.columns.len()).filter(|&index| visible[index] && self.columns[index].optional > 0);
        optional.max_by_key(|&index| self.columns[index].optional)
    }

    fn shrink(&self, widths: &mut [usize], visible: &[bool], limit: usize) {
        for index in 0..widths.len() {
            let excess = self.total_width(widths, visible).saturating_sub(limit);
            if self.columns[index].can_shrink && visible[index] && excess > 0 {
                widths[index] = widths[index].saturating_sub(excess).max(MIN_SHRUNK.min(widths[index]));
            }
        }
    }

    /// Formats a row as one line, or more where its last text is wrapped.
    fn format(&self, row: &[Cell], widths: &[usize], visible: &[bool], limit: usize, paint: Paint) -> Vec<String> {
        let mut line = String::new();
        // Blanks are written when something follows them, so that no line ends with some.
        let (mut blanks, mut start) = (0, 0);
        let mut rest = Vec::new();
        let shown = (0..row.len().min(widths.len())).filter(|&index| visible[index] || row[index].spans);
        let last = shown.clone().next_back();
        for index in shown {
            let (cell, column) = (&row[index], &self.columns[index]);
            let is_left = cell.spans || column.align == Align::Left;
            let mut text = cell.text.clone();
            if Some(index) == last && is_left {
                let mut parts = wrap::wrap(&text, limit.saturating_sub(start)).into_iter();
                text = parts.next().unwrap_or_default();
                rest = parts.collect();
            } else if column.can_shrink {
                text = cut(&text, widths[index]);
            }
            let room = widths[index].saturating_sub(text.width());
            blanks += if is_left { 0 } else { room };
            if !text.is_empty() {
                line.extend(std::iter::repeat_n(' ', blanks));
                line.push_str(&paint.apply(cell.style, &text));
                blanks = 0;
            }
            if Some(index) != last {
                start += widths[index] + GAP;
                blanks += GAP + if is_left { room } else { 0 };
            }
        }
        let style = last.map_or(TextStyle::Plain, |index| row[index].style);
        let rest = rest.into_iter().map(|part| format!("{:start$}{}", "", paint.apply(style, part)));
        std::iter::once(line).chain(rest).collect()
    }
}

/// Cuts a text to a width; an ellipsis takes the place of the rest.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let fits = |character: &char| {
        let fits = character.width().unwrap_or_default() <= room;
        room = room.saturating_sub(character.width().unwrap_or_default());
        fits
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// Blanks between two columns.
const GAP: usize = 2;
/// The width below which a column is not cut.
const MIN_SHRUNK: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Table {
        let mut table = Table::new([Column::left("SERVER"), Column::right("ITEMS"), Column::left("NOTE")]);
        table.row([Cell::new("a:1"), Cell::new("12"), Cell::new("µs")]);
        table.row([Cell::new("b:2"), Cell::new("DOWN: connection refused").spanning()]);
        table.row([Cell::new("total"), Cell::new("1,234")]);
        table
    }

    #[test]
    fn columns_align_and_spanning_cells_widen_no_column() {
        let lines = example().lines(Paint::new(false));
        let expected =
            ["SERVER  ITEMS  NOTE", "a:1        12  µs", "b:2     DOWN: connection refused", "total   1,234"];
        assert_eq!(lines, expected);
    }

    #[test]
    fn colours_do_not_change_the_alignment() {
        let plain = example().lines(Paint::new(false));
        let colored = example().lines(Paint::new(true));
        let strip = |line: &String| line.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
        assert_eq!(colored.iter().map(strip).collect::<Vec<_>>(), plain);
        assert_ne!(colored, plain);
    }

    #[test]
    fn a_table_without_titles_has_no_header() {
        let mut table = Table::new([Column::left(""), Column::right("")]);
        table.row([Cell::new("a"), Cell::new("1")]);
        assert_eq!(table.lines(Paint::new(false)), ["a  1"]);
    }

    fn wide() -> Table {
        let columns = [
            Column::left("SERVER").shrinkable(),
            Column::right("ITEMS"),
            Column::right("VERSION").optional(1),
            Column::right("AGE").optional(2),
            Column::left("NOTE"),
        ];
        let mut table = Table::new(columns);
        table.row(["cache1.example.com:11211", "12", "1.6.18", "3d", "one two three four"].map(Cell::new));
        table.row([Cell::new("b:2"), Cell::new("DOWN: connection refused by the server").spanning()]);
        table
    }

    #[test]
    fn every_line_fits_the_terminal() {
        for limit in 24..120 {
            let fitted = wide().fit(Paint::new(false), Some(limit));
            let widest = fitted.lines.iter().map(|line| line.width()).max().unwrap();
            assert!(widest <= limit, "{limit}: {fitted:#?}");
        }
    }

    #[test]
    fn rows_are_blocks_where_no_table_fits() {
        let lines = wide().fit(Paint::new(false), Some(30)).lines;
        let expected = [
            "cache1.example.com:11211",
            "  ITEMS 12",
            "  VERSION 1.6.18",
            "  AGE 3d",
            "  NOTE one two three four",
            "b:2",
            "  DOWN: connection refused by",
            "  the server",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn optional_columns_are_left_out_and_named() {
        let omitted = |limit| wide().fit(Paint::new(false), limit).omitted;
        assert_eq!(omitted(None), [""; 0]);
        assert_eq!(omitted(Some(80)), [""; 0]);
        assert_eq!(omitted(Some(62)), ["AGE"]);
        assert_eq!(omitted(Some(57)), ["VERSION", "AGE"]);
    }

    #[test]
    fn long_texts_are_wrapped_and_cut() {
        let lines = wide().fit(Paint::new(false), Some(45)).lines;
        let expected = [
            "SERVER                ITEMS  NOTE",
            "cache1.example.com:…     12  one two three",
            "                             four",
            "b:2                   DOWN: connection",
            "                      refused by the server",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn control_characters_are_escaped() {
        let mut table = Table::new([Column::left("")]);
        table.row([Cell::new("a\x1b[2J\n")]);
        assert_eq!(table.lines(Paint::new(false)), ["a\\x1b[2J\\n"]);
    }
}
