//! Runs the workload of a Rust client on the runtime or the threads that the client is made for.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::thread;

use ::remcache::config::ProtocolSetting;
use anyhow::{Context as _, Result, anyhow, bail};

use super::lockstep::Lockstep;
use super::{
    Adapter, Caller, Entry, Runtime, Setup, async_memcached, memcache_async, memcache_classic, memcache_exp, remcache,
};
use crate::scenario::Verb;
use crate::workload::{Worker, Workload, workers};

/// Connects a client, sends to `ready` before it starts, and runs until the workload is stopped.
pub(crate) fn start(entry: Entry, setup: &Setup, workload: &Arc<Workload>, ready: &Sender<()>) -> Result<()> {
    let runner = Runner { runtime: entry.runtime, setup, workload, ready };
    match entry.profile.adapter {
        Adapter::Lockstep => runner.lockstep(),
        Adapter::AsyncMemcached => runner.on_tokio(async_memcached::connect),
        Adapter::MemcacheExp => runner.on_tokio(memcache_exp::connect),
        Adapter::MemcacheClassic => runner.on_threads(memcache_classic::connect),
        Adapter::MemcacheAsync => runner.on_tokio(memcache_async::connect),
        Adapter::Libmemcached => bail!("libmemcached runs as another program"),
        Adapter::Remcache(protocol) => runner.on_tokio(async |setup| remcache::connect(setup, protocol, false).await),
        Adapter::RemcachePolling => {
            runner.on_tokio(async |setup| remcache::connect(setup, ProtocolSetting::Auto, true).await)
        }
    }
}

struct Runner<'a> {
    runtime: Runtime,
    setup: &'a Setup,
    workload: &'a Arc<Workload>,
    ready: &'a Sender<()>,
}

impl Runner<'_> {
    fn on_tokio<C: Caller>(&self, connect: impl AsyncFnOnce(&Setup) -> Result<Vec<C>>) -> Result<()> {
        tokio_runtime(self.runtime)?.block_on(async {
            let callers = connect(self.setup).await?;
            self.ready.send(())?;
            let verb = self.setup.scenario.verb;
            let workers = workers(self.workload);
            let tasks: Vec<_> = callers
                .into_iter()
                .zip(workers)
                .map(|(caller, worker)| tokio::spawn(run(caller, worker, verb)))
                .collect();
            for task in tasks {
                task.await?;
            }
            Ok(())
        })
    }

    fn on_threads<C: Caller>(&self, connect: fn(&Setup) -> Result<Vec<C>>) -> Result<()> {
        let callers = connect(self.setup)?;
        let verb = self.setup.scenario.verb;
        // All threads start together: starting hundreds of them while others run takes seconds.
        let start_barrier = Arc::new(Barrier::new(callers.len() + 1));
        let threads = callers.into_iter().zip(workers(self.workload)).map(|(caller, worker)| {
            let start_barrier = Arc::clone(&start_barrier);
            let thread = thread::Builder::new().stack_size(THREAD_STACK);
            let run = move || {
                start_barrier.wait();
                run_blocking(caller, worker, verb)
            };
            thread.spawn(run).context("starting a thread")
        });
        let threads = threads.collect::<Result<Vec<_>>>()?;
        start_barrier.wait();
        self.ready.send(())?;
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a caller's thread panicked"))??;
        }
        Ok(())
    }

    fn lockstep(&self) -> Result<()> {
        let mut pipeline = Lockstep::connect(self.setup)?;
        self.ready.send(())?;
        let mut worker = workers(self.workload).next().context("the workload has no callers")?;
        while let Some(call) = worker.begin() {
            let result = pipeline.call(worker.items(&call));
            worker.end(&call, result);
        }
        Ok(())
    }
}

pub(super) fn tokio_runtime(runtime: Runtime) -> Result<tokio::runtime::Runtime> {
    let mut builder = match runtime {
        Runtime::Threads => bail!("this client does not run on tokio"),
        Runtime::CurrentThread => tokio::runtime::Builder::new_current_thread(),
        Runtime::MultiThread => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(worker_threads());
            builder
        }
    };
    builder.enable_all().build().context("building the tokio runtime")
}

/// Returns the number of tokio's worker threads: one per core, and at least two.
fn worker_threads() -> usize {
    thread::available_parallelism().map_or(2, |cores| cores.get().max(2))
}

async fn run<C: Caller>(mut caller: C, mut worker: Worker, verb: Verb) {
    while let Some(call) = worker.begin() {
        let items = worker.items(&call);
        let result = match verb {
            Verb::Get => caller.get(&items[0]).await,
            Verb::GetMany => caller.get_many(items).await,
            Verb::Set => caller.set(&items[0]).await,
        };
        worker.end(&call, result);
    }
}

/// Runs a blocking client, whose futures never wait, with a single poll.
fn run_blocking<C: Caller>(caller: C, worker: Worker, verb: Verb) -> Result<()> {
    let run = std::pin::pin!(run(caller, worker, verb));
    match run.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(()) => Ok(()),
        Poll::Pending => bail!("the future of a blocking client is pending"),
    }
}

/// The default of 2 MiB for each of hundreds of threads needs more address space than some systems allow.
const THREAD_STACK: usize = 256 * 1024;
