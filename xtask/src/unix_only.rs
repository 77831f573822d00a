//! Checks that Unix-only APIs are compiled on Unix only: Unix sockets, signals, file modes.
//!
//! The code is formatted by rustfmt, so its indentation shows its structure: a use is conditional if an attribute
//! precedes its statement or item, or an enclosing one.

use crate::{Failure, published, root};
use std::fs;
use std::path::{Path, PathBuf};

/// Fails if a published package uses a Unix-only API unconditionally.
pub(crate) fn check() -> Result<(), Failure> {
    let mut problems = Vec::new();
    for package in published::packages()? {
        for file in sources(&published::folder(&package).join("src"))? {
            let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            let name = file.strip_prefix(root()).unwrap_or(&file).display();
            let lines = unconditional(&text).into_iter();
            problems.extend(lines.map(|(number, line)| format!("{name}:{number}: {line}")));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(format!("these exist on Unix only; add #[cfg(unix)]:\n{}", problems.join("\n"))),
    }
}

/// Returns the Rust files in a folder and its folders.
pub(crate) fn sources(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error| format!("{}: {error}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        match path.is_dir() {
            true => files.extend(sources(&path)?),
            false if path.extension().is_some_and(|extension| extension == "rs") => files.push(path),
            false => {}
        }
    }
    Ok(files)
}

/// Returns the lines that use a Unix-only API unconditionally, with their numbers.
fn unconditional(text: &str) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    if lines.iter().any(|line| line.starts_with("#![cfg(") && is_condition(line)) {
        return Vec::new();
    }
    let is_use = |line: &str| !line.trim_start().starts_with("//") && UNIX_ONLY_APIS.iter().any(|name| has(line, name));
    let uses = lines.iter().enumerate().filter(|(_, line)| is_use(line));
    uses.filter(|(at, _)| !is_conditional(&lines, *at)).map(|(at, line)| (at + 1, line.trim())).collect()
}

/// Returns whether a line contains this name, not as the end of a longer one.
fn has(line: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name).any(|(at, _)| !line[..at].ends_with(is_word))
}

/// Returns whether an attribute before this line, or before one that encloses it, is a condition.
fn is_conditional(lines: &[&str], at: usize) -> bool {
    if lines[at].contains("#[cfg(") {
        return is_condition(lines[at]);
    }
    let mut indent = indentation(lines[at]);
    // Whether no other statement or item of this indentation came in between.
    let mut is_same_item = true;
    for above in lines[..at].iter().rev().filter(|line| !line.is_empty()) {
        let level = indentation(above);
        if level < indent {
            (indent, is_same_item) = (level, true);
        }
        if level == indent && is_same_item {
            let is_attribute = above.trim_start().starts_with("#[");
            if is_attribute && is_condition(above) {
                return true;
            }
            is_same_item = !ends_statement(above);
        }
    }
    false
}

fn ends_statement(line: &str) -> bool {
    line.ends_with(';') || line.ends_with('}') || line.ends_with(',')
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Returns whether an attribute limits the following item to Unix, to a Unix system, or to tests on Unix.
fn is_condition(line: &str) -> bool {
    ["cfg(unix)", "cfg(all(unix", "cfg(all(test, unix", "cfg(target_os = \"linux\")"].iter().any(|it| line.contains(it))
}

const UNIX_ONLY_APIS: &[&str] =
    &["std::os::unix", "std::os::fd", "UnixStream", "UnixListener", "UnixDatagram", "signal::unix", "rustix::"];

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the numbers of the unconditional lines.
    fn numbers(text: &str) -> Vec<usize> {
        unconditional(text).into_iter().map(|(number, _)| number).collect()
    }

    #[test]
    fn an_import_without_condition_is_found() {
        assert_eq!(numbers("use std::io;\nuse tokio::net::{TcpStream, UnixStream};\n"), [2]);
        assert_eq!(numbers("#[cfg(unix)]\nuse std::io;\nuse tokio::net::UnixStream;\n"), [3]);
        assert_eq!(numbers("#[cfg(not(unix))]\nuse tokio::net::UnixStream;\n"), [2]);
    }

    #[test]
    fn a_condition_applies_to_what_it_precedes() {
        assert!(numbers("#[cfg(unix)]\nuse tokio::net::UnixStream;\n").is_empty());
        assert!(
            numbers("#[cfg(unix)]\n#[test]\nfn a() {\n    if b {\n        UnixStream::pair();\n    }\n}\n").is_empty()
        );
        assert!(numbers("fn a() {\n    #[cfg(unix)]\n    if let Ok(_) = UnixStream::pair() {}\n}\n").is_empty());
        assert!(numbers("struct A(#[cfg(unix)] rustix::termios::Termios);\n").is_empty());
        assert!(numbers("#![cfg(unix)]\nuse tokio::net::UnixStream;\n").is_empty());
    }

    #[test]
    fn a_condition_of_an_earlier_statement_does_not_apply() {
        let text = "fn a() {\n    #[cfg(unix)]\n    let b = 1;\n    UnixStream::pair();\n}\n";
        assert_eq!(numbers(text), [4]);
        assert_eq!(numbers("#[cfg(unix)]\nfn a() {\n    b();\n}\nfn c() {\n    UnixStream::pair();\n}\n"), [6]);
    }

    #[test]
    fn comments_and_other_names_are_ignored() {
        assert!(numbers("// Like UnixStream.\nlet a = MyUnixStream::new();\n").is_empty());
    }
}
