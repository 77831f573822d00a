//! Sends batches of requests, and retries them while a server does not answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use remcache::proto::MetaOptions;
use remcache::{Client, Error, Reply, Request, ServerHandle, Status};
use tokio::time::{Instant, sleep};

use crate::interrupt::Interrupt;
use crate::output::Notes;
use crate::stats;

/// Sends batches of requests, and repeats those that were not answered.
#[derive(Debug)]
pub(crate) struct Requester {
    target: Target,
    wait: OutageWait,
    /// Since when requests are not answered.
    unanswered_since: Mutex<Option<Instant>>,
    /// Whether a batch was given up. Then the others are not repeated either, or a server that is gone would delay
    /// every one of them.
    has_given_up: AtomicBool,
    /// Whether all servers support the meta protocol, as far as is known.
    has_meta: AtomicBool,
}

#[derive(Debug)]
enum Target {
    /// One server, with keys as they are.
    Server(ServerHandle),
    /// The server of each key, in the client's namespace.
    Cluster(Client),
}

/// The settings by which requests are repeated while a server does not answer.
#[derive(Clone, Debug)]
pub(crate) struct OutageWait {
    /// The time after which a batch is given up.
    pub(crate) limit: Duration,
    /// Ends the wait, too.
    pub(crate) interrupt: Interrupt,
    /// Report the wait.
    pub(crate) notes: Notes,
}

/// The reply to a request, after all repetitions.
#[derive(Debug)]
pub(crate) struct FinalReply {
    pub(crate) reply: Reply,
    /// Whether an earlier attempt may have been executed.
    pub(crate) maybe_executed: bool,
}

impl Requester {
    pub(crate) fn for_server(server: ServerHandle, wait: OutageWait) -> Self {
        Self::new(Target::Server(server), wait)
    }

    pub(crate) fn for_cluster(client: Client, wait: OutageWait) -> Self {
        Self::new(Target::Cluster(client), wait)
    }

    fn new(target: Target, wait: OutageWait) -> Self {
        Self {
            target,
            wait,
            unanswered_since: Mutex::new(None),
            has_given_up: AtomicBool::new(false),
            has_meta: AtomicBool::new(true),
        }
    }

    /// Returns whether a server did not recover while its requests were repeated.
    pub(crate) fn has_given_up(&self) -> bool {
        self.has_given_up.load(Ordering::Relaxed)
    }

    /// Sends the requests with the numbers below `count`, and repeats those that were not answered.
    pub(crate) async fn send<'r>(
        &self,
        count: usize,
        request: impl Fn(usize) -> Request<'r> + Send,
    ) -> Vec<FinalReply> {
        if count == 0 {
            // An empty batch is no sign that the server answers again.
            return Vec::new();
        }
        let first = self.send_once((0..count).map(&request).collect()).await;
        let mut replies: Vec<FinalReply> =
            first.into_iter().map(|reply| FinalReply { reply, maybe_executed: false }).collect();
        // Taken once: answers to other batches must not prolong the wait of this one.
        let mut since = None;
        for attempt in 0.. {
            let unanswered = unanswered(&replies);
            if unanswered.is_empty() {
                self.note_answers();
                break;
            }
            let since =
                *since.get_or_insert_with(|| self.unanswered_since(&request(unanswered[0]), &replies[unanswered[0]]));
            if !self.pause(attempt, since).await {
                self.has_given_up.store(true, Ordering::Relaxed);
                break;
            }
            let again = self.send_once(unanswered.iter().map(|&index| request(index)).collect()).await;
            for (index, reply) in unanswered.into_iter().zip(again) {
                let before = &mut replies[index];
                let maybe_executed = before.maybe_executed || before.reply.status.may_have_executed();
                *before = FinalReply { reply, maybe_executed };
            }
        }
        replies
    }

    /// Gets items, with these options if the protocol of the servers has them.
    pub(crate) async fn get<'k>(
        &self,
        count: usize,
        key: impl Fn(usize) -> &'k [u8] + Send + Sync,
        options: &MetaOptions,
    ) -> Vec<Reply> {
        if self.has_meta.load(Ordering::Relaxed) {
            let replies = self.send(count, |index| Request::get(key(index)).meta(options.clone())).await;
            if !replies.iter().any(|reply| reply.reply.status == Status::Unsupported) {
                return replies.into_iter().map(|reply| reply.reply).collect();
            }
            self.has_meta.store(false, Ordering::Relaxed);
        }
        let replies = self.send(count, |index| Request::get(key(index))).await;
        replies.into_iter().map(|reply| reply.reply).collect()
    }

    async fn send_once(&self, requests: Vec<Request<'_>>) -> Vec<Reply> {
        match &self.target {
            Target::Server(server) => server.call_many(requests).await,
            Target::Cluster(client) => client.call_many(requests).await,
        }
    }

    /// Waits before a repetition; returns false if there is no repetition left.
    async fn pause(&self, attempt: usize, since: Instant) -> bool {
        let OutageWait { limit, interrupt, .. } = &self.wait;
        let remaining = limit.saturating_sub(since.elapsed());
        if remaining.is_zero() || self.has_given_up() || interrupt.is_raised() {
            return false;
        }
        let delay = RETRY_DELAYS.get(attempt).copied().unwrap_or(LONGEST_DELAY);
        tokio::select! {
            () = sleep(delay.min(remaining)) => true,
            () = interrupt.raised() => false,
        }
    }

    /// Returns since when requests are not answered; if that is now, the wait is reported with the reason of this one.
    fn unanswered_since(&self, request: &Request<'_>, reply: &FinalReply) -> Instant {
        let now = Instant::now();
        let since = *self.unanswered_since.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(now);
        if since == now && !self.has_given_up() {
            self.report_wait(request, &reply.reply);
        }
        since
    }

    fn report_wait(&self, request: &Request<'_>, reply: &Reply) {
        let Some(server) = self.server_of(request) else { return };
        let (name, reason) = (server.name(), stats::reason(&server, &Error::from(reply)));
        let limit = self.wait.limit;
        self.wait.notes.interject(format_args!("{name}: {reason}: waiting for it, at most {limit:?}"));
    }

    fn server_of(&self, request: &Request<'_>) -> Option<ServerHandle> {
        match &self.target {
            Target::Server(server) => Some(server.clone()),
            Target::Cluster(client) => client.locate(request.key().ok()?).ok()?,
        }
    }

    /// Records that a whole batch was answered. A source that was given up is waited for again the next time; a
    /// destination stays given up, because that ends the run.
    fn note_answers(&self) {
        *self.unanswered_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Target::Server(_) = self.target {
            self.has_given_up.store(false, Ordering::Relaxed);
        }
    }
}

/// Returns the indexes of the requests that have no answer of their server.
fn unanswered(replies: &[FinalReply]) -> Vec<usize> {
    let is_unanswered = |reply: &FinalReply| {
        use Status::{Busy, Disconnected, Overloaded, TemporaryFailure, TimedOut};
        matches!(reply.reply.status, Busy | Disconnected(_) | Overloaded | TemporaryFailure | TimedOut(_))
    };
    replies.iter().enumerate().filter(|(_, reply)| is_unanswered(reply)).map(|(index, _)| index).collect()
}

/// The delays before the first repetitions.
const RETRY_DELAYS: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(400), LONGEST_DELAY];
const LONGEST_DELAY: Duration = Duration::from_millis(1000);
