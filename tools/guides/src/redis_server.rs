//! A Redis server for an example.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A Redis server on a free port, which ends when this is dropped.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    address: String,
}

impl Redis {
    /// Starts `redis-server` and waits until it accepts connections.
    ///
    /// # Panics
    /// Panics if the program is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        let port = remcache_testkit::unused_port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        let child = command.stdout(Stdio::null()).spawn().expect("redis-server is installed: cargo xtask tools");
        let redis = Self { child, address: format!("127.0.0.1:{port}") };
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(&redis.address).is_err() {
            assert!(Instant::now() < end, "redis-server does not listen on {}", redis.address);
            sleep(Duration::from_millis(10));
        }
        redis
    }

    /// Returns the address of the server.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // If it has ended already, there is nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Exceeded only if the server does not start.
const PATIENCE: Duration = Duration::from_secs(60);
