//! Runs the example service as a process, under load.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use remcache_testkit::{ServerProcess, http_get};

/// Starts the example service with these servers. It exports to the collector at this address.
///
/// # Panics
/// Panics like [`ServerProcess::start`].
#[must_use]
pub fn start_service(program: &Path, servers: &[String], collector: Option<&str>) -> ServerProcess {
    let mut command = Command::new(program);
    command.args(servers).env("OTEL_SERVICE_NAME", "shop");
    match collector {
        Some(address) => command
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"))
            .env("OTEL_BSP_SCHEDULE_DELAY", "100")
            .env("OTEL_METRIC_EXPORT_INTERVAL", "100"),
        None => command.env("OTEL_TRACES_SAMPLER", "always_off").env("OTEL_METRIC_EXPORT_INTERVAL", "86400000"),
    };
    ServerProcess::start(&mut command)
}

/// Threads that send requests until this is dropped.
#[derive(Debug)]
pub struct Load {
    is_stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Sends requests with these paths to a process. Their responses do not matter.
    #[must_use]
    pub fn start(process: &ServerProcess, path: fn(&mut fastrand::Rng) -> String) -> Self {
        let is_stopped = Arc::new(AtomicBool::new(false));
        let thread = |number| {
            let (is_stopped, address) = (Arc::clone(&is_stopped), process.address().to_owned());
            let mut random = fastrand::Rng::with_seed(number);
            thread::spawn(move || {
                while !is_stopped.load(Ordering::Relaxed) {
                    let _ = http_get(&address, &path(&mut random));
                    thread::sleep(PAUSE);
                }
            })
        };
        let threads = (0..THREADS).map(thread).collect();
        Self { is_stopped, threads }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has printed its message.
            let _ = thread.join();
        }
    }
}

/// Returns the path of a usual request: for a user, a page, or several users; low numbers are more frequent.
pub fn usual_path(random: &mut fastrand::Rng) -> String {
    let mut number = |count: u32| {
        let bound = random.u32(1..=count);
        random.u32(..bound)
    };
    match number(10) {
        0..3 => format!("/users/{}", number(1_000)),
        3..6 => format!("/pages/{}", number(300)),
        _ => format!("/users?names={},{},{}", number(1_000), number(1_000), number(2_000)),
    }
}

/// Returns the path of a request that is for the same user in nine of ten cases.
pub fn hot_path(random: &mut fastrand::Rng) -> String {
    if random.u8(..10) == 0 { usual_path(random) } else { "/users/hot".to_owned() }
}

/// Returns the path of a request that is for a page that the database loads for 300 ms in half of the cases.
pub fn slow_path(random: &mut fastrand::Rng) -> String {
    match random.u8(..2) {
        0 => usual_path(random),
        _ => format!("/pages/{}?load_ms=300", random.u32(10_000..20_000)),
    }
}

const THREADS: u64 = 4;
const PAUSE: Duration = Duration::from_millis(5);
