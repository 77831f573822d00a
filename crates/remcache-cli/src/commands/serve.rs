//! `serve`: the embedded server in the foreground.

use std::net::IpAddr;

use remcache_server::Server;

use crate::exit::{Exit, Failure, Outcome};
use crate::options::value;
use crate::session::Session;

/// Run the embedded server in the foreground
///
/// For trials and for tests of other programs. It supports memcached's binary, meta and text protocols, and runs
/// until SIGINT or SIGTERM. The first line of its output is its address.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The port; 0 chooses a free one
    #[arg(short = 'p', long, value_name = "N", default_value_t = 11211)]
    port: u16,

    /// The address to listen on
    #[arg(short = 'l', long, value_name = "IP", default_value = "127.0.0.1")]
    listen: IpAddr,

    /// Listen on a Unix socket instead of a port
    #[cfg(unix)]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["port", "listen"])]
    unix: Option<std::path::PathBuf>,

    /// Memory for items; when it is full, the least recently used items are evicted
    #[arg(short = 'm', long, value_name = "BYTES", default_value = "64m", value_parser = value::bytes)]
    memory: usize,

    /// The largest size of an item
    #[arg(long, value_name = "BYTES", default_value = "1m", value_parser = value::bytes)]
    item_size_max: usize,
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let interrupt = session.interrupt.handled();
    let server = start(args).await?;
    let output = &mut session.output;
    output.line(server.address())?;
    output.flush()?;
    output.notes().say("Ctrl-C ends the server");
    interrupt.raised().await;
    server.stop().await;
    Ok(Exit::Yes)
}

async fn start(args: &Args) -> Result<Server, Failure> {
    let builder = Server::builder().memory(args.memory).item_size_max(args.item_size_max);
    let builder = builder.ip(args.listen).port(args.port);
    #[cfg(unix)]
    let builder = match &args.unix {
        Some(path) => builder.unix_path(path),
        None => builder,
    };
    builder.start().await.map_err(|error| Failure::Io(listen_address(args), error))
}

fn listen_address(args: &Args) -> String {
    #[cfg(unix)]
    if let Some(path) = &args.unix {
        return path.display().to_string();
    }
    format!("{}:{}", args.listen, args.port)
}
