//! Lists the public API of the published crates, so that each change is visible in a diff.
//!
//! The list is generated from the source text: every `pub` item with its signature. Items that are visible only in
//! their crate are `pub(crate)`, which a lint ensures.

mod listing;

use crate::imports::modules;
use crate::{Failure, root};
use listing::items;
use std::collections::BTreeSet;
use std::fs;

/// The published libraries, by their directory in `crates/`.
const CRATES: [&str; 4] = ["remcache", "remcache-distribution", "remcache-proto", "remcache-server"];

/// Compares the lists in `docs/public-api` with the source, or replaces them.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    let write = match args {
        [] => false,
        [option] if option == "--write" => true,
        _ => return Err(format!("usage: cargo xtask public-api [--write]; got {:?}", args.join(" "))),
    };
    let mut problems = Vec::new();
    for name in CRATES {
        let file = root().join("docs/public-api").join(format!("{name}.txt"));
        let (recorded, current) = (fs::read_to_string(&file).unwrap_or_default(), list(name)?);
        if write {
            fs::write(&file, current).map_err(|error| format!("{}: {error}", file.display()))?;
        } else {
            problems.extend(differences(&recorded, &current).into_iter().map(|line| format!("{name}: {line}")));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "{}\nthe public API differs from docs/public-api: cargo xtask public-api --write records it",
            problems.join("\n")
        )),
    }
}

/// Returns the public items of a crate, one per line.
fn list(name: &str) -> Result<String, Failure> {
    let modules = modules(&root().join("crates").join(name).join("src"))?;
    let of_module = |(path, text): (&Vec<String>, &String)| {
        let module = if path.is_empty() { "crate".to_owned() } else { path.join("::") };
        items(text).into_iter().map(move |item| format!("{module}: {item}\n")).collect::<Vec<_>>()
    };
    let mut lines: Vec<String> = modules.iter().flat_map(of_module).collect();
    let types: BTreeSet<String> = lines.iter().filter_map(|line| public_type(line)).collect();
    lines.retain(|line| implementing_type(line).is_none_or(|name| types.contains(name)));
    lines.sort();
    Ok(lines.concat())
}

/// Returns the name of the type that an item of the list declares.
fn public_type(line: &str) -> Option<String> {
    let (_, item) = line.split_once(": pub ")?;
    let name = ["struct ", "enum ", "trait "].iter().find_map(|keyword| item.strip_prefix(keyword))?;
    name.split(|c: char| !c.is_alphanumeric()).next().map(str::to_owned)
}

/// Returns the type that a trait is implemented for.
fn implementing_type(line: &str) -> Option<&str> {
    let (_, implementation) = line.split_once(": impl")?;
    let (_, name) = implementation.rsplit_once(" for ")?;
    let name = name.rsplit("::").next()?.trim_start_matches(|c: char| !c.is_alphabetic());
    name.split(|c: char| !c.is_alphanumeric()).next()
}

/// Returns the lines that only one of two lists has, marked as in a diff.
fn differences(before: &str, after: &str) -> Vec<String> {
    let only = |mark, one: &str, other: &str| -> Vec<String> {
        let other: BTreeSet<&str> = other.lines().collect();
        one.lines().filter(|line| !other.contains(line)).map(|line| format!("{mark} {line}")).collect()
    };
    [only('-', before, after), only('+', after, before)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_lists_are_current() {
        run(&[]).unwrap();
    }

    #[test]
    fn differences_are_marked() {
        assert_eq!(differences("a\nb\n", "b\nc\n"), ["- a", "+ c"]);
    }
}
