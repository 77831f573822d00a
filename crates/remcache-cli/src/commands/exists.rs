//! `exists`: tells whether keys have items.

use remcache::Error;
use remcache::Item;

use crate::exit::{Outcome, words};
use crate::input::Keys;
use crate::output::{Output, Record, TextStyle, text};
use crate::session::Session;
use crate::tally::Tally;

/// Tell whether keys have items: exit code 0 if all have, 1 if one has none
///
/// The servers count it as a fetch.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    keys: Keys,
}

const COLUMNS: &[&str] = &["key", "key_b64", "status", "error"];

/// How many keys are asked for at a time: their values are in memory at once.
const CHUNK: usize = 500;

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let mut blocks = args.keys.blocks()?;
    let client = session.client()?;
    let interrupt = session.interrupt.expect();
    let output = &mut session.output;
    let mut tally = Tally::default();
    let mut list = output.list(COLUMNS)?;
    while let Some(keys) = blocks.next(&interrupt).await? {
        for chunk in keys.chunks(CHUNK).take_while(|_| !interrupt.is_raised()) {
            for (key, fetched) in client.get_many(chunk).await {
                match &fetched {
                    Ok(item) => tally.answer(item.is_some()),
                    Err(error) => tally.error(error),
                }
                list.push(|output| line(key, word(&fetched), output), || record(key, &fetched))?;
            }
        }
    }
    list.end()?;
    let output = &mut session.output;
    tally.complain("keys", output)?;
    Ok(interrupt.unless_raised(tally.exit()))
}

fn word(fetched: &Result<Option<Item>, Error>) -> (&'static str, TextStyle) {
    match fetched {
        Ok(Some(_)) => ("found", TextStyle::Good),
        Ok(None) => ("missing", TextStyle::Faint),
        Err(_) => ("failed", TextStyle::Bad),
    }
}

fn record(key: &[u8], fetched: &Result<Option<Item>, Error>) -> Record {
    let error = fetched.as_ref().err().map(words);
    Record::new().with_bytes("key", key).with("status", word(fetched).0).with_some("error", error)
}

fn line(key: &[u8], (word, style): (&str, TextStyle), output: &mut Output) -> std::io::Result<()> {
    let word = output.paint().apply(style, word);
    output.line(format_args!("{}\t{word}", text::inline(key)))
}
