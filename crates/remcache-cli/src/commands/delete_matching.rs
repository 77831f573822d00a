//! `delete-matching`: deletes the items whose keys match a pattern.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use remcache::proto::text::MetadumpItem;
use remcache::{Error, Request, ServerHandle, Status};
use tokio::task::JoinSet;

use super::flush::names;
use super::keys::{self, Items, View};
use crate::bulk::{
    BATCH, BatchJob, BulkOptions, BulkProgress, KeyScope, ListEvent, Placement, RateLimit, Requester, SkipReason,
    Skipped, Summary, is_expired, list, placement_warning, run_pipeline, total,
};
use crate::exit::{Exit, Failure, Outcome};
use crate::item_limit;
use crate::output::number;
use crate::same_server;
use crate::selection::{self, Glob, Selection};
use crate::session::Session;

/// Delete the items whose keys match a pattern with * and ?
///
/// The servers list their keys, and each item is deleted on the server that listed it, even if no client
/// would look for it there. Items that are stored under a matching key during the command may be deleted or
/// not. With conditions on other properties, such as --idle-above, items that changed since they were listed
/// are kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  remcache keys 'session:*' --count              (how many there are)
  remcache delete-matching 'session:*' --dry-run
  remcache delete-matching --misplaced -s a,b,c  (after the list has changed)")]
pub(crate) struct Args {
    /// The pattern: user:* or session:????, or * for all keys; needed unless an option selects the items
    #[arg(value_name = "PATTERN", value_parser = selection::glob)]
    pattern: Option<Glob>,

    #[command(flatten)]
    selection: Selection,

    /// Delete only misplaced items, which are on another server than the one that their key belongs to
    ///
    /// They are left over from another list of servers; with replicas=N in the URL, the replicas are deleted
    /// too. A server that has left the list is not asked: remcache flush -s SERVER removes all its items.
    #[arg(long)]
    misplaced: bool,

    /// Print the matching keys and their number, and delete nothing
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Do not ask for confirmation
    #[arg(short = 'y', long)]
    yes: bool,

    #[command(flatten)]
    options: BulkOptions,
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    if args.pattern.is_none() && !args.misplaced && args.selection.conditions().is_empty() {
        return Err(Failure::usage(
            "name the items to delete: a PATTERN such as 'user:*', '*' for all keys, or --prefix, --glob, --regex, \
             --min-size, --ttl-below, --idle-above or --misplaced",
        ));
    }
    let client = session.client()?;
    let selection = args.selection.clone().and(args.pattern.clone());
    let scope = KeyScope::new(client.namespace(), &selection);
    let placement = Placement::of(&client);
    let items = Items { client: &client, scope: &scope, placement: &placement, only_misplaced: args.misplaced };
    if args.dry_run {
        return show(&items, session).await;
    }
    same_server::warn(&client, session.output.notes()).await;
    if args.selection.looks_beyond_the_key() {
        item_limit::require_cas(&client, "deleting by more than the key", "delete by patterns of keys alone").await?;
    }
    let plan = match args.yes {
        true => {
            DeletePlan { servers: client.servers(), summary: Summary::new("deleted", None)?, matching: 0, selected: 0 }
        }
        false => match confirm(args, &items, session).await? {
            ControlFlow::Continue(plan) => plan,
            ControlFlow::Break(exit) => return Ok(exit),
        },
    };
    delete_all(args, plan, scope, Some(placement).filter(|_| args.misplaced), session).await
}

/// Prints the matching keys and their number.
async fn show(items: &Items<'_>, session: &mut Session) -> Outcome {
    let (count, exit) = keys::show(View::Keys { end: b'\n' }, items, session).await?;
    session.output.flush()?;
    session.output.notes().print(items_match(count));
    Ok(exit)
}

/// Counts the matching items and asks whether to delete them; breaks if none match or the answer is no.
async fn confirm(
    args: &Args,
    items: &Items<'_>,
    session: &mut Session,
) -> Result<ControlFlow<Exit, DeletePlan>, Failure> {
    let plan = count(items).await?;
    let DeletePlan { servers, summary, matching, selected } = &plan;
    if *matching == 0 {
        // Items that are stored from now on, or on a server that is down now, were not confirmed: nothing is deleted.
        if summary.is_complete() {
            session.output.notes().print("no items match");
        }
        summary.print(&mut session.output)?;
        return Ok(ControlFlow::Break(plan.summary.finish(&mut session.output)?));
    }
    if !summary.is_complete() {
        summary.report_failures(&mut session.output)?;
        session.output.notes().print("nothing is deleted on servers that failed to list their items");
    }
    if let Some(warning) = placement_warning(*matching, *selected).filter(|_| args.misplaced) {
        session.output.notes().print(warning);
    }
    let action = format!("delete {}", number::items(*matching));
    let question = format!("{}. Remove {} of {}?", items_match(*matching), args.description(), names(servers));
    Ok(match session.confirm(&action, &question)? {
        true => ControlFlow::Continue(plan),
        false => ControlFlow::Break(Exit::No),
    })
}

/// Deletes the matching items.
async fn delete_all(
    args: &Args,
    plan: DeletePlan,
    scope: KeyScope,
    placement: Option<Placement>,
    session: &mut Session,
) -> Outcome {
    let interrupt = session.interrupt.handled();
    let DeletePlan { servers, summary: counting, .. } = plan;
    let limit = RateLimit::new(args.options.rate);
    let batches = list(&servers, &scope, limit.batch())?;
    let wait = args.options.outage_wait(&interrupt, session.output.notes());
    let total = total(&servers).await;
    let requester = |server: &ServerHandle| Arc::new(Requester::for_server(server.clone(), wait.clone()));
    let mut run = DeleteRun {
        requesters: servers.iter().map(requester).collect(),
        servers,
        is_conditional: args.selection.looks_beyond_the_key(),
        placement,
        scope,
        // An item that has changed does not match any more.
        summary: Summary::new("deleted", args.options.failed.as_deref())?
            .accepting(Some(SkipReason::Changed))
            .with_failures_of(counting),
        progress: BulkProgress::new(session.output.notes(), total),
    };
    run_pipeline(&mut run, batches, limit, &interrupt).await?;
    let DeleteRun { summary, progress, .. } = run;
    drop(progress);
    summary.print(&mut session.output)?;
    let exit = summary.finish(&mut session.output)?;
    if interrupt.is_raised() {
        session.output.notes().print("interrupted: run the same command again to delete the other items");
    }
    Ok(interrupt.unless_raised(exit))
}

/// Formats a number of items: `1 item matches`, `2 items match`.
fn items_match(count: u64) -> String {
    format!("{} {}", number::items(count), if count == 1 { "matches" } else { "match" })
}

impl Args {
    /// Returns the items to delete, as part of a sentence.
    fn description(&self) -> String {
        let misplaced = if self.misplaced { "misplaced " } else { "" };
        let conditions = self.selection.conditions();
        let items = match &self.pattern {
            Some(pattern) => format!("the {misplaced}items whose keys match {}", pattern.text),
            None if conditions.is_empty() => format!("the {misplaced}items"),
            None => format!("the {misplaced}items with"),
        };
        [vec![items], conditions].concat().join(" ")
    }
}

/// The items that the user confirms to delete.
struct DeletePlan {
    /// The servers that listed all their items.
    servers: Vec<ServerHandle>,
    /// The failures of the other servers.
    summary: Summary,
    /// The number of items that match.
    matching: u64,
    /// The number of items that match all conditions but that of the server.
    selected: u64,
}

/// Counts the matching items.
async fn count(items: &Items<'_>) -> Result<DeletePlan, Failure> {
    let servers = items.client.servers();
    let (mut summary, mut matching, mut selected) = (Summary::new("deleted", None)?, 0, 0);
    let mut has_failed = vec![false; servers.len()];
    let mut batches = list(&servers, items.scope, BATCH)?;
    while let Some(event) = batches.recv().await {
        if let ListEvent::Failed(server, _) = event {
            has_failed[server] = true;
        }
        let Some(batch) = summary.listed(event)? else { continue };
        let now = selection::now();
        let live = batch.items.iter().filter(|item| !is_expired(item, now));
        for item in live {
            selected += 1;
            matching += u64::from(items.includes(item, &servers[batch.server]));
        }
    }
    let listed = servers.into_iter().zip(has_failed).filter(|(_, has_failed)| !has_failed);
    Ok(DeletePlan { servers: listed.map(|(server, _)| server).collect(), summary, matching, selected })
}

/// State of a run.
struct DeleteRun {
    servers: Vec<ServerHandle>,
    requesters: Vec<Arc<Requester>>,
    /// Whether only items are deleted that have not changed since they were listed.
    is_conditional: bool,
    /// Limits the run to misplaced items.
    placement: Option<Placement>,
    scope: KeyScope,
    summary: Summary,
    progress: BulkProgress,
}

/// A batch that was deleted.
struct DeletedBatch {
    /// Index of the server.
    server: usize,
    /// The keys, each with the reason if it was not deleted.
    items: Vec<(Bytes, Option<Skipped>)>,
    seen: u64,
}

impl BatchJob for DeleteRun {
    type Batch = ListEvent;
    type Done = DeletedBatch;

    fn size(&self, event: &ListEvent) -> usize {
        match event {
            ListEvent::Batch(batch) => batch.items.iter().filter(|item| self.includes(item, batch.server)).count(),
            ListEvent::Failed(..) | ListEvent::NoRoom(_) => 0,
        }
    }

    fn start(&mut self, event: ListEvent, jobs: &mut JoinSet<DeletedBatch>) -> Result<(), Failure> {
        let Some(mut batch) = self.summary.listed(event)? else { return Ok(()) };
        batch.items.retain(|item| self.includes(item, batch.server));
        let requester = Arc::clone(&self.requesters[batch.server]);
        let is_conditional = self.is_conditional;
        jobs.spawn(async move {
            let items = delete(&requester, batch.items, is_conditional).await;
            DeletedBatch { server: batch.server, items, seen: batch.seen }
        });
        Ok(())
    }

    fn finish(&mut self, done: DeletedBatch) -> Result<ControlFlow<()>, Failure> {
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
        Ok(ControlFlow::Continue(()))
    }
}

impl DeleteRun {
    /// Returns whether an item of this server is to be deleted.
    fn includes(&self, item: &MetadumpItem, server: usize) -> bool {
        let is_misplaced = |placement: &Placement| placement.is_misplaced(&self.scope, item, &self.servers[server]);
        self.placement.as_ref().is_none_or(is_misplaced)
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
            // An earlier attempt, whose reply was lost, has deleted it.
            Status::KeyNotFound if answer.maybe_executed => None,
            Status::KeyNotFound => Some(SkipReason::Gone.into()),
            Status::KeyExists => Some(SkipReason::Changed.into()),
            _ => Some(Error::from(&answer.reply).into()),
        }
    };
    items.iter().map(|item| (item.key.clone(), skipped(item))).collect()
}
