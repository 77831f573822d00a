//! Embedded servers for one run, on a thread of their own: the client keeps its core to itself.

use std::io;

use remcache_server::Server;
use tokio::runtime::{Builder, Runtime};

use crate::exit::Failure;

/// Embedded servers; they end with this value.
#[derive(Debug)]
pub(crate) struct Embedded {
    servers: Vec<Server>,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Embedded {
    /// Starts so many servers with so much memory each, on free ports of the loopback interface.
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
        let servers = starting.await.map_err(io::Error::other).and_then(|started| started);
        Ok(Self { servers: servers.map_err(failed)?, runtime: Some(runtime) })
    }

    /// Where the servers listen.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(Server::address).collect()
    }

    /// The servers themselves.
    pub(crate) fn servers(&self) -> &[Server] {
        &self.servers
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.servers.clear();
        if let Some(runtime) = self.runtime.take() {
            // A runtime must not be waited for inside another one.
            runtime.shutdown_background();
        }
    }
}
