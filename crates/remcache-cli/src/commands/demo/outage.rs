//! A server goes down under load and recovers.

use std::io;
use std::time::{Duration, Instant};

use remcache::Client;

use super::load::{BackgroundLoad, LoadResult};
use super::output::DemoOutput;
use super::scenario::{Phase, Scenario};
use crate::embedded::Embedded;
use crate::exit::Failure;
use crate::output::{TextStyle, number};

/// Times since the start of the load.
struct OutageTimes {
    stopped: Duration,
    started: Duration,
    recovered: Duration,
}

/// Stops a server and restarts it, and shows the results in each phase.
pub(super) async fn show(client: &Client, servers: &Embedded, out: &mut DemoOutput<'_>) -> Result<(), Failure> {
    let scenario = Scenario::prepare(client).await?;
    let Some(server) = servers.servers().get(scenario.stopped_server) else { return Ok(()) };

    out.heading("A server goes down under load from 64 callers")?;
    let load = BackgroundLoad::start(client, CALLERS, LOAD_KEYS).await?;
    scenario.fetch_all(Phase::AllUp, out).await?;
    tokio::time::sleep(BEFORE).await;
    let stopped = load.elapsed();
    server.stop().await;
    out.line("")?;
    let call = format!("{} is stopped", server.address());
    out.step(&call, "its keys fail at once, the others are unaffected", true)?;
    scenario.fetch_all(Phase::Stopped, out).await?;
    show_writes(client, &scenario, out).await?;
    tokio::time::sleep(DOWN).await;

    out.heading("It recovers")?;
    let started = load.elapsed();
    server.restart().await.map_err(|error| Failure::Io(server.address(), error))?;
    let is_used = wait_until_used(client, scenario.stopped_server).await;
    let recovered = load.elapsed();
    let delay = number::duration(recovered.saturating_sub(started));
    let outcome = format!("empty; reconnected after {delay}, automatically");
    out.step(&format!("{} is restarted", server.address()), outcome, is_used)?;
    scenario.fetch_all(Phase::Restarted, out).await?;
    tokio::time::sleep(AFTER).await;

    print_result(client, &load.stop().await, &OutageTimes { stopped, started, recovered }, out)?;
    Ok(())
}

const CALLERS: usize = 64;
const LOAD_KEYS: usize = 300;
const BEFORE: Duration = Duration::from_millis(350);
const DOWN: Duration = Duration::from_millis(350);
const AFTER: Duration = Duration::from_millis(250);

/// Shows writes to a server that is up and to the one that is down.
async fn show_writes(client: &Client, scenario: &Scenario<'_>, out: &mut DemoOutput<'_>) -> Result<(), Failure> {
    let (up, down) = (scenario.key_of(false), scenario.key_of(true));
    let stored = client.set(up, up).await;
    let is_stored = stored.is_ok_and(|change| change.is_applied());
    out.step(&format!("set {up}, whose server is up"), "stored", is_stored)?;
    let failed = client.set(down, down).await;
    let is_safe = failed.as_ref().is_err_and(|error| error.is_disconnected() && !error.may_have_executed());
    out.step(&format!("set {down}, whose server is down"), "not sent, so safe to retry", is_safe)?;
    out.step("is_usable", "yes: some servers respond", client.is_usable())?;
    Ok(())
}

/// Waits until the server responds again; returns false if it does not.
async fn wait_until_used(client: &Client, index: usize) -> bool {
    let Some(server) = client.servers().into_iter().nth(index) else { return false };
    let started = Instant::now();
    while started.elapsed() < MAX_RECOVERY {
        if server.noop().await.is_ok() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    false
}

/// More than the library's longest reconnect backoff, which is 5 s.
const MAX_RECOVERY: Duration = Duration::from_secs(8);

/// Prints the results of the load.
fn print_result(client: &Client, result: &LoadResult, times: &OutageTimes, out: &mut DemoOutput<'_>) -> io::Result<()> {
    out.heading("Results of the 64 callers")?;
    draw(client, result, out)?;
    let [stopped, started, recovered] =
        [times.stopped, times.started, times.recovered].map(|time| format!("{:.2} s", time.as_secs_f64()));
    let times = format!("stopped at {stopped}, restarted at {started}, reconnected at {recovered}");
    out.line(out.paint(TextStyle::Faint, times))?;
    let calls = format!("{} gets", number::exact(result.requests));
    let [answered, not_sent, in_flight] = [result.answered, result.not_sent, result.maybe_sent].map(number::exact);
    let outcome = format!("{answered} answered, {not_sent} not sent, {in_flight} in flight at the stop");
    out.step(&calls, outcome, result.other_errors == 0 && result.not_sent > 0)?;
    let lost = result.requests.saturating_sub(result.ended());
    out.step("gets without a result", number::exact(lost), lost == 0)?;
    out.step("wrong values", number::exact(result.wrong_values), result.wrong_values == 0)
}

/// Draws a timeline for each server: when requests succeeded and when they failed.
fn draw(client: &Client, result: &LoadResult, out: &mut DemoOutput<'_>) -> io::Result<()> {
    let width = out.name_width(client);
    for (index, server) in client.servers().iter().enumerate() {
        let cells = result.timeline(index, TIMELINE).into_iter().map(|part| match part {
            (true, false) => out.paint(TextStyle::Good, "█"),
            (true, true) => out.paint(TextStyle::Warning, "▒"),
            (false, true) => out.paint(TextStyle::Bad, "✗"),
            (false, false) => " ".to_owned(),
        });
        let cells: String = cells.collect();
        let name = out.paint(TextStyle::Name, format_args!("{:>width$}", server.name()));
        out.line(format_args!("{name}  {cells}"))?;
    }
    out.line(out.paint(TextStyle::Faint, format_args!("{:>width$}  █ answers   ✗ failures   ▒ both", "")))
}

const TIMELINE: usize = 72;
