//! `delete-matching`: removes the items whose keys match a pattern.

use std::sync::Arc;

use bytes::Bytes;
use remcache::client::ServerHandle;
use remcache::proto::text::MetadumpItem;
use remcache::{Error, Request, Status};
use tokio::task::JoinSet;

use super::flush::names;
use super::keys;
use crate::bulk::{
    Asker, BATCH, Ledger, Listed, Loss, Lost, Meter, Options, Pace, Scope, Sweep, is_expired, list, sweep, total,
};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::number;
use crate::selection::{self, Glob, Selection};
use crate::session::{self, Session};

/// Remove the items whose keys match a pattern with * and ?
///
/// The servers list their keys, and each is deleted where it was listed, also if no client would look
/// for it there. What is stored under a matching key while the command runs is removed too, or it is
/// not; with a condition beyond the key, such as --idle-above, an item that changed since it was
/// listed stays.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The pattern: user:* or session:????
    #[arg(value_name = "PATTERN", value_parser = selection::glob)]
    pattern: Glob,

    #[command(flatten)]
    selection: Selection,

    /// Print the keys that match and how many there are, and delete none
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Do not ask
    #[arg(short = 'y', long)]
    yes: bool,

    #[command(flatten)]
    options: Options,
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let client = session.client()?;
    let selection = args.selection.clone().and(args.pattern.clone());
    let scope = Scope::new(client.namespace(), &selection);
    if args.dry_run {
        return keys::show(keys::View::Keys, &client, &scope, session).await;
    }
    if !args.yes {
        let question = format!("Remove the items of {} whose keys match {}?", names(&client), args.pattern.text);
        session::require_terminal(&question)?;
        let matching = count(&client.servers(), &scope).await?;
        if !session.confirm(&format!("{} items match. {question}", number::exact(matching)))? {
            return Ok(Exit::No);
        }
    }
    let interrupt = session.interrupt.expect();
    let servers = client.servers();
    let pace = Pace::new(args.options.rate);
    let batches = list(&servers, &scope, pace.batch())?;
    let mut removal = Removal {
        askers: servers.iter().map(|server| Arc::new(Asker::server(server.clone()))).collect(),
        servers,
        is_conditional: args.selection.looks_beyond_the_key(),
        pace,
        scope,
        // What has changed does not match any more.
        ledger: Ledger::new("deleted", args.options.failed.as_deref())?.accepting(Some(Loss::Changed)),
        meter: Meter::new(session.output.notes(), total(&client).await),
    };
    sweep(&mut removal, batches, &interrupt).await?;
    let Removal { ledger, meter, .. } = removal;
    drop(meter);
    ledger.print(&mut session.output)?;
    let exit = ledger.end(&mut session.output)?;
    Ok(interrupt.unless_raised(exit))
}

/// How many items match, at the servers that can be asked: the others are told of when it is done.
async fn count(servers: &[ServerHandle], scope: &Scope) -> Result<u64, Failure> {
    let mut batches = list(servers, scope, BATCH)?;
    let mut count = 0;
    while let Some(listed) = batches.recv().await {
        count += listed.batch(|_| {})?.map_or(0, |batch| batch.items.len() as u64);
    }
    Ok(count)
}

/// A removal on its way.
struct Removal {
    servers: Vec<ServerHandle>,
    askers: Vec<Arc<Asker>>,
    /// Whether only an item is deleted that is as it was listed.
    is_conditional: bool,
    pace: Pace,
    scope: Scope,
    ledger: Ledger,
    meter: Meter,
}

/// A batch that was deleted.
struct Done {
    /// The place of its server.
    server: usize,
    /// Each key with why it was not deleted, if it was not.
    items: Vec<(Bytes, Option<Lost>)>,
    seen: u64,
}

impl Sweep for Removal {
    type Batch = Listed;
    type Done = Done;

    fn begin(&mut self, listed: Listed, jobs: &mut JoinSet<Done>) -> Result<(), Failure> {
        let Some(batch) = listed.batch(|error| self.ledger.unlisted(error))? else { return Ok(()) };
        let (asker, pace) = (Arc::clone(&self.askers[batch.server]), self.pace.clone());
        let is_conditional = self.is_conditional;
        jobs.spawn(async move {
            pace.take(batch.items.len()).await;
            let items = delete(&asker, batch.items, is_conditional).await;
            Done { server: batch.server, items, seen: batch.seen }
        });
        Ok(())
    }

    fn settle(&mut self, done: Done) -> Result<(), Failure> {
        self.ledger.seen += done.seen;
        for (key, lost) in &done.items {
            match lost {
                None => self.ledger.done(1, 0),
                Some(lost) => {
                    let name = self.scope.name(key).unwrap_or(key);
                    self.ledger.lost(name, Some(self.servers[done.server].name()), lost)?;
                }
            }
        }
        self.meter.show(&self.ledger);
        Ok(())
    }
}

async fn delete(asker: &Asker, items: Vec<MetadumpItem>, is_conditional: bool) -> Vec<(Bytes, Option<Lost>)> {
    let now = selection::now();
    let live: Vec<&MetadumpItem> = items.iter().filter(|item| !is_expired(item, now)).collect();
    let condition = |item: &MetadumpItem| if is_conditional { item.cas } else { 0 };
    let request = |index: usize| Request::delete(&live[index].key).cas(condition(live[index]));
    let mut answers = asker.ask(live.len(), request).await.into_iter();
    let mut lost = |item: &MetadumpItem| -> Option<Lost> {
        if is_expired(item, now) {
            return Some(Loss::Expired.into());
        }
        let answer = answers.next()?;
        match answer.reply.status {
            Status::NoError => None,
            // The attempt before it has done it.
            Status::KeyNotFound if answer.is_in_doubt => None,
            Status::KeyNotFound => Some(Loss::Gone.into()),
            Status::KeyExists => Some(Loss::Changed.into()),
            _ => Some(Error::from(&answer.reply).into()),
        }
    };
    items.iter().map(|item| (item.key.clone(), lost(item))).collect()
}
