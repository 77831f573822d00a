//! `locate`: the server of a key, without asking any.

use remcache::distribution::{Explanation, Node, Ring};

use crate::exit::{Exit, Failure, Outcome};
use crate::input::{Blocks, Keys};
use crate::output::{Layout, Output, Record, TextStyle, text};
use crate::session::Session;

/// Tell which server holds a key, without connecting to any
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    keys: Keys,

    /// Tell why: the hash, the point on the ring, and who comes next
    #[arg(long)]
    explain: bool,
}

const COLUMNS: &[&str] = &["key", "key_b64", "server"];
const EXPLAINED: &[&str] = &["key", "key_b64", "server", "hash", "value", "point", "number", "next"];

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let mut blocks = args.keys.blocks()?;
    if args.explain {
        return explain(blocks, session).await;
    }
    let interrupt = session.interrupt.expect();
    let client = session.client()?;
    let name = |key: &[u8]| -> Result<Option<String>, remcache::Error> {
        Ok(client.locate(key)?.map(|server| server.name().to_owned()))
    };
    let mut list = session.output.list(COLUMNS)?;
    while let Some(keys) = blocks.next(&interrupt).await? {
        for key in &keys {
            let server = name(key)?;
            list.push(
                |output| line(key, server.as_deref(), output),
                || Record::new().with_bytes("key", key).with("server", server.clone()),
            )?;
        }
    }
    list.end()?;
    Ok(interrupt.unless_raised(Exit::Yes))
}

fn line(key: &[u8], server: Option<&str>, output: &mut Output) -> std::io::Result<()> {
    let (key, server) = (text::inline(key), server.unwrap_or("-"));
    match output.layout() {
        Layout::Raw => output.line(format_args!("{key}\t{server}")),
        _ => output.line(format_args!("{key}  → {}", output.paint().apply(TextStyle::Name, server))),
    }
}

/// A key with why it is where it is.
struct Reason<'k> {
    key: &'k [u8],
    why: Explanation,
}

async fn explain(mut blocks: Blocks, session: &mut Session) -> Outcome {
    let names: Vec<String> = session.endpoints()?.iter().map(|endpoint| endpoint.name.to_string()).collect();
    let ring = ring(session)?;
    let namespace = session.client()?.namespace().to_vec();
    let interrupt = session.interrupt.expect();
    let mut list = session.output.list(EXPLAINED)?;
    while let Some(keys) = blocks.next(&interrupt).await? {
        for key in &keys {
            let reason = reason(key, &ring, &namespace)?;
            list.push(|output| reason.print(ring.distribution().name(), &names, output), || reason.record(&names))?;
        }
    }
    list.end()?;
    Ok(interrupt.unless_raised(Exit::Yes))
}

fn reason<'k>(key: &'k [u8], ring: &Ring, namespace: &[u8]) -> Result<Reason<'k>, Failure> {
    let placed = match ring.distribution().hashes_namespace() {
        true => [namespace, key].concat(),
        false => key.to_vec(),
    };
    let why = ring.explain(&placed).ok_or_else(|| Failure::usage("there is no server"))?;
    Ok(Reason { key, why })
}

/// The ring of the servers that the options name.
pub(super) fn ring(session: &Session) -> Result<Ring, Failure> {
    let nodes: Vec<Node> = session.endpoints()?.iter().map(Node::from).collect();
    session.client()?.distribution().ring(&nodes).map_err(|error| Failure::usage(error.to_string()))
}

impl Reason<'_> {
    fn print(&self, placement: &str, names: &[String], output: &mut Output) -> std::io::Result<()> {
        let Explanation { hash, value, point, divisor, server, next, .. } = &self.why;
        let paint = output.paint();
        let mut line = format!("{}  → {}", text::inline(self.key), paint.apply(TextStyle::Name, &names[*server]));
        line += &format!("  {}", paint.apply(TextStyle::Faint, format_args!("hash {hash}/{placement} {value}")));
        if let Some(point) = point {
            line += &format!("  point {} ({}#{})", point.position, names[*server], point.number);
        }
        if let Some(divisor) = divisor {
            line += &format!("  mod {divisor}");
        }
        if let Some(next) = next.first() {
            line += &format!("  next: {}", names[*next]);
        }
        output.line(line)
    }

    fn record(&self, names: &[String]) -> Record {
        let Explanation { hash, value, point, divisor, server, next, .. } = &self.why;
        let next: Vec<&str> = next.iter().map(|server| &*names[*server]).collect();
        Record::new()
            .with_bytes("key", self.key)
            .with("server", &*names[*server])
            .with("hash", hash.to_string())
            .with("value", &**value)
            .with_some("point", point.as_ref().map(|point| &*point.position))
            .with_some("number", point.as_ref().map(|point| point.number))
            .with_some("divisor", *divisor)
            .with("next", next)
    }
}
