//! Tables whose columns align, with rows that leave the columns: a server that is down has a
//! reason in place of figures, and the reason must not widen the column it begins in.

use unicode_width::UnicodeWidthStr as _;

use super::style::{Paint, TextStyle};

/// A table.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

/// A column: its title, and on which side its cells stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    title: &'static str,
    align: Align,
}

/// A side of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// For words.
    Left,
    /// For numbers.
    Right,
}

/// A cell: a text, and what it means.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    style: TextStyle,
    spans: bool,
}

impl Column {
    /// A column of words.
    pub(crate) const fn left(title: &'static str) -> Self {
        Self { title, align: Align::Left }
    }

    /// A column of numbers.
    pub(crate) const fn right(title: &'static str) -> Self {
        Self { title, align: Align::Right }
    }
}

impl Cell {
    /// A cell with this text.
    pub(crate) fn new(text: impl ToString) -> Self {
        Self { text: text.to_string(), ..Self::default() }
    }

    /// A cell for what is not known.
    pub(crate) fn unknown() -> Self {
        Self::new("-").style(TextStyle::Faint)
    }

    /// The same cell with a meaning.
    pub(crate) fn style(self, style: TextStyle) -> Self {
        Self { style, ..self }
    }

    /// The same cell with a mark: it is worth a look, also where there are no colours.
    pub(crate) fn marked(self) -> Self {
        Self { text: self.text + "!", ..self }
    }

    /// The same cell as the last of its row: it stands over all columns that follow.
    pub(crate) fn spanning(self) -> Self {
        Self { spans: true, ..self }
    }

    fn width(&self) -> usize {
        self.text.width()
    }
}

impl Table {
    /// A table with these columns; it has no header if all titles are empty.
    pub(crate) fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// Adds a row, which may have fewer cells than there are columns.
    pub(crate) fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        self.rows.push(cells.into());
    }

    /// The table's lines, without blanks at their ends.
    pub(crate) fn lines(&self, paint: Paint) -> Vec<String> {
        let header: Vec<Cell> =
            self.columns.iter().map(|column| Cell::new(column.title).style(TextStyle::Title)).collect();
        let rows = self.has_header().then_some(&header).into_iter().chain(&self.rows);
        let widths = self.widths();
        rows.map(|row| self.format(row, &widths, paint)).collect()
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

    fn format(&self, row: &[Cell], widths: &[usize], paint: Paint) -> String {
        let mut line = String::new();
        // Blanks are written when something follows them.
        let mut blanks = 0;
        for ((cell, column), &width) in row.iter().zip(&self.columns).zip(widths) {
            let room = width.saturating_sub(cell.width());
            let (before, after) = match column.align {
                Align::Right if !cell.spans => (room, 0),
                _ => (0, room),
            };
            blanks += before;
            if !cell.text.is_empty() {
                line.extend(std::iter::repeat_n(' ', blanks));
                line.push_str(&paint.apply(cell.style, &cell.text));
                blanks = 0;
            }
            blanks += after + GAP;
        }
        line
    }
}

/// Blanks between two columns.
const GAP: usize = 2;

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
    fn columns_align_and_spanning_cells_widen_none() {
        let lines = example().lines(Paint::new(false));
        let expected =
            ["SERVER  ITEMS  NOTE", "a:1        12  µs", "b:2     DOWN: connection refused", "total   1,234"];
        assert_eq!(lines, expected);
    }

    #[test]
    fn colour_changes_no_width() {
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
}
