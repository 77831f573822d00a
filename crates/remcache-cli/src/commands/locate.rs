//! `locate`: the server of a key, without asking any.

use crate::exit::{Exit, Outcome};
use crate::input::Keys;
use crate::output::{Layout, Record, Tone, text};
use crate::session::Session;

/// Tell which server holds a key, without connecting to any
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    keys: Keys,
}

const COLUMNS: &[&str] = &["key", "key_b64", "server"];

pub(crate) fn run(args: &Args, session: &mut Session) -> Outcome {
    let keys = args.keys.read()?;
    let client = session.client()?;
    let name = |key: &[u8]| -> Result<Option<String>, remcache::Error> {
        Ok(client.locate(key)?.map(|server| server.name().to_owned()))
    };
    let output = &mut session.output;
    let paint = output.paint();
    if !output.is_text() {
        let mut records = output.records(COLUMNS)?;
        for key in &keys {
            records.push(Record::new().with_bytes("key", key).with("server", name(key)?))?;
        }
        records.end()?;
        return Ok(Exit::Yes);
    }
    for key in &keys {
        let server = name(key)?.unwrap_or_else(|| "-".into());
        let key = text::inline(key);
        match output.layout() {
            Layout::Raw => output.line(format_args!("{key}\t{server}"))?,
            _ => output.line(format_args!("{key}  → {}", paint.apply(Tone::Name, server)))?,
        }
    }
    Ok(Exit::Yes)
}
