//! The table as a document.

use std::fmt::Write as _;

use super::check::Outcome;
use super::features::Cell;
use super::{Row, Tool};

/// The document: the table, and below it every check with what was seen.
pub(crate) fn write(versions: &[String], rows: &[Row]) -> String {
    let mut text = format!("{HEAD}\nRun with {}.\n\n", versions.join(", "));
    let names: Vec<&str> = Tool::ALL.iter().map(|(_, name)| *name).collect();
    text += &format!("| | {} |\n|---|{}\n", names.join(" | "), ":-:|".repeat(names.len()));
    for (feature, cells) in rows {
        let marks: Vec<String> = Tool::ALL.iter().map(|(tool, _)| marks(*tool, cells)).collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "| {} | {} |", feature.title, marks.join(" | "));
    }
    text += CHECKS;
    for (feature, cells) in rows {
        let _ = writeln!(text, "\n### {}\n", feature.title);
        for (cell, outcome) in cells {
            let _ = writeln!(text, "- {} {}: `` {} ``{}", outcome.mark(), cell.program(), cell.script, seen(outcome));
        }
    }
    text
}

/// The signs of a tool's programs; without one it has no command for it.
fn marks(tool: Tool, cells: &[(&Cell, Outcome)]) -> String {
    let of_it = cells.iter().filter(|(cell, _)| cell.tool == tool);
    let marks: Vec<String> = of_it
        .map(|(cell, outcome)| match cell.program {
            "" => outcome.mark().to_owned(),
            program => format!("{} {program}", outcome.mark()),
        })
        .collect();
    if marks.is_empty() { "–".to_owned() } else { marks.join(", ") }
}

fn seen(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Yes => String::new(),
        Outcome::No(said) if said.is_empty() => String::new(),
        Outcome::No(said) => format!("; it said: `{said}`"),
        Outcome::Failed(said) => format!("; the check failed: `{said}`"),
        Outcome::Absent => "; not installed here, so not checked".to_owned(),
    }
}

const HEAD: &str = "\
# The tools, feature by feature

Each cell is a command that was run; `cargo xtask compare-tools` runs them all again and writes this page.

✓ it does · ✗ it has a command for it, and that does not · – it has no command for it · ? it could not be checked.

The programs of libmemcached have the names that Debian gives them: memccat is memcat elsewhere.
mc and mtop come in one package, from crates.io.
";

const CHECKS: &str = "
## The checks

In each, `$LIVE` is a server that was started for this check alone, `$OTHER` another one, `$DEAD` an address where nobody listens, and `$LIST` all three.
remcache finds `$LIVE` in its environment.
A check ends with 0 for yes and 1 for no.
";

#[cfg(test)]
mod tests {
    use super::super::features::FEATURES;
    use super::*;

    #[test]
    fn each_cell_shows_what_came_of_it() {
        let feature = &FEATURES[0];
        let outcomes = [Outcome::Yes, Outcome::No("a\\nb".into()), Outcome::Absent];
        let rows = vec![(feature, feature.cells.iter().zip(outcomes).collect())];
        let page = write(&["tool 1.0".into()], &rows);
        assert!(page.contains("| a value comes out byte for byte | ✓ | ✗ memccat | – | ? | – | – |"), "{page}");
        assert!(page.contains("Run with tool 1.0.") && page.contains("it said: `a\\nb`"), "{page}");
        assert!(page.contains("- ? mc: `` printf"), "{page}");
    }
}
