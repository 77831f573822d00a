//! The engine of bulk commands: work that comes in batches, some of them at a time.

use std::panic::resume_unwind;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::IN_FLIGHT;
use crate::exit::Failure;
use crate::interrupt::Interrupt;

/// Work that comes in batches.
pub(crate) trait BatchJob {
    /// What comes.
    type Batch;
    /// What a batch becomes.
    type Done: Send + 'static;

    /// Begins to work on a batch, as a job of its own.
    fn start(&mut self, batch: Self::Batch, jobs: &mut JoinSet<Self::Done>) -> Result<(), Failure>;

    /// Takes what became of a batch.
    fn finish(&mut self, done: Self::Done) -> Result<(), Failure>;
}

/// Works on what comes until no more does, the user interrupts, or something fails. What was begun is
/// always finished: no batch is half done.
pub(crate) async fn run_pipeline<J: BatchJob>(
    work: &mut J,
    mut batches: mpsc::Receiver<J::Batch>,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let mut jobs = JoinSet::new();
    let mut outcome = Ok(());
    let mut has_more = true;
    while has_more || !jobs.is_empty() {
        let next = tokio::select! {
            Some(done) = jobs.join_next() => {
                let done = done.unwrap_or_else(|error| resume_unwind(error.into_panic()));
                work.finish(done)
            }
            batch = batches.recv(), if has_more && jobs.len() < IN_FLIGHT => match batch {
                Some(batch) => work.start(batch, &mut jobs),
                None => {
                    has_more = false;
                    Ok(())
                }
            },
            () = interrupt.raised(), if has_more => {
                has_more = false;
                Ok(())
            }
        };
        if next.is_err() && outcome.is_ok() {
            (outcome, has_more) = (next, false);
        }
    }
    outcome
}
