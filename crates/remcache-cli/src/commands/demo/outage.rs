//! The demo's middle: a server goes away under load and comes back.

use std::io;
use std::time::{Duration, Instant};

use remcache::Client;

use super::crowd::{Crowd, Heard};
use super::scene::{Scene, Scenery};
use super::stage::Stage;
use crate::embedded::Embedded;
use crate::exit::Failure;
use crate::output::{Tone, number};

/// When, since the callers began to ask.
struct Times {
    stopped: Duration,
    started: Duration,
    back: Duration,
}

/// Stops a server, looks, starts it again, looks.
pub(super) async fn show(client: &Client, servers: &Embedded, stage: &mut Stage<'_>) -> Result<(), Failure> {
    let scene = Scene::set_up(client).await?;
    let Some(server) = servers.servers().get(scene.victim) else { return Ok(()) };

    stage.heading("A server goes away, while 64 callers keep asking")?;
    let crowd = Crowd::gather(client, CALLERS, CROWD_KEYS).await?;
    scene.look(Scenery::Whole, stage).await?;
    tokio::time::sleep(BEFORE).await;
    let stopped = crowd.elapsed();
    server.stop().await;
    stage.say("")?;
    let call = format!("{} is stopped", server.address());
    stage.call(&call, "its keys fail at once, the others notice nothing", true)?;
    scene.look(Scenery::Away, stage).await?;
    tell_writes(client, &scene, stage).await?;
    tokio::time::sleep(AWAY).await;

    stage.heading("It comes back")?;
    let started = crowd.elapsed();
    server.restart().await.map_err(|error| Failure::Io(server.address(), error))?;
    let is_back = wait_for(client, scene.victim).await;
    let back = crowd.elapsed();
    let outcome = format!("empty; used again after {}, by itself", number::duration(back.saturating_sub(started)));
    stage.call(&format!("{} is started again", server.address()), outcome, is_back)?;
    scene.look(Scenery::Back, stage).await?;
    tokio::time::sleep(AFTER).await;

    tell_crowd(client, &crowd.dismiss().await, &Times { stopped, started, back }, stage)?;
    Ok(())
}

const CALLERS: usize = 64;
const CROWD_KEYS: usize = 300;
const BEFORE: Duration = Duration::from_millis(350);
const AWAY: Duration = Duration::from_millis(350);
const AFTER: Duration = Duration::from_millis(250);

/// Writes to a server that is there and to the one that is away.
async fn tell_writes(client: &Client, scene: &Scene<'_>, stage: &mut Stage<'_>) -> Result<(), Failure> {
    let (there, away) = (scene.a_key(false), scene.a_key(true));
    let stored = client.set(there, there).await;
    let is_made = stored.is_ok_and(|change| change.is_made());
    stage.call(&format!("set {there}, whose server is up"), "stored", is_made)?;
    let failed = client.set(away, away).await;
    let is_safe = failed.as_ref().is_err_and(|error| error.is_disconnected() && !error.may_have_executed());
    stage.call(&format!("set {away}, whose server is down"), "not sent, so repeating it is safe", is_safe)?;
    stage.call("is_usable", "yes: some servers answer", client.is_usable())?;
    Ok(())
}

/// Waits until the server is used again; whether it is.
async fn wait_for(client: &Client, place: usize) -> bool {
    let Some(server) = client.servers().into_iter().nth(place) else { return false };
    let begun = Instant::now();
    while begun.elapsed() < LONGEST_RETURN {
        if server.noop().await.is_ok() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    false
}

/// The longest wait before the library connects again is 5 s.
const LONGEST_RETURN: Duration = Duration::from_secs(8);

/// Tells what the callers saw meanwhile.
fn tell_crowd(client: &Client, heard: &Heard, times: &Times, stage: &mut Stage<'_>) -> io::Result<()> {
    stage.heading("What the 64 callers saw")?;
    draw(client, heard, stage)?;
    let [stopped, started, back] =
        [times.stopped, times.started, times.back].map(|time| format!("{:.2} s", time.as_secs_f64()));
    let times = format!("stopped at {stopped}, started at {started}, back at {back}");
    stage.say(stage.paint(Tone::Faint, times))?;
    let calls = format!("{} gets", number::exact(heard.asked));
    let [answered, not_sent, cut_off] = [heard.answered, heard.not_sent, heard.maybe_sent].map(number::exact);
    let outcome = format!("{answered} answered, {not_sent} not sent, {cut_off} cut off on their way");
    stage.call(&calls, outcome, heard.other_errors == 0 && heard.not_sent > 0)?;
    let lost = heard.asked.saturating_sub(heard.ended());
    stage.call("gets without an outcome", number::exact(lost), lost == 0)?;
    stage.call("wrong values", number::exact(heard.wrong), heard.wrong == 0)
}

/// Draws for each server when it answered and when it failed.
fn draw(client: &Client, heard: &Heard, stage: &mut Stage<'_>) -> io::Result<()> {
    let width = stage.name_width(client);
    for (place, server) in client.servers().iter().enumerate() {
        let cells = heard.line(place, TIMELINE).into_iter().map(|part| match part {
            (true, false) => stage.paint(Tone::Good, "█"),
            (true, true) => stage.paint(Tone::Warning, "▒"),
            (false, true) => stage.paint(Tone::Bad, "✗"),
            (false, false) => " ".to_owned(),
        });
        let cells: String = cells.collect();
        let name = stage.paint(Tone::Name, format_args!("{:>width$}", server.name()));
        stage.say(format_args!("{name}  {cells}"))?;
    }
    stage.say(stage.paint(Tone::Faint, format_args!("{:>width$}  █ answers   ✗ failures   ▒ both", "")))
}

const TIMELINE: usize = 72;
