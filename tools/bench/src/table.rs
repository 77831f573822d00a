//! The results as tables for a terminal.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};

use crate::placement::{RingRow, SERVERS};
use crate::results::{ClientRow, Figures, IdleFigures, IdleRow, ScenarioResult};
use crate::scenario::{IDLE, RING};
use crate::targets::TargetResult;
use crate::tools::{self, Check};

/// Formats a scenario: a row per client.
pub(crate) fn result(result: &ScenarioResult) -> String {
    let rows = result.rows.iter().map(cells);
    let table = table(&RESULT_COLUMNS, rows, &RESULT_TEXT_COLUMNS);
    format!("\n{} ({})\n{table}", result.title, result.id)
}

/// Formats the memory of idle connections: a row per client.
pub(crate) fn idle(rows: &[IdleRow]) -> String {
    let table = table(&IDLE_COLUMNS, rows.iter().map(idle_cells), &[0, 5]);
    format!("\n{} ({})\n{table}", IDLE.title, IDLE.id)
}

/// Formats the times of key placement: a row per distribution.
pub(crate) fn ring(rows: &[RingRow]) -> String {
    let lookups = SERVERS.map(|servers| format!("lookup ns, {servers}"));
    let builds = SERVERS.map(|servers| format!("build ms, {servers}"));
    let [a, b, c] = lookups.each_ref().map(String::as_str);
    let [d, e, f] = builds.each_ref().map(String::as_str);
    let cells = rows.iter().map(|row| {
        let lookups = row.lists.iter().map(|cost| format!("{:.0}", cost.lookup_nanos));
        let builds = row.lists.iter().map(|cost| format!("{:.2}", cost.build_millis));
        std::iter::once(row.distribution.to_owned()).chain(lookups).chain(builds).collect()
    });
    let table = table(&["distribution", a, b, c, d, e, f], cells, &[0]);
    format!("\n{} ({})\n{table}", RING.title, RING.id)
}

fn idle_cells(row: &IdleRow) -> Vec<String> {
    let of = |format: fn(&IdleFigures) -> String| optional(row.figures.as_ref(), format);
    vec![
        row.client.clone(),
        of(|figures| thousands(figures.resident_kib)),
        of(|figures| format!("{:.2}", figures.resident_kib_per_connection)),
        of(|figures| optional(figures.heap_kib, thousands)),
        of(|figures| optional(figures.heap_kib_per_connection, |kib| format!("{kib:.2}"))),
        row.absent.clone().unwrap_or_default(),
    ]
}

/// Formats the targets.
pub(crate) fn targets(results: &[TargetResult]) -> String {
    let rows = results.iter().map(|result| {
        vec![
            result.scenario.to_owned(),
            result.client.to_owned(),
            result.measure.clone(),
            result.required.clone(),
            optional(result.measured, |value| format!("{value:.3}")),
            result.status.to_owned(),
        ]
    });
    let table = table(&["scenario", "client", "measure", "required", "measured", "result"], rows, &[0, 1, 2, 5]);
    format!("\nTargets\n{table}")
}

/// Formats the comparison of load generators: a row per program.
pub(crate) fn tools(rows: &[tools::ToolRow]) -> String {
    let cells = rows.iter().map(|row| {
        let median = &row.median;
        vec![
            row.tool.to_owned(),
            thousands(median.counted_per_second),
            thousands(median.reported_per_second),
            optional(median.mean, |micros| format!("{micros:.1}")),
            optional(median.p50, |micros| format!("{micros:.1}")),
            optional(median.p99, |micros| format!("{micros:.1}")),
            format!("{:.2}", row.first_to_this),
        ]
    });
    let columns =
        ["64 callers", "gets/s (server)", "ops/s (reported)", "mean µs", "p50 µs", "p99 µs", "x of the first row"];
    table(&columns, cells, &[0]).to_string()
}

/// Formats the comparisons of the tool's numbers with targets and with a second measurement.
pub(crate) fn checks(checks: &[Check]) -> String {
    let cells = checks.iter().map(|check| {
        vec![
            check.what.to_owned(),
            format!("{:.1}", check.tool),
            format!("{:.1}", check.other),
            format!("{:.4}", check.ratio),
            check.required.clone(),
            if check.is_met { "met" } else { "MISSED" }.to_owned(),
        ]
    });
    table(&["first row", "its value", "other value", "ratio", "required", "result"], cells, &[0, 4, 5]).to_string()
}

fn table<const N: usize>(
    columns: &[&str; N],
    rows: impl Iterator<Item = Vec<String>>,
    left_aligned: &[usize],
) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(columns.to_vec());
    table.add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        let is_left = left_aligned.contains(&index);
        column.set_cell_alignment(if is_left { CellAlignment::Left } else { CellAlignment::Right });
    }
    table
}

fn cells(row: &ClientRow) -> Vec<String> {
    let of = |format: fn(&Figures) -> String| optional(row.figures.as_ref(), format);
    vec![
        row.client.clone(),
        of(|figures| thousands(figures.ops_per_second)),
        of(|figures| format!("{:.2}", figures.cpu_micros_per_op)),
        of(|figures| format!("{:.2}", figures.server_cpu_micros_per_op)),
        of(|figures| micros(figures.p50_micros)),
        of(|figures| micros(figures.p99_micros)),
        of(|figures| micros(figures.p999_micros)),
        of(|figures| optional(figures.allocations_per_op, |count| format!("{count:.2}"))),
        of(|figures| optional(figures.system_calls_per_op, |count| format!("{count:.3}"))),
        optional(row.to_lockstep, |ratio| format!("{ratio:.2}")),
        optional(row.to_best_peer, |ratio| format!("{ratio:.2}")),
        optional(row.to_binary, |ratio| format!("{ratio:.2}")),
        remark(row),
    ]
}

fn remark(row: &ClientRow) -> String {
    match (&row.absent, &row.figures) {
        (Some(reason), _) => reason.clone(),
        (None, Some(figures)) if figures.wrong + figures.failed > 0 => {
            let first = figures.first_fault.as_deref().unwrap_or("unknown");
            format!("{} wrong, {} failed: {first}", figures.wrong, figures.failed)
        }
        _ => row.unranked.unwrap_or_default().to_owned(),
    }
}

fn optional<T>(value: Option<T>, format: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), format)
}

/// Formats a latency with three significant digits.
fn micros(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => thousands(value),
    }
}

/// Formats a whole number with its digits in groups of three.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

const RESULT_COLUMNS: [&str; 13] = [
    "client",
    "ops/s",
    "CPU µs/op",
    "server µs/op",
    "p50 µs",
    "p99 µs",
    "p99.9 µs",
    "allocs/op",
    "syscalls/op",
    "x lockstep",
    "x best peer",
    "x binary",
    "remark",
];
const IDLE_COLUMNS: [&str; 6] =
    ["client", "resident KiB", "KiB/connection", "heap KiB", "heap KiB/connection", "remark"];
/// The columns of text, which are aligned left.
const RESULT_TEXT_COLUMNS: [usize; 2] = [0, 12];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::Footprint;
    use crate::scenario::Scenario;

    #[test]
    fn numbers_are_grouped() {
        let cases = [(0.0, "0"), (999.4, "999"), (1_000.0, "1,000"), (1_713_000.0, "1,713,000")];
        for (value, text) in cases {
            assert_eq!(thousands(value), text);
        }
    }

    #[test]
    fn latencies_have_three_significant_digits() {
        let cases = [(0.514, "0.51"), (9.99, "9.99"), (75.25, "75.2"), (99_614.7, "99,615")];
        for (value, text) in cases {
            assert_eq!(micros(value), text);
        }
    }

    #[test]
    fn the_memory_of_idle_connections_is_shown_in_total_and_per_connection() {
        let footprint = Footprint { resident_kib: 6_543, heap_kib: None };
        let rows = [
            IdleRow::new(&IDLE, "remcache".parse().unwrap(), Ok(vec![footprint])),
            IdleRow::new(&IDLE, "memcache-async".parse().unwrap(), Err("no route".to_owned())),
        ];
        let text = idle(&rows);
        let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap().to_owned();
        assert!(line("remcache ").contains("6,543") && line("remcache ").contains("6.54"), "{text}");
        assert!(line("memcache-async").contains("no route"), "{text}");
    }

    #[test]
    fn a_client_without_figures_has_dashes_and_a_reason() {
        let fast = Figures { ops_per_second: 1_000.0, wrong: 2, ..Figures::default() };
        let results = vec![
            ("remcache".parse().unwrap(), Ok(fast)),
            ("libmemcached".parse().unwrap(), Err("not installed".to_owned())),
        ];
        let scenario = Scenario::by_id("get-1").unwrap();
        let text = result(&ScenarioResult::new(scenario, results));
        let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap().to_owned();
        assert!(line("libmemcached").contains(" - "), "{text}");
        assert!(line("libmemcached").contains("not installed"), "{text}");
        assert!(line("remcache ").contains("1,000"), "{text}");
        assert!(line("remcache ").contains("2 wrong"), "{text}");
    }
}
