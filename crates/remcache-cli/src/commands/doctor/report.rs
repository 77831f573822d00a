//! The report of `doctor`: findings, then what is good.

use std::io;

use super::checks::CHECKS;
use super::{ADDRESS, CONTEXTS_FILE, Finding, Report, Verdict};
use crate::output::{Cell, Column, Output, Record, Table, TextStyle};

/// Prints the reports on this many servers, some of which are affected by findings.
pub(super) fn print(reports: &[Report], affected: usize, servers: usize, output: &mut Output) -> io::Result<()> {
    if !output.is_text() {
        return print_records(reports, output);
    }
    for table in [findings(reports), good(reports, servers)].into_iter().flatten() {
        output.table(&table)?;
    }
    let missing = not_examined(reports);
    if !missing.is_empty() {
        output.prose(format_args!("not examined: {}", missing.join(", ")))?;
    }
    output.prose(format_args!("servers: {servers} examined, {affected} with findings"))
}

fn print_records(reports: &[Report], output: &mut Output) -> io::Result<()> {
    let mut records = output.records(&["server", "check", "severity", "finding", "advice"])?;
    for Report { subject, check, verdict } in reports {
        let record = Record::new().with("server", &**subject).with("check", *check);
        records.push(match verdict {
            Verdict::Good { figure, .. } => record.with("severity", "ok").with("finding", &**figure),
            Verdict::Problem(Finding { problem, advice }) => {
                record.with("severity", "warning").with("finding", &**problem).with("advice", &**advice)
            }
        })?;
    }
    records.end()
}

/// Returns the table of the findings, if there are any.
fn findings(reports: &[Report]) -> Option<Table> {
    let groups = grouped(reports);
    let columns = [Column::left("SERVER").shrinkable(), Column::left("ABOUT"), Column::left("FINDING")];
    let mut table = Table::new(columns);
    for FindingGroup { check, finding, subjects } in &groups {
        table.row([
            Cell::new(summarized(subjects)),
            Cell::new(check).style(TextStyle::Warning),
            Cell::new(&finding.problem),
        ]);
        let advice = Cell::new(&finding.advice).style(TextStyle::Faint);
        table.row([Cell::default(), Cell::default(), advice.spanning()]);
    }
    (!groups.is_empty()).then_some(table)
}

/// A finding with all its subjects.
struct FindingGroup<'r> {
    check: &'static str,
    finding: &'r Finding,
    subjects: Vec<&'r str>,
}

/// Returns the findings, each with all its subjects.
fn grouped(reports: &[Report]) -> Vec<FindingGroup<'_>> {
    let mut groups: Vec<FindingGroup<'_>> = Vec::new();
    for Report { subject, check, verdict } in reports {
        let Verdict::Problem(finding) = verdict else { continue };
        match groups.iter_mut().find(|group| group.check == *check && group.finding == finding) {
            Some(group) => group.subjects.push(subject),
            None => groups.push(FindingGroup { check, finding, subjects: vec![subject] }),
        }
    }
    groups
}

/// Returns the names of servers, the first ones if there are many.
fn summarized(names: &[&str]) -> String {
    match names {
        [first, _, _, ..] => format!("{first} and {} more", names.len() - 1),
        names => names.join(", "),
    }
}

/// Returns the table of what is good, if anything is: a row for each check.
fn good(reports: &[Report], servers: usize) -> Option<Table> {
    let rows: Vec<_> = names().filter_map(|name| good_row(reports, name, servers)).collect();
    let mut table = Table::new([Column::left(""), Column::left(""), Column::left(""), Column::left("")]);
    let has_rows = !rows.is_empty();
    rows.into_iter().for_each(|row| table.row(row));
    has_rows.then_some(table)
}

fn good_row(reports: &[Report], name: &'static str, servers: usize) -> Option<[Cell; 4]> {
    let figures: Vec<_> = figures(reports, name).collect();
    let text = closest_to_a_problem(&figures)?;
    let count = match name != CONTEXTS_FILE && servers > 1 {
        true => format!("{} of {servers} servers", figures.len()),
        false => String::new(),
    };
    Some([Cell::new("ok").style(TextStyle::Good), Cell::new(name), Cell::new(count), Cell::new(text)])
}

/// Returns the names of all checks, in their order.
fn names() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|check| check.name).chain([ADDRESS, CONTEXTS_FILE])
}

/// Returns what a check measured where there is no problem: the servers, the figures and their ranks.
fn figures<'r>(reports: &'r [Report], name: &'static str) -> impl Iterator<Item = (&'r str, &'r str, f64)> {
    reports.iter().filter(move |report| report.check == name).filter_map(|report| match &report.verdict {
        Verdict::Good { figure, rank } => Some((&*report.subject, &**figure, *rank)),
        Verdict::Problem(_) => None,
    })
}

/// Returns the figure that is closest to a problem, with its server if others have other figures.
fn closest_to_a_problem(figures: &[(&str, &str, f64)]) -> Option<String> {
    // The first one among equals.
    let (server, figure, _) = figures.iter().rev().max_by(|(.., rank), (.., other)| rank.total_cmp(other))?;
    Some(match figures.iter().all(|(_, other, _)| other == figure) {
        true => (*figure).to_owned(),
        false => format!("{figure} (worst: {server})"),
    })
}

/// Returns the checks without a verdict on any server, with the reason; none if no server could be examined.
fn not_examined(reports: &[Report]) -> Vec<String> {
    let (examined, missing): (Vec<_>, Vec<_>) =
        CHECKS.iter().map(|check| check.name).partition(|name| reports.iter().any(|report| report.check == *name));
    let reason = |name| if name == "certificate" { "no TLS" } else { "not reported" };
    let missing = missing.into_iter().map(|name| format!("{name} ({})", reason(name)));
    if examined.is_empty() { Vec::new() } else { missing.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(subject: &str, check: &'static str, verdict: Verdict) -> Report {
        Report { subject: subject.into(), check, verdict }
    }

    /// The text of a table at 80 columns.
    fn text(table: Option<Table>) -> Vec<String> {
        table.map(|table| table.fit(crate::output::Paint::new(false), Some(80)).lines).unwrap_or_default()
    }

    #[test]
    fn equal_findings_are_grouped() {
        let reports: Vec<_> = (0..500)
            .map(|number| {
                report(&format!("cache{number}"), "CAS", Verdict::problem("it is off", "start it without -C"))
            })
            .collect();
        let expected = [
            "SERVER               ABOUT  FINDING",
            "cache0 and 499 more  CAS    it is off",
            "                            start it without -C",
        ];
        assert_eq!(text(findings(&reports)), expected);
        assert!(good(&reports, 500).is_none() && findings(&[]).is_none());
    }

    #[test]
    fn what_is_good_has_a_line_for_each_check() {
        let figure = |number: u32| Verdict::good(format!("{number} of 1,024 in use"), f64::from(number));
        let mut reports: Vec<_> =
            (0..499).map(|number| report(&format!("cache{number}"), "connections", figure(number % 100))).collect();
        reports.extend((0..500).map(|number| report(&format!("cache{number}"), "CAS", Verdict::good("on", 0.0))));
        let expected = [
            "ok  connections  499 of 500 servers  99 of 1,024 in use (worst: cache99)",
            "ok  CAS          500 of 500 servers  on",
        ];
        assert_eq!(text(good(&reports, 500)), expected);
        assert_eq!(text(good(&reports[..1], 1)), ["ok  connections  0 of 1,024 in use"]);
        assert!(not_examined(&reports).starts_with(&["version (not reported)".into(), "certificate (no TLS)".into()]));
        assert_eq!(not_examined(&reports).len(), CHECKS.len() - 2);
        assert!(not_examined(&[]).is_empty());
    }
}
