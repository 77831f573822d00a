//! `demo`: what a stranger sees first. Every step is checked: the demo fails if one does not go as
//! it is told.

mod basics;
mod crowd;
mod outage;
mod scene;
mod speed;
mod stage;

use std::time::Duration;

use remcache::{Client, Config};

use crate::embedded::Embedded;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::Tone;
use crate::session::Session;
use stage::Stage;

/// See it at work, on three embedded servers; a few seconds, nothing else needed
///
/// Stores, fetches, counts, asks for many keys at once; stops a server and shows the outcomes while
/// it is away, starts it again and shows its return; then measures the speed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(_: &Args, session: &mut Session) -> Outcome {
    let interrupt = session.interrupt.expect();
    let servers = Embedded::start(SERVERS, MEMORY).await?;
    let client = Client::with_config(servers.addresses(), Config::new().timeout(TIMEOUT))?;
    let mut stage = Stage::new(&mut session.output);
    let played = tokio::select! {
        played = play(&client, &servers, &mut stage) => played,
        () = interrupt.raised() => return Ok(Exit::Interrupted),
    };
    played?;
    Ok(if stage.is_as_told() { Exit::Yes } else { Exit::Server })
}

async fn play(client: &Client, servers: &Embedded, stage: &mut Stage<'_>) -> Result<(), Failure> {
    let names = servers.addresses().join(", ");
    stage.heading(format_args!("remcache {}", env!("CARGO_PKG_VERSION")))?;
    stage.say(format_args!("Three embedded servers: {names}. Nothing leaves this machine."))?;
    basics::one_key(client, stage).await?;
    basics::many_keys(client, stage).await?;
    outage::show(client, servers, stage).await?;
    speed::measure(client, stage).await?;
    epilogue(stage)
}

fn epilogue(stage: &mut Stage<'_>) -> Result<(), Failure> {
    stage.heading("What next")?;
    for (line, what) in NEXT {
        let line = stage.paint(Tone::Name, format_args!("{line:44}"));
        stage.say(format_args!("{line}{what}"))?;
    }
    if !stage.is_as_told() {
        stage.say(stage.paint(Tone::Bad, "Not everything went as told: see the lines marked ✗ above."))?;
    }
    Ok(())
}

const NEXT: [(&str, &str); 5] = [
    ("remcache serve &", "a server of your own to try things on"),
    ("remcache set Hello World --ttl 10m", "then: remcache get Hello"),
    ("remcache stats --watch 1s -s cache1,cache2", "your servers, live"),
    ("remcache bench --time 10s", "their speed, with percentiles"),
    ("remcache --help", "everything else"),
];

const SERVERS: usize = 3;
const MEMORY: usize = 64 << 20;
/// A machine that is busy with other things must not look like a server that is away.
const TIMEOUT: Duration = Duration::from_secs(5);
