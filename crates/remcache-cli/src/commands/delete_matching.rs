//! `delete-matching`: removes the items whose keys match a pattern.

use std::sync::Arc;

use bytes::Bytes;
use remcache::ServerHandle;
use remcache::proto::text::MetadumpItem;
use remcache::{Error, Request, Status};
use tokio::task::JoinSet;

use super::flush::names;
use super::keys;
use crate::bulk::{
    BATCH, BatchJob, BulkOptions, BulkProgress, KeyScope, ListEvent, RateLimit, Requester, SkipReason, Skipped,
    Summary, is_expired, list, run_pipeline, total,
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
    options: BulkOptions,
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let client = session.client()?;
    let selection = args.selection.clone().and(args.pattern.clone());
    let scope = KeyScope::new(client.namespace(), &selection);
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
    let rate_limit = RateLimit::new(args.options.rate);
    let batches = list(&servers, &scope, rate_limit.batch())?;
    let mut removal = Removal {
        requesters: servers.iter().map(|server| Arc::new(Requester::for_server(server.clone()))).collect(),
        servers,
        is_conditional: args.selection.looks_beyond_the_key(),
        rate_limit,
        scope,
        // What has changed does not match any more.
        summary: Summary::new("deleted", args.options.failed.as_deref())?.accepting(Some(SkipReason::Changed)),
        progress: BulkProgress::new(session.output.notes(), total(&client).await),
    };
    run_pipeline(&mut removal, batches, &interrupt).await?;
    let Removal { summary, progress, .. } = removal;
    drop(progress);
    summary.print(&mut session.output)?;
    let exit = summary.finish(&mut session.output)?;
    Ok(interrupt.unless_raised(exit))
}

/// How many items match, at the servers that can be asked: the others are told of when it is done.
async fn count(servers: &[ServerHandle], scope: &KeyScope) -> Result<u64, Failure> {
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
    requesters: Vec<Arc<Requester>>,
    /// Whether only an item is deleted that is as it was listed.
    is_conditional: bool,
    rate_limit: RateLimit,
    scope: KeyScope,
    summary: Summary,
    progress: BulkProgress,
}

/// A batch that was deleted.
struct Done {
    /// The place of its server.
    server: usize,
    /// Each key with why it was not deleted, if it was not.
    items: Vec<(Bytes, Option<Skipped>)>,
    seen: u64,
}

impl BatchJob for Removal {
    type Batch = ListEvent;
    type Done = Done;

    fn start(&mut self, listed: ListEvent, jobs: &mut JoinSet<Done>) -> Result<(), Failure> {
        let Some(batch) = listed.batch(|error| self.summary.listing_failed(error))? else { return Ok(()) };
        let (requester, rate_limit) = (Arc::clone(&self.requesters[batch.server]), self.rate_limit.clone());
        let is_conditional = self.is_conditional;
        jobs.spawn(async move {
            rate_limit.take(batch.items.len()).await;
            let items = delete(&requester, batch.items, is_conditional).await;
            Done { server: batch.server, items, seen: batch.seen }
        });
        Ok(())
    }

    fn finish(&mut self, done: Done) -> Result<(), Failure> {
        self.summary.seen += done.seen;
        for (key, skipped) in &done.items {
            match skipped {
                None => self.summary.done(1, 0),
                Some(skipped) => {
                    let name = self.scope.name(key).unwrap_or(key);
                    self.summary.skipped(name, Some(self.servers[done.server].name()), skipped)?;
                }
            }
        }
        self.progress.show(&self.summary);
        Ok(())
    }
}

async fn delete(
    requester: &Requester,
    items: Vec<MetadumpItem>,
    is_conditional: bool,
) -> Vec<(Bytes, Option<Skipped>)> {
    let now = selection::now();
    let live: Vec<&MetadumpItem> = items.iter().filter(|item| !is_expired(item, now)).collect();
    let condition = |item: &MetadumpItem| if is_conditional { item.cas } else { 0 };
    let request = |index: usize| Request::delete(&live[index].key).cas(condition(live[index]));
    let mut answers = requester.send(live.len(), request).await.into_iter();
    let mut skipped = |item: &MetadumpItem| -> Option<Skipped> {
        if is_expired(item, now) {
            return Some(SkipReason::Expired.into());
        }
        let answer = answers.next()?;
        match answer.reply.status {
            Status::NoError => None,
            // The attempt before it has done it.
            Status::KeyNotFound if answer.maybe_executed => None,
            Status::KeyNotFound => Some(SkipReason::Gone.into()),
            Status::KeyExists => Some(SkipReason::Changed.into()),
            _ => Some(Error::from(&answer.reply).into()),
        }
    };
    items.iter().map(|item| (item.key.clone(), skipped(item))).collect()
}
