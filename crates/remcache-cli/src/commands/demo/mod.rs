//! `demo`: a guided tour on embedded servers. Every step is checked, and the demo fails if one does not have
//! the result that it shows.

mod basics;
mod load;
mod outage;
mod output;
mod scenario;
mod speed;

use std::time::Duration;

use remcache::{Client, Config};

use crate::embedded::Embedded;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::TextStyle;
use crate::session::Session;
use output::DemoOutput;

/// Show what remcache does, on three embedded servers; needs nothing else
///
/// Stores, fetches and counts; fetches many keys in one call; stops a server and shows the results while it
/// is down; restarts it and shows how the client recovers; then measures throughput. Takes a few seconds.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(_: &Args, session: &mut Session) -> Outcome {
    let interrupt = session.interrupt.handled();
    let servers = Embedded::start(SERVERS, MEMORY).await?;
    let client = Client::with_config(servers.addresses(), Config::new().timeout(TIMEOUT))?;
    let mut out = DemoOutput::new(&mut session.output);
    let finished = tokio::select! {
        finished = run_sections(&client, &servers, &mut out) => finished,
        () = interrupt.raised() => return Ok(Exit::Interrupted),
    };
    finished?;
    Ok(if out.all_passed() { Exit::Yes } else { Exit::Server })
}

async fn run_sections(client: &Client, servers: &Embedded, out: &mut DemoOutput<'_>) -> Result<(), Failure> {
    let names = servers.addresses().join(", ");
    out.heading(format_args!("remcache {}", env!("CARGO_PKG_VERSION")))?;
    out.line(format_args!("Three embedded servers: {names}. Nothing leaves this machine."))?;
    basics::one_key(client, out).await?;
    basics::many_keys(client, out).await?;
    outage::show(client, servers, out).await?;
    speed::measure(client, out).await?;
    next_steps(out)
}

fn next_steps(out: &mut DemoOutput<'_>) -> Result<(), Failure> {
    out.heading("What next")?;
    for (line, what) in NEXT_STEPS {
        let line = out.paint(TextStyle::Name, format_args!("{line:44}"));
        out.line(format_args!("{line}{what}"))?;
    }
    if !out.all_passed() {
        out.line(out.paint(TextStyle::Bad, "Some steps failed: see the lines marked ✗ above."))?;
    }
    Ok(())
}

const NEXT_STEPS: [(&str, &str); 5] = [
    ("remcache serve &", "run an embedded server to experiment with"),
    ("remcache set Hello World --ttl 10m", "then: remcache get Hello"),
    ("remcache stats --watch 1s -s cache1,cache2", "watch your own servers"),
    ("remcache bench --time 10s", "measure them, with percentiles"),
    ("remcache --help", "list all commands"),
];

const SERVERS: usize = 3;
const MEMORY: usize = 64 << 20;
/// Long enough that a busy machine is not mistaken for a server that is down.
const TIMEOUT: Duration = Duration::from_secs(5);
