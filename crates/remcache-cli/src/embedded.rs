//! Embedded servers for one run, on a thread of their own: they must not compete with the client for its thread.

use std::io;

use remcache_server::Server;
use tokio::runtime::{Builder, Runtime};

use crate::exit::Failure;

/// Embedded servers, which stop when this is dropped.
#[derive(Debug)]
pub(crate) struct Embedded {
    servers: Vec<Server>,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Embedded {
    /// Starts servers with this much memory each, on free ports of the loopback interface.
    pub(crate) async fn start(count: usize, memory: usize) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::Io("embedded server".into(), error);
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("embedded").enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let starting = runtime.spawn(async move {
            let mut servers = Vec::with_capacity(count);
            for _ in 0..count {
                servers.push(Server::builder().memory(memory).start().await?);
            }
            Ok(servers)
        });
        // From here on the runtime is not dropped by itself, which would panic if a server does not start.
        let mut embedded = Self { servers: Vec::new(), runtime: Some(runtime) };
        let servers = starting.await.map_err(io::Error::other).and_then(|started| started);
        embedded.servers = servers.map_err(failed)?;
        Ok(embedded)
    }

    /// Returns the addresses of the servers.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(Server::address).collect()
    }

    /// Returns the servers.
    pub(crate) fn servers(&self) -> &[Server] {
        &self.servers
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.servers.clear();
        if let Some(runtime) = self.runtime.take() {
            // Waiting for a runtime inside another runtime panics.
            runtime.shutdown_background();
        }
    }
}
