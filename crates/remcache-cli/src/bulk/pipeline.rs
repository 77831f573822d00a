//! The engine of bulk commands: processes batches as they come, several at a time.

use std::ops::ControlFlow;
use std::panic::resume_unwind;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::IN_FLIGHT;
use super::rate_limit::RateLimit;
use crate::exit::Failure;
use crate::interrupt::Interrupt;

/// Work that is done in batches.
pub(crate) trait BatchJob {
    type Batch;
    /// The result of a batch.
    type Done: Send + 'static;

    /// Returns the number of items of a batch that count for the rate limit.
    fn size(&self, batch: &Self::Batch) -> usize;

    /// Starts the work on a batch, as a task of its own.
    fn start(&mut self, batch: Self::Batch, tasks: &mut JoinSet<Self::Done>) -> Result<(), Failure>;

    /// Handles the result of a batch. After a break no further batch is started.
    fn finish(&mut self, done: Self::Done) -> Result<ControlFlow<()>, Failure>;
}

/// Processes batches until there are no more, the user interrupts, or one fails.
///
/// A batch that was started is always finished: nothing is left half done.
pub(crate) async fn run_pipeline<J: BatchJob>(
    job: &mut J,
    batches: mpsc::Receiver<J::Batch>,
    limit: RateLimit,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let mut batches = Batches { batches, limit, next: None };
    let mut tasks = JoinSet::new();
    let mut outcome = Ok(());
    let mut has_more = true;
    while has_more || !tasks.is_empty() {
        let step = tokio::select! {
            Some(done) = tasks.join_next() => {
                let done = done.unwrap_or_else(|error| resume_unwind(error.into_panic()));
                job.finish(done)
            }
            batch = batches.next(job), if has_more && tasks.len() < IN_FLIGHT => match batch {
                Some(batch) => job.start(batch, &mut tasks).map(ControlFlow::Continue),
                None => Ok(ControlFlow::Break(())),
            },
            () = interrupt.raised(), if has_more => Ok(ControlFlow::Break(())),
        };
        match step {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => has_more = false,
            Err(failure) => {
                has_more = false;
                outcome = outcome.and(Err(failure));
            }
        }
    }
    outcome
}

/// The batches to come, at the rate of the limit.
struct Batches<B> {
    batches: mpsc::Receiver<B>,
    limit: RateLimit,
    /// The next batch, and when it may be started.
    next: Option<(Instant, B)>,
}

impl<B> Batches<B> {
    /// Waits for the next batch and its time. Dropping the future loses no batch.
    async fn next(&mut self, job: &impl BatchJob<Batch = B>) -> Option<B> {
        let start = match &self.next {
            Some((start, _)) => *start,
            None => {
                let batch = self.batches.recv().await?;
                let start = self.limit.reserve(job.size(&batch));
                self.next = Some((start, batch));
                start
            }
        };
        sleep_until(start).await;
        self.next.take().map(|(_, batch)| batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A job whose batches take a second each, and which stops after a number of them.
    struct Job {
        started: usize,
        finished: usize,
        stops_after: usize,
    }

    impl BatchJob for Job {
        type Batch = usize;
        type Done = usize;

        fn size(&self, items: &usize) -> usize {
            *items
        }

        fn start(&mut self, items: usize, tasks: &mut JoinSet<usize>) -> Result<(), Failure> {
            self.started += 1;
            tasks.spawn(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                items
            });
            Ok(())
        }

        fn finish(&mut self, _items: usize) -> Result<ControlFlow<()>, Failure> {
            self.finished += 1;
            Ok(if self.finished < self.stops_after { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        }
    }

    /// Runs 100 batches of one item at this rate; returns the batches that were started and finished, and the time.
    async fn run(rate: Option<u64>, stops_after: usize, interrupt_after: Duration) -> (usize, usize, Duration) {
        let (interrupt, raise) = Interrupt::manual();
        let (sender, batches) = mpsc::channel(100);
        for _ in 0..100 {
            sender.try_send(1).unwrap();
        }
        drop(sender);
        let mut job = Job { started: 0, finished: 0, stops_after };
        let begin = Instant::now();
        let raise = async {
            tokio::time::sleep(interrupt_after).await;
            raise();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            outcome = run_pipeline(&mut job, batches, RateLimit::new(rate), &interrupt) => outcome.unwrap(),
            () = raise => {}
        }
        (job.started, job.finished, begin.elapsed())
    }

    const NEVER: Duration = Duration::from_secs(1_000_000);

    #[tokio::test(start_paused = true)]
    async fn several_batches_are_processed_at_the_same_time() {
        let (started, finished, time) = run(None, usize::MAX, NEVER).await;
        assert_eq!((started, finished, time.as_secs()), (100, 100, 100_u64.div_ceil(IN_FLIGHT as u64)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_interrupt_does_not_wait_for_the_rate_limit() {
        // At one batch in ten seconds the third would start after twenty.
        let (sender, batches) = mpsc::channel(100);
        for _ in 0..100 {
            sender.try_send(10).unwrap();
        }
        let (interrupt, raise) = Interrupt::manual();
        let mut job = Job { started: 0, finished: 0, stops_after: usize::MAX };
        let begin = Instant::now();
        let (outcome, ()) = tokio::join!(run_pipeline(&mut job, batches, RateLimit::new(Some(1)), &interrupt), async {
            tokio::time::sleep(Duration::from_secs(15)).await;
            raise();
        });
        outcome.unwrap();
        assert_eq!((job.started, job.finished, begin.elapsed().as_secs()), (2, 2, 15));
    }

    #[tokio::test(start_paused = true)]
    async fn batches_that_were_started_are_finished() {
        let (started, finished, _) = run(None, usize::MAX, Duration::from_millis(1500)).await;
        assert_eq!((started, finished), (2 * IN_FLIGHT, 2 * IN_FLIGHT));
        let (started, finished, _) = run(None, 1, NEVER).await;
        assert_eq!((started, finished), (IN_FLIGHT, IN_FLIGHT));
    }
}
