//! The comparison as a Markdown document.

use std::fmt::Write as _;

use super::features::Cell;
use super::runner::CheckResult;
use super::{Row, Tool};

/// Returns the document: the table, followed by all checks and their output.
pub(crate) fn write(versions: &[String], rows: &[Row]) -> String {
    let mut text = format!("{HEAD}\nRun with {}.\n\n", versions.join(", "));
    let names: Vec<&str> = Tool::ALL.iter().map(|(_, name)| *name).collect();
    text += &format!("| | {} |\n|---|{}\n", names.join(" | "), ":-:|".repeat(names.len()));
    for (feature, cells) in rows {
        let marks: Vec<String> = Tool::ALL.iter().map(|(tool, _)| marks(*tool, cells)).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {} | {} |", feature.title, marks.join(" | "));
    }
    text += CHECKS;
    for (feature, cells) in rows {
        let _ = writeln!(text, "\n### {}\n", feature.title);
        for (cell, result) in cells {
            let _ = writeln!(text, "- {} {}: `` {} ``{}", result.mark(), cell.program(), cell.script, output(result));
        }
    }
    text
}

/// Returns the marks of a tool's programs, or a dash if it has no command for the feature.
fn marks(tool: Tool, cells: &[(&Cell, CheckResult)]) -> String {
    let own = cells.iter().filter(|(cell, _)| cell.tool == tool);
    let marks: Vec<String> = own
        .map(|(cell, result)| match cell.program {
            "" => result.mark().to_owned(),
            program => format!("{} {program}", result.mark()),
        })
        .collect();
    if marks.is_empty() { "–".to_owned() } else { marks.join(", ") }
}

fn output(result: &CheckResult) -> String {
    match result {
        CheckResult::Yes => String::new(),
        CheckResult::No(output) if output.is_empty() => String::new(),
        CheckResult::No(output) => format!("; its output: `{output}`"),
        CheckResult::Failed(output) => format!("; the check failed: `{output}`"),
        CheckResult::Absent => "; not installed, so not checked".to_owned(),
    }
}

const HEAD: &str = "\
# Comparison of command-line tools

Each cell is the result of a command; `cargo xtask compare-tools` runs all of them and writes this page.

✓ supported · ✗ the tool has a command for it, which does not do it · – no command for it · ? not checked.

The programs of libmemcached have the names of Debian's packages: memccat is memcat on other systems.
mc and mtop are in one package on crates.io.
";

const CHECKS: &str = "
## The checks

In each check `$LIVE` and `$OTHER` are servers that were started for it, `$DEAD` is an address without a server, and `$LIST` has all three.
remcache reads `$LIVE` from its environment.
The exit code of a check is 0 for yes and 1 for no.
";

#[cfg(test)]
mod tests {
    use super::super::features::FEATURES;
    use super::*;

    #[test]
    fn each_cell_shows_its_result() {
        let feature = &FEATURES[0];
        let results = [CheckResult::Yes, CheckResult::No("a\\nb".into()), CheckResult::Absent];
        let rows = vec![(feature, feature.cells.iter().zip(results).collect())];
        let page = write(&["tool 1.0".into()], &rows);
        assert!(page.contains("| binary values are printed unchanged | ✓ | ✗ memccat | – | ? | – | – |"), "{page}");
        assert!(page.contains("Run with tool 1.0.") && page.contains("its output: `a\\nb`"), "{page}");
        assert!(page.contains("- ? mc: `` printf"), "{page}");
    }
}
