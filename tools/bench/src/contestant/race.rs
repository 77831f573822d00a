//! Runs every caller of a Rust contestant along the course, on the runtime or the threads it is made for.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};

use super::lockstep::Lockstep;
use super::{
    Caller, Contestant, Entry, Runtime, Setup, async_memcached, memcache_async, memcache_classic, memcache_exp,
    remcache,
};
use crate::course::{Course, Lane, lanes};
use crate::scenario::Verb;

/// Connects a contestant, says on `ready` that it is about to start, and runs until the course is stopped.
pub(crate) fn start(entry: Entry, setup: &Setup, course: &Arc<Course>, ready: &Sender<()>) -> Result<()> {
    let track = Track { runtime: entry.runtime, setup, course, ready };
    match entry.profile.contestant {
        Contestant::Lockstep => track.lockstep(),
        Contestant::AsyncMemcached => track.on_tokio(async_memcached::connect),
        Contestant::MemcacheExp => track.on_tokio(memcache_exp::connect),
        Contestant::MemcacheClassic => track.on_threads(memcache_classic::connect),
        Contestant::MemcacheAsync => track.on_tokio(memcache_async::connect),
        Contestant::Libmemcached => bail!("libmemcached runs as a program of its own"),
        Contestant::Remcache(protocol) => track.on_tokio(async |setup| remcache::connect(setup, protocol).await),
    }
}

struct Track<'a> {
    runtime: Runtime,
    setup: &'a Setup,
    course: &'a Arc<Course>,
    ready: &'a Sender<()>,
}

impl Track<'_> {
    fn on_tokio<C: Caller>(&self, connect: impl AsyncFnOnce(&Setup) -> Result<Vec<C>>) -> Result<()> {
        tokio_runtime(self.runtime)?.block_on(async {
            let callers = connect(self.setup).await?;
            self.ready.send(())?;
            let verb = self.setup.scenario.verb;
            let lanes = lanes(self.course);
            let tasks: Vec<_> =
                callers.into_iter().zip(lanes).map(|(caller, lane)| tokio::spawn(run(caller, lane, verb))).collect();
            for task in tasks {
                task.await?;
            }
            Ok(())
        })
    }

    fn on_threads<C: Caller>(&self, connect: fn(&Setup) -> Result<Vec<C>>) -> Result<()> {
        let callers = connect(self.setup)?;
        let verb = self.setup.scenario.verb;
        // Starting hundreds of threads among running ones takes seconds: all start together.
        let start_line = Arc::new(Barrier::new(callers.len() + 1));
        let threads = callers.into_iter().zip(lanes(self.course)).map(|(caller, lane)| {
            let start_line = Arc::clone(&start_line);
            let thread = thread::Builder::new().stack_size(THREAD_STACK);
            let run = move || {
                start_line.wait();
                run_blocking(caller, lane, verb)
            };
            thread.spawn(run).context("starting a thread")
        });
        let threads = threads.collect::<Result<Vec<_>>>()?;
        start_line.wait();
        self.ready.send(())?;
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a caller's thread panicked"))??;
        }
        Ok(())
    }

    fn lockstep(&self) -> Result<()> {
        let mut pipeline = Lockstep::connect(self.setup)?;
        self.ready.send(())?;
        let mut lane = lanes(self.course).next().context("a course without lanes")?;
        while let Some(turn) = lane.begin() {
            let answer = pipeline.turn(lane.samples(&turn));
            lane.end(&turn, answer);
        }
        Ok(())
    }
}

pub(super) fn tokio_runtime(runtime: Runtime) -> Result<tokio::runtime::Runtime> {
    let mut builder = match runtime {
        Runtime::Threads => bail!("not made for tokio"),
        Runtime::CurrentThread => tokio::runtime::Builder::new_current_thread(),
        Runtime::MultiThread => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(workers());
            builder
        }
    };
    builder.enable_all().build().context("building the tokio runtime")
}

/// A worker for each core that the clients may use, and two at least: with one there would be nothing to compare.
fn workers() -> usize {
    thread::available_parallelism().map_or(2, |cores| cores.get().max(2))
}

async fn run<C: Caller>(mut caller: C, mut lane: Lane, verb: Verb) {
    while let Some(turn) = lane.begin() {
        let samples = lane.samples(&turn);
        let answer = match verb {
            Verb::Get => caller.get(&samples[0]).await,
            Verb::GetMany => caller.get_many(samples).await,
            Verb::Set => caller.set(&samples[0]).await,
        };
        lane.end(&turn, answer);
    }
}

/// A blocking client never waits for a wake-up, so its whole run is one poll.
fn run_blocking<C: Caller>(caller: C, lane: Lane, verb: Verb) -> Result<()> {
    let run = std::pin::pin!(run(caller, lane, verb));
    match run.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(()) => Ok(()),
        Poll::Pending => bail!("a blocking client waited for a wake-up"),
    }
}

/// Thousands of threads with the usual 2 MiB would need more address space than some systems give.
const THREAD_STACK: usize = 256 * 1024;
