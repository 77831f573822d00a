//! Checks that a crate defines each type name once, so that a name in its code has one meaning.
//!
//! The code is formatted by rustfmt: a definition that is not indented belongs to a module, others belong to a test or
//! a function.

use crate::root;
use crate::unix_only::sources;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Names that are defined several times on purpose, by package.
const EXCEPTIONS: &[(&str, &[&str])] = &[
    // The blocking client and the migration mirror the client; TLS may be compiled out.
    ("remcache", &["Client", "SetMany", "Sealed", "Tls"]),
    // Each command of the tool has its arguments; timers and signals differ by platform.
    ("remcache-cli", &["Args", "PreciseTimer", "Signal"]),
];

/// Returns the name of the type that a line defines.
fn defined_type(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.trim_start(),
        None => line,
    };
    let name = ["struct ", "enum ", "trait ", "type "].iter().find_map(|keyword| line.strip_prefix(keyword))?;
    name.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()
}

/// Returns the names of the types that a package defines, with their files.
fn types(src: &Path) -> BTreeMap<String, Vec<PathBuf>> {
    let mut found = BTreeMap::<_, Vec<_>>::new();
    for file in sources(src).unwrap() {
        let text = fs::read_to_string(&file).unwrap();
        for name in text.lines().filter_map(defined_type) {
            found.entry(name.to_owned()).or_default().push(file.clone());
        }
    }
    found
}

#[test]
fn a_crate_defines_each_type_name_once() {
    let mut problems = Vec::new();
    for parent in ["crates", "integrations", "tools"] {
        for entry in fs::read_dir(root().join(parent)).unwrap() {
            let package = entry.unwrap().path();
            let src = package.join("src");
            let mut found = if src.is_dir() { types(&src) } else { BTreeMap::new() };
            let name = package.file_name().unwrap_or_default();
            let exceptions = EXCEPTIONS.iter().find(|(exception, _)| *exception == name);
            let is_exception = |name: &str| exceptions.is_some_and(|(_, names)| names.contains(&name));
            found.retain(|name, files| files.len() > 1 && !is_exception(name));
            problems.extend(found.into_iter().map(|(name, files)| format!("{name}: {files:?}")));
        }
    }
    assert!(problems.is_empty(), "defined several times in a crate:\n{}", problems.join("\n"));
}

#[test]
fn definitions_are_recognized() {
    for (line, name) in [
        ("pub(crate) struct Task<'a> {", Some("Task")),
        ("pub enum Outcome {", Some("Outcome")),
        ("type Row = u8;", Some("Row")),
        ("pub(in crate::load) trait Count: Send {", Some("Count")),
        ("    struct Local;", None),
        ("use crate::Task;", None),
    ] {
        assert_eq!(defined_type(line), name, "{line}");
    }
}
