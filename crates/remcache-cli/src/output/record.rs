//! Structured output: records as JSON, as one JSON document per line, or as CSV.

use std::fmt;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::Layout;
use crate::escape::{escape_json, escape_line, is_unsafe};

/// Named fields, in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Record(Map<String, Value>);

impl Record {
    /// Creates a record without fields.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a field.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a field if there is a value.
    pub(crate) fn with_some(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Returns the names of the fields with their values.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Adds bytes: as `name` if they are UTF-8, else in base64 as `name_b64`.
    pub(crate) fn with_bytes(self, name: &str, bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.with(name, text),
            Err(_) => self.with(&format!("{name}_b64"), STANDARD.encode(bytes)),
        }
    }

    /// Returns the cells of these columns.
    ///
    /// A text that a spreadsheet would run as a formula, or that has control characters, is in the column
    /// `name_b64` if there is one. Else it is escaped.
    fn cells(&self, columns: &[&str]) -> Vec<String> {
        let encoded = |column: &str| columns.iter().position(|known| known.strip_suffix("_b64") == Some(column));
        let mut cells: Vec<String> =
            columns.iter().map(|column| self.0.get(*column).map_or_else(String::new, cell)).collect();
        for (index, column) in columns.iter().enumerate() {
            if !is_unsafe_cell(&cells[index]) {
                continue;
            }
            let text = std::mem::take(&mut cells[index]);
            match encoded(column) {
                Some(encoded) => cells[encoded] = STANDARD.encode(text),
                None if is_formula(&text) => cells[index] = format!("'{}", escape_line(&text)),
                None => cells[index] = escape_line(&text).into_owned(),
            }
        }
        cells
    }
}

/// Returns a value as the text of a cell: a list as its elements, an object as its fields.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join("; "),
        Value::Object(fields) => {
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", cell(value))).collect();
            fields.join("; ")
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn is_unsafe_cell(text: &str) -> bool {
    is_formula(text) || text.contains(is_unsafe)
}

/// Returns whether a spreadsheet would take a cell for a formula.
fn is_formula(text: &str) -> bool {
    text.len() > 1 && text.starts_with(['=', '+', '-', '@']) && text.parse::<f64>().is_err()
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape_json(&serde_json::to_string(&self.0).map_err(|_| fmt::Error)?))
    }
}

impl From<Record> for Value {
    fn from(record: Record) -> Self {
        Self::Object(record.0)
    }
}

/// A list of records that is being written.
pub(crate) struct Records<'o> {
    out: &'o mut dyn Write,
    layout: Layout,
    columns: &'static [&'static str],
    is_first: bool,
}

impl<'o> Records<'o> {
    pub(super) fn begin(out: &'o mut dyn Write, layout: Layout, columns: &'static [&'static str]) -> io::Result<Self> {
        let mut records = Self { is_first: true, ..Self::resume(out, layout, columns) };
        match layout {
            Layout::Json => records.out.write_all(b"[")?,
            Layout::Csv => records.csv(columns.iter().map(|column| (*column).to_owned()))?,
            _ => {}
        }
        Ok(records)
    }

    pub(super) fn resume(out: &'o mut dyn Write, layout: Layout, columns: &'static [&'static str]) -> Self {
        Self { out, layout, columns, is_first: false }
    }

    /// Writes a record.
    pub(crate) fn push(&mut self, record: Record) -> io::Result<()> {
        let is_first = std::mem::replace(&mut self.is_first, false);
        match self.layout {
            Layout::Csv => self.csv(record.cells(self.columns).into_iter()),
            Layout::Json => {
                let separator = if is_first { "\n" } else { ",\n" };
                write!(self.out, "{separator}{record}")
            }
            _ => writeln!(self.out, "{record}"),
        }
    }

    /// Ends the list.
    pub(crate) fn end(self) -> io::Result<()> {
        match self.layout {
            Layout::Json if self.is_first => self.out.write_all(b"]\n"),
            Layout::Json => self.out.write_all(b"\n]\n"),
            _ => Ok(()),
        }
    }

    fn csv(&mut self, cells: impl Iterator<Item = String>) -> io::Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(cells)?;
        let line = writer.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
        self.out.write_all(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[&str] = &["key", "key_b64", "size"];

    fn written(layout: Layout, records: impl IntoIterator<Item = Record>) -> String {
        let mut out = Vec::new();
        let mut list = Records::begin(&mut out, layout, COLUMNS).unwrap();
        for record in records {
            list.push(record).unwrap();
        }
        list.end().unwrap();
        String::from_utf8(out).unwrap()
    }

    fn two() -> [Record; 2] {
        [
            Record::new().with_bytes("key", b"a,b").with("size", 3),
            Record::new().with_bytes("key", b"\xff").with("size", 1),
        ]
    }

    #[test]
    fn records_in_each_layout() {
        let json = "[\n{\"key\":\"a,b\",\"size\":3},\n{\"key_b64\":\"/w==\",\"size\":1}\n]\n";
        assert_eq!(written(Layout::Json, two()), json);
        let ndjson = "{\"key\":\"a,b\",\"size\":3}\n{\"key_b64\":\"/w==\",\"size\":1}\n";
        assert_eq!(written(Layout::Ndjson, two()), ndjson);
        assert_eq!(written(Layout::Csv, two()), "key,key_b64,size\n\"a,b\",,3\n,/w==,1\n");
    }

    #[test]
    fn an_empty_list_is_well_formed() {
        assert_eq!(written(Layout::Json, []), "[]\n");
        assert_eq!(written(Layout::Ndjson, []), "");
        assert_eq!(written(Layout::Csv, []), "key,key_b64,size\n");
    }

    #[test]
    fn unsafe_text_is_escaped_in_json() {
        let record = Record::new().with("key", "a\u{202e}\u{9b}\x7f\x1b\u{feff}é😀");
        let json = record.to_string();
        assert_eq!(json, r#"{"key":"a\u202e\u009b\u007f\u001b\ufeffé😀"}"#);
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), Value::from(record));
    }

    #[test]
    fn csv_cells_hold_no_formulas_and_no_control_characters() {
        let keys: [(&[u8], &str); 5] = [
            (b"=1+1", ",PTErMQ==,1"),
            (b"@cmd", ",QGNtZA==,1"),
            (b"a\nb", ",YQpi,1"),
            (b"-1.5", "-1.5,,1"),
            (b"-", "-,,1"),
        ];
        for (key, line) in keys {
            let csv = written(Layout::Csv, [Record::new().with_bytes("key", key).with("size", 1)]);
            assert_eq!(csv, format!("key,key_b64,size\n{line}\n"));
        }
        let record = |size: &str| Record::new().with("key", "k").with("size", size);
        assert_eq!(record("=x").cells(COLUMNS)[2], "'=x");
        assert_eq!(record("a\x1b").cells(COLUMNS)[2], "a\\x1b");
    }

    #[test]
    fn csv_cells_hold_no_json() {
        let record = Record::new().with("key", vec!["a", "b"]).with("size", Value::from(Record::new().with("n", 1)));
        assert_eq!(record.cells(COLUMNS), ["a; b", "", "n=1"]);
    }
}
