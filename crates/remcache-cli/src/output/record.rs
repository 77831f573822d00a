//! Structured output: records as JSON, as a JSON document a line, or as CSV.

use std::fmt;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::Layout;

/// Named fields, in the order in which they were given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record(Map<String, Value>);

impl Record {
    /// A record without fields.
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

    /// Adds bytes: as `name` if they are UTF-8, else as `name_b64`.
    pub(crate) fn with_bytes(self, name: &str, bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.with(name, text),
            Err(_) => self.with(&format!("{name}_b64"), STANDARD.encode(bytes)),
        }
    }

    fn cell(&self, column: &str) -> String {
        match self.0.get(column) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(&self.0).map_err(|_| fmt::Error)?)
    }
}

impl From<Record> for Value {
    fn from(record: Record) -> Self {
        Self::Object(record.0)
    }
}

/// A list of records on its way out.
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
            Layout::Csv => self.csv(self.columns.iter().map(|column| record.cell(column))),
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
    fn a_list_of_nothing_is_well_formed() {
        assert_eq!(written(Layout::Json, []), "[]\n");
        assert_eq!(written(Layout::Ndjson, []), "");
        assert_eq!(written(Layout::Csv, []), "key,key_b64,size\n");
    }
}
