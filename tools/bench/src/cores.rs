//! The CPU cores that the servers and the clients are pinned to.

use std::process::Command;

use rustix::thread::{CpuSet, sched_getaffinity};

/// The pinning of processes to cores; none if there are too few cores or no taskset.
#[derive(Clone, Debug)]
pub(crate) struct Cores {
    pinning: Option<Pinning>,
}

#[derive(Clone, Debug)]
struct Pinning {
    server: String,
    /// The core of clients with one thread.
    client: String,
    /// The cores of clients with several threads: all but the server's, or both if there are only two.
    clients: String,
}

impl Cores {
    /// Assigns the cores that this process may use, and returns a warning if they cannot be assigned.
    pub(crate) fn find() -> (Self, Option<String>) {
        let allowed = allowed_cores();
        let Some(pinning) = assign(&allowed) else {
            let warning = format!("only {} core: clients and servers share it", allowed.len());
            return (Self { pinning: None }, Some(warning));
        };
        if Command::new("taskset").arg("--version").output().is_err() {
            let warning = "taskset is not installed, so no process is pinned (apt-get install util-linux)";
            return (Self { pinning: None }, Some(warning.to_owned()));
        }
        (Self { pinning: Some(pinning) }, None)
    }

    /// Returns the arguments that precede a server's command line.
    pub(crate) fn server_prefix(&self) -> Vec<String> {
        taskset(self.pinning.as_ref().map(|pinning| &pinning.server))
    }

    /// Returns the arguments that precede a client's command line.
    pub(crate) fn client_prefix(&self, multi_thread: bool) -> Vec<String> {
        let pinning = self.pinning.as_ref();
        taskset(pinning.map(|pinning| if multi_thread { &pinning.clients } else { &pinning.client }))
    }

    /// Returns one line for the report.
    pub(crate) fn describe(&self) -> String {
        self.pinning.as_ref().map_or_else(
            || "not pinned".to_owned(),
            |Pinning { server, client, clients }| {
                format!("servers on core {server}, clients on core {client} (multi-threaded: {clients})")
            },
        )
    }
}

fn taskset(cores: Option<&String>) -> Vec<String> {
    cores.map_or_else(Vec::new, |cores| vec!["taskset".to_owned(), "-c".to_owned(), cores.clone()])
}

fn assign(allowed: &[usize]) -> Option<Pinning> {
    let (server, clients) = allowed.split_first()?;
    let client = clients.first()?;
    // Several threads on one core would not run in parallel: with two cores they share the server's.
    let clients = if clients.len() == 1 { allowed } else { clients };
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
    fn the_first_core_is_for_servers_and_the_others_for_clients() {
        let pinning = assign(&[2, 5, 6]).unwrap();
        assert_eq!(pinning.server, "2");
        assert_eq!(pinning.client, "5");
        assert_eq!(pinning.clients, "5,6");
    }

    #[test]
    fn multi_threaded_clients_have_two_cores_at_least() {
        let pinning = assign(&[0, 1]).unwrap();
        assert_eq!((pinning.server.as_str(), pinning.client.as_str(), pinning.clients.as_str()), ("0", "1", "0,1"));
    }

    #[test]
    fn with_one_core_nothing_is_pinned() {
        assert!(assign(&[0]).is_none());
        assert!(assign(&[]).is_none());
    }
}
