//! Notices servers that restart, evict items or go away during a run: the items that were counted may be missing.

use std::time::{Duration, Instant};

use remcache::{Client, Error, ErrorKind, ServerHandle};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::exit::Exit;
use crate::output::number;
use crate::stats::{self, Stats};

/// The state of servers at the start of a run.
#[derive(Debug)]
pub(crate) struct ServerWatch {
    role: Role,
    /// The servers that reported their statistics.
    servers: Vec<(ServerHandle, ServerState)>,
}

/// The use of a server in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It reads items from it.
    Source,
    /// It stores items in it.
    Destination,
}

/// The statistics that a restart or an eviction changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ServerState {
    pid: Option<u64>,
    uptime: u64,
    /// When it started, in seconds of Unix time.
    started: Option<u64>,
    evictions: u64,
}

/// A reason why items of a run may be missing.
#[derive(Debug)]
pub(crate) struct ServerChange {
    /// The message, with the name of the server first.
    pub(crate) message: String,
    pub(crate) exit: Exit,
}

impl ServerWatch {
    /// Starts to watch the servers of a client.
    pub(crate) async fn start(client: &Client, role: Role) -> Self {
        let snapshots = stats::fetch_all(client, "").await;
        let servers = snapshots.into_iter().filter_map(|snapshot| {
            let state = ServerState::of(&snapshot.stats.ok()?)?;
            Some((snapshot.server, state))
        });
        Self { role, servers: servers.collect() }
    }

    /// Compares the servers with their state at the start.
    pub(crate) async fn changes(self) -> Vec<ServerChange> {
        let role = self.role;
        let mut tasks = JoinSet::new();
        for (index, (server, before)) in self.servers.into_iter().enumerate() {
            tasks.spawn(async move { (index, role.change(server.name(), before, state_now(&server).await)) });
        }
        let mut changes = tasks.join_all().await;
        changes.sort_by_key(|(index, _)| *index);
        changes.into_iter().filter_map(|(_, change)| change).collect()
    }
}

impl ServerState {
    /// Returns the state in the statistics of a server; `None` if it does not report how long it has been running.
    fn of(stats: &Stats) -> Option<Self> {
        let uptime = stats.number("uptime")?;
        Some(Self {
            pid: stats.number("pid"),
            uptime,
            started: stats.number("time").map(|time| time.saturating_sub(uptime)),
            evictions: stats.number("evictions").unwrap_or_default(),
        })
    }

    /// Returns whether the process was replaced.
    fn has_restarted_since(self, before: Self) -> bool {
        let is_later = |(before, now): (u64, u64)| now > before + CLOCK_TOLERANCE;
        self.pid != before.pid || self.uptime < before.uptime || before.started.zip(self.started).is_some_and(is_later)
    }
}

impl Role {
    fn change(self, server: &str, before: ServerState, now: Option<ServerState>) -> Option<ServerChange> {
        let Some(now) = now else {
            let message = format!("{server}: did not answer at the end: items may be missing: run the command again");
            return Some(ServerChange { message, exit: Exit::Unreachable });
        };
        if now.has_restarted_since(before) {
            let message = format!("{server}: restarted during the command {}: run the command again", self.loss());
            return Some(ServerChange { message, exit: Exit::Partly });
        }
        let evicted = now.evictions.saturating_sub(before.evictions);
        (self == Self::Destination && evicted > 0).then(|| {
            let evicted = number::items(evicted);
            let message =
                format!("{server}: evicted {evicted} during the command: its memory is too small for all items");
            ServerChange { message, exit: Exit::No }
        })
    }

    /// Returns the consequence of a restart.
    fn loss(self) -> &'static str {
        match self {
            Self::Source => "and lost items before they were read",
            Self::Destination => "and lost items that were stored before",
        }
    }
}

/// Returns the state of a server. A server that has just restarted gets some time until the client is connected again.
async fn state_now(server: &ServerHandle) -> Option<ServerState> {
    let started = Instant::now();
    loop {
        match stats::fetch(server, "").await {
            Ok(stats) => return ServerState::of(&stats),
            Err(error) if is_disconnected(&error) && started.elapsed() < RECONNECT_LIMIT => sleep(RETRY_INTERVAL).await,
            Err(_) => return None,
        }
    }
}

fn is_disconnected(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Disconnected(_))
}

/// The difference of start times, in seconds, that a correction of the clock may cause.
const CLOCK_TOLERANCE: u64 = 2;

/// The time limit for a connection to a server at the end of a run.
const RECONNECT_LIMIT: Duration = Duration::from_secs(2);
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: ServerState = ServerState { pid: Some(1), uptime: 100, started: Some(5000), evictions: 7 };

    #[test]
    fn a_restart_shows_in_any_of_its_statistics() {
        let later = ServerState { uptime: 200, ..BEFORE };
        assert!(!later.has_restarted_since(BEFORE));
        assert!(ServerState { pid: Some(2), ..later }.has_restarted_since(BEFORE));
        assert!(ServerState { uptime: 99, ..BEFORE }.has_restarted_since(BEFORE));
        // In a container the process number is the same, and a long run hides the shorter uptime.
        assert!(ServerState { started: Some(5100), ..later }.has_restarted_since(BEFORE));
        assert!(!ServerState { started: Some(5001), ..later }.has_restarted_since(BEFORE));
    }

    #[test]
    fn evictions_count_for_destinations() {
        let now = Some(ServerState { evictions: 9, ..BEFORE });
        let change = Role::Destination.change("a:1", BEFORE, now).unwrap();
        assert!(change.message.starts_with("a:1: evicted 2 items"), "{change:?}");
        assert_eq!(change.exit, Exit::No);
        assert!(Role::Source.change("a:1", BEFORE, now).is_none());
        assert!(Role::Destination.change("a:1", BEFORE, Some(BEFORE)).is_none());
        assert_eq!(Role::Source.change("a:1", BEFORE, None).unwrap().exit, Exit::Unreachable);
    }
}
