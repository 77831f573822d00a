//! Which core the server runs on, and which the clients.

use std::process::Command;

use rustix::thread::{CpuSet, sched_getaffinity};

/// How processes are pinned to cores; not at all when there are too few of them, or no taskset.
#[derive(Clone, Debug)]
pub(crate) struct Cores {
    pinning: Option<Pinning>,
}

#[derive(Clone, Debug)]
struct Pinning {
    server: String,
    /// For clients on one thread.
    client: String,
    /// For clients on several threads: every core that is not the server's.
    clients: String,
}

impl Cores {
    /// Shares out the cores that this process may use; says so when it cannot.
    pub(crate) fn find() -> (Self, Option<String>) {
        let allowed = allowed_cores();
        let Some(pinning) = share_out(&allowed) else {
            let warning = format!("{} core to use: client and server share it, unpinned", allowed.len());
            return (Self { pinning: None }, Some(warning));
        };
        if Command::new("taskset").arg("--version").output().is_err() {
            let warning = "taskset is missing, so nothing is pinned (apt-get install util-linux)";
            return (Self { pinning: None }, Some(warning.to_owned()));
        }
        (Self { pinning: Some(pinning) }, None)
    }

    /// What to put before the server's command line.
    pub(crate) fn for_server(&self) -> Vec<String> {
        taskset(self.pinning.as_ref().map(|pinning| &pinning.server))
    }

    /// What to put before a client's command line.
    pub(crate) fn for_client(&self, multi_thread: bool) -> Vec<String> {
        let pinning = self.pinning.as_ref();
        taskset(pinning.map(|pinning| if multi_thread { &pinning.clients } else { &pinning.client }))
    }

    /// One line for the report.
    pub(crate) fn describe(&self) -> String {
        self.pinning.as_ref().map_or_else(
            || "unpinned".to_owned(),
            |Pinning { server, client, clients }| {
                format!("server on core {server}, clients on core {client} (multi-threaded: {clients})")
            },
        )
    }
}

fn taskset(cores: Option<&String>) -> Vec<String> {
    cores.map_or_else(Vec::new, |cores| vec!["taskset".to_owned(), "-c".to_owned(), cores.clone()])
}

fn share_out(allowed: &[usize]) -> Option<Pinning> {
    let (server, clients) = allowed.split_first()?;
    let client = clients.first()?;
    let clients: Vec<_> = clients.iter().map(ToString::to_string).collect();
    Some(Pinning { server: server.to_string(), client: client.to_string(), clients: clients.join(",") })
}

fn allowed_cores() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect(),
        Err(_) => vec![0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_core_is_the_servers_and_the_others_the_clients() {
        let pinning = share_out(&[2, 5, 6]).unwrap();
        assert_eq!(pinning.server, "2");
        assert_eq!(pinning.client, "5");
        assert_eq!(pinning.clients, "5,6");
    }

    #[test]
    fn one_core_is_too_few_to_pin() {
        assert!(share_out(&[0]).is_none());
        assert!(share_out(&[]).is_none());
    }
}
