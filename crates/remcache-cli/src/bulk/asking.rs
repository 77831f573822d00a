//! Many requests at once, repeated while a server is away for a moment.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use remcache::client::ServerHandle;
use remcache::{Client, Reply, Request, Status};
use tokio::time::sleep;

/// Who is asked, and whether it was worth while to ask again.
#[derive(Debug)]
pub(crate) struct Asker {
    target: Target,
    /// Whether the last batch went through at once or in the end: while one does not, those behind it
    /// are not repeated either, or a server that is gone would hold up every one of them.
    is_patient: AtomicBool,
}

#[derive(Debug)]
enum Target {
    /// This one, with keys as they are.
    Server(ServerHandle),
    /// Each key's server, in the client's namespace.
    Fleet(Client),
}

/// A reply, after all repetitions.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    /// Whether an attempt before this reply may have been executed.
    pub(crate) is_in_doubt: bool,
}

impl Asker {
    pub(crate) fn server(server: ServerHandle) -> Self {
        Self { target: Target::Server(server), is_patient: AtomicBool::new(true) }
    }

    pub(crate) fn fleet(client: Client) -> Self {
        Self { target: Target::Fleet(client), is_patient: AtomicBool::new(true) }
    }

    /// Asks so many things, each what `request` says, and those without an answer again.
    pub(crate) async fn ask<'r>(&self, count: usize, request: impl Fn(usize) -> Request<'r> + Send) -> Vec<Answer> {
        let first = self.once((0..count).map(&request).collect()).await;
        let mut answers: Vec<Answer> = first.into_iter().map(|reply| Answer { reply, is_in_doubt: false }).collect();
        for pause in PAUSES {
            let again = unanswered(&answers);
            if again.is_empty() || !self.is_patient.load(Ordering::Relaxed) {
                break;
            }
            sleep(pause).await;
            let replies = self.once(again.iter().map(|&index| request(index)).collect()).await;
            for (index, reply) in again.into_iter().zip(replies) {
                let before = &mut answers[index];
                let is_in_doubt = before.is_in_doubt || before.reply.status.may_have_executed();
                *before = Answer { reply, is_in_doubt };
            }
        }
        self.is_patient.store(unanswered(&answers).is_empty(), Ordering::Relaxed);
        answers
    }

    async fn once(&self, requests: Vec<Request<'_>>) -> Vec<Reply> {
        match &self.target {
            Target::Server(server) => server.call_many(requests).await,
            Target::Fleet(client) => client.call_many(requests).await,
        }
    }
}

fn unanswered(answers: &[Answer]) -> Vec<usize> {
    let is_unanswered = |answer: &Answer| {
        use Status::{Busy, Disconnected, Overloaded, TemporaryFailure, TimedOut};
        matches!(answer.reply.status, Busy | Disconnected(_) | Overloaded | TemporaryFailure | TimedOut(_))
    };
    answers.iter().enumerate().filter(|(_, answer)| is_unanswered(answer)).map(|(index, _)| index).collect()
}

/// How long to wait before each repetition.
const PAUSES: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1000)];
