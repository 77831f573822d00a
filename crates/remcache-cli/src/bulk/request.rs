//! Many requests at once, repeated while a server is away for a moment.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use remcache::ServerHandle;
use remcache::{Client, Reply, Request, Status};
use tokio::time::sleep;

/// Who is asked, and whether it was worth while to ask again.
#[derive(Debug)]
pub(crate) struct Requester {
    target: Target,
    /// Whether the last batch went through at once or in the end: while one does not, those behind it
    /// are not repeated either, or a server that is gone would hold up every one of them.
    retries: AtomicBool,
}

#[derive(Debug)]
enum Target {
    /// This one, with keys as they are.
    Server(ServerHandle),
    /// Each key's server, in the client's namespace.
    Cluster(Client),
}

/// A reply, after all repetitions.
#[derive(Debug)]
pub(crate) struct FinalReply {
    pub(crate) reply: Reply,
    /// Whether an attempt before this reply may have been executed.
    pub(crate) maybe_executed: bool,
}

impl Requester {
    pub(crate) fn for_server(server: ServerHandle) -> Self {
        Self { target: Target::Server(server), retries: AtomicBool::new(true) }
    }

    pub(crate) fn for_cluster(client: Client) -> Self {
        Self { target: Target::Cluster(client), retries: AtomicBool::new(true) }
    }

    /// Asks so many things, each what `request` says, and those without an answer again.
    pub(crate) async fn send<'r>(
        &self,
        count: usize,
        request: impl Fn(usize) -> Request<'r> + Send,
    ) -> Vec<FinalReply> {
        let first = self.send_once((0..count).map(&request).collect()).await;
        let mut answers: Vec<FinalReply> =
            first.into_iter().map(|reply| FinalReply { reply, maybe_executed: false }).collect();
        for pause in RETRY_DELAYS {
            let again = unanswered(&answers);
            if again.is_empty() || !self.retries.load(Ordering::Relaxed) {
                break;
            }
            sleep(pause).await;
            let replies = self.send_once(again.iter().map(|&index| request(index)).collect()).await;
            for (index, reply) in again.into_iter().zip(replies) {
                let before = &mut answers[index];
                let maybe_executed = before.maybe_executed || before.reply.status.may_have_executed();
                *before = FinalReply { reply, maybe_executed };
            }
        }
        self.retries.store(unanswered(&answers).is_empty(), Ordering::Relaxed);
        answers
    }

    async fn send_once(&self, requests: Vec<Request<'_>>) -> Vec<Reply> {
        match &self.target {
            Target::Server(server) => server.call_many(requests).await,
            Target::Cluster(client) => client.call_many(requests).await,
        }
    }
}

fn unanswered(answers: &[FinalReply]) -> Vec<usize> {
    let is_unanswered = |answer: &FinalReply| {
        use Status::{Busy, Disconnected, Overloaded, TemporaryFailure, TimedOut};
        matches!(answer.reply.status, Busy | Disconnected(_) | Overloaded | TemporaryFailure | TimedOut(_))
    };
    answers.iter().enumerate().filter(|(_, answer)| is_unanswered(answer)).map(|(index, _)| index).collect()
}

/// How long to wait before each repetition.
const RETRY_DELAYS: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1000)];
