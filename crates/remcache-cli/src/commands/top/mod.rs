//! `top`: a live view of the servers.

mod cluster;
mod details;
mod draw;
mod log;
mod overview;
mod prefixes;
mod screen;
mod terminal;

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{Event, KeyEventKind};
use remcache::Client;
use remcache::ServerHandle;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::atomic_file;
use crate::exit::{Exit, Failure, Outcome};
use crate::options::value;
use crate::output::{Record, is_colored};
use crate::session::Session;
use crate::stats::{self, reason};
use cluster::{Cluster, PollResult, PolledServer, Window};
use details::Details;
use draw::RenderState;
use log::LogFollower;
use prefixes::{PrefixStats, Prefixes};
use screen::{Action, Screen, Tab};

/// Show a live view of the servers: rates, hits, memory, connections, latency
///
/// Servers that are down stay visible, with the reason. Press ? for the keys. A server counts prefixes of keys
/// only on request, which costs it a lock for each command: top asks for confirmation, and stops the counting
/// when the page is left and when top ends, unless it is killed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Columns of the servers:
  HIT%, 10s%, ALL%  gets that found an item: in the last interval, in the last
                    10 seconds, and since the start of the server
  GET/s, SET/s, EVICT/s
                    gets, stores and evictions a second
  MEM%              bytes that items take, of the limit (-m)
  ITEMS, CONNS      items and open connections at the moment; one connection is
                    top's
  PING              round-trip time of a no-op
  UP                time since the server started

The other pages have the columns of remcache stats slabs, items and conns, which
remcache stats -h explains, and of items also:
  HOT, WARM, COLD   items in each part of the LRU
  LAST              idle time of the last evicted item when it was evicted")]
pub(crate) struct Args {
    /// Interval between two polls
    #[arg(short = 'i', long, value_name = "TIME", default_value = "1s", value_parser = value::duration)]
    interval: Duration,
}

pub(crate) async fn run(args: &Args, session: &Session) -> Outcome {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::usage("top needs a terminal; in a pipe use remcache stats --watch 1s"));
    }
    let client = session.client()?;
    let interrupt = session.interrupt.handled();
    let mut top = Top::new(client, is_colored(session.options.color, true));
    let mut terminal = terminal::enter().map_err(terminal_failed)?;
    let outcome = tokio::select! {
        outcome = top.run(&mut terminal, args.interval) => outcome.map(|()| Exit::Yes),
        () = interrupt.raised() => Ok(Exit::Interrupted),
        () = terminal::terminated() => Ok(Exit::Interrupted),
    };
    let restored = terminal::leave();
    // The reader thread must have ended, or it takes the next key from the line editor of a shell.
    tokio::time::sleep(terminal::POLL_INTERVAL.saturating_mul(2)).await;
    top.stop_counting().await;
    match outcome {
        // If the terminal is closed, leaving the full screen fails.
        Ok(Exit::Interrupted) => Ok(Exit::Interrupted),
        outcome => outcome.and_then(|exit| restored.map(|()| exit)).map_err(terminal_failed),
    }
}

fn terminal_failed(error: io::Error) -> Failure {
    Failure::Io("terminal".into(), error)
}

/// State of the command.
struct Top {
    client: Client,
    cluster: Cluster,
    screen: Screen,
    details: Details,
    prefixes: Prefixes,
    /// The servers on which counting prefixes was started here.
    counting: Vec<ServerHandle>,
    log: Option<LogFollower>,
    is_colored: bool,
}

/// Results of polling all servers, and the page of the selected one.
struct PollRound {
    results: Vec<(usize, PollResult)>,
    details: Option<Details>,
    prefixes: Option<PrefixStats>,
}

impl Top {
    fn new(client: Client, is_colored: bool) -> Self {
        let cluster = Cluster::new(client.servers().iter().map(|server| server.name().to_owned()));
        Self {
            client,
            cluster,
            screen: Screen::default(),
            details: Details::default(),
            prefixes: Prefixes::default(),
            counting: Vec::new(),
            log: None,
            is_colored,
        }
    }

    async fn run(&mut self, terminal: &mut DefaultTerminal, every: Duration) -> io::Result<()> {
        let mut keys = terminal::read_events()?;
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut log_ticks = interval(LOG_REFRESH);
        let mut rounds = JoinSet::new();
        let mut is_first = true;
        loop {
            self.draw(terminal)?;
            tokio::select! {
                _ = ticks.tick() => {
                    // A server that hangs delays its round, not the screen.
                    if rounds.is_empty() && !self.screen.is_paused {
                        rounds.spawn(self.poll(if is_first { Duration::ZERO } else { self.stagger(every) }));
                        is_first = false;
                    }
                }
                _ = log_ticks.tick(), if self.log.is_some() => {}
                Some(round) = rounds.join_next() => self.take(resume_panic(round)?),
                event = keys.recv() => match event {
                    Some(event) => {
                        if self.handle(&event).await == Action::Quit {
                            return Ok(());
                        }
                        if self.needs_details() && rounds.is_empty() {
                            rounds.spawn(self.poll(Duration::ZERO));
                        }
                    }
                    // The terminal is closed.
                    None => return Ok(()),
                },
            }
        }
    }

    fn draw(&self, terminal: &mut DefaultTerminal) -> io::Result<()> {
        let tail = self.log.as_ref().map(LogFollower::tail);
        let state = RenderState {
            cluster: &self.cluster,
            screen: &self.screen,
            details: &self.details,
            prefixes: &self.prefixes,
            log: tail.as_ref(),
            is_colored: self.is_colored,
        };
        terminal.draw(|frame| draw::draw(frame, state)).map(drop)
    }

    async fn handle(&mut self, event: &Event) -> Action {
        let Event::Key(key) = event else { return Action::None };
        if key.kind == KeyEventKind::Release {
            return Action::None;
        }
        let rows = self.screen.rows(&self.cluster).len();
        let (tab, selected) = (self.screen.tab, self.selected());
        let action = self.screen.handle_key(*key, rows);
        if self.screen.tab != tab || self.selected() != selected {
            self.details = Details::default();
            self.screen.first_line = 0;
        }
        self.screen.first_line = self.screen.first_line.min(self.lines().saturating_sub(1));
        if tab == Tab::Prefixes && self.screen.tab != tab {
            self.stop_counting().await;
        }
        self.follow_log();
        match action {
            Action::Export => self.screen.notice = self.export(),
            Action::CountPrefixes => self.ask_to_count(),
            Action::ConfirmCountPrefixes => self.switch_counting().await,
            Action::None | Action::Quit => {}
        }
        action
    }

    /// Returns the number of rows of the page about the selected server.
    fn lines(&self) -> usize {
        match self.screen.tab {
            Tab::Prefixes => self.prefixes.page().rows.len(),
            tab => self.details.page(tab).rows.len(),
        }
    }

    fn selected(&self) -> Option<usize> {
        self.screen.selected_index(&self.cluster)
    }

    fn selected_server(&self) -> Option<ServerHandle> {
        self.client.servers().into_iter().nth(self.selected()?)
    }

    /// Follows the log of the selected server while its page is shown.
    fn follow_log(&mut self) {
        let wanted = self.selected().filter(|_| self.screen.tab == Tab::Events);
        let followed = self.log.as_ref().map(|log| (log.index, log.stream));
        let stream = self.screen.stream;
        if followed != wanted.map(|index| (index, stream)) {
            let server = wanted.zip(self.selected_server());
            self.log = server.map(|(index, server)| LogFollower::follow(server, index, stream));
        }
    }

    /// Asks for confirmation before prefixes are counted, with the cost.
    fn ask_to_count(&mut self) {
        let Some(server) = self.selected_server() else { return };
        let is_ours = self.counting.iter().any(|counting| counting.name() == server.name());
        let is_on = self.selected().and_then(|index| self.prefixes.is_counting(index));
        self.screen.notice = match is_on {
            Some(true) if !is_ours => {
                format!("{} counts already, for another client: it is left as it is", server.name())
            }
            Some(true) => format!("stop counting on {}? y/n", server.name()),
            Some(false) => format!("count on {}, which costs it a lock for each command? y/n", server.name()),
            None => format!("{} does not report whether it counts", server.name()),
        };
        self.screen.is_confirming = is_on == Some(is_ours);
    }

    async fn switch_counting(&mut self) {
        let Some(server) = self.selected_server() else { return };
        let known = self.counting.iter().position(|counting| counting.name() == server.name());
        if let Err(error) = prefixes::switch(&server, known.is_none()).await {
            self.screen.notice = error.to_string();
            return;
        }
        match known {
            Some(index) => drop(self.counting.remove(index)),
            None => self.counting.push(server),
        }
        self.prefixes = Prefixes::default();
    }

    /// Stops the counting that was started here.
    async fn stop_counting(&mut self) {
        for server in std::mem::take(&mut self.counting) {
            // A server that is down does not count.
            let _ = prefixes::switch(&server, false).await;
        }
        self.prefixes = Prefixes::default();
    }

    /// Returns whether the page needs statistics that have not been requested.
    fn needs_details(&self) -> bool {
        if self.screen.tab == Tab::Prefixes {
            return self.selected().is_some_and(|index| self.prefixes.is_counting(index).is_none());
        }
        self.screen.tab.group().is_some() && self.details.failure.is_none() && self.details.stats.is_none()
    }

    /// Returns the delay between the servers of a round: if hundreds were polled at once, their replies would queue up
    /// here, and PING would measure the load of the tool.
    fn stagger(&self, every: Duration) -> Duration {
        let servers = u32::try_from(self.cluster.servers.len().max(1)).unwrap_or(u32::MAX);
        (every / 2 / servers).min(MAX_STAGGER)
    }

    /// Polls every server in a task of its own, with this delay between them.
    fn poll(&self, delay: Duration) -> impl Future<Output = PollRound> + Send + 'static {
        let servers = self.client.servers();
        let selected = self.selected().and_then(|index| Some((index, servers.get(index)?.clone())));
        let page = self.screen.tab.group().zip(selected.clone());
        let prefixes = selected.filter(|_| self.screen.tab == Tab::Prefixes);
        async move {
            let mut tasks = JoinSet::new();
            for (index, server) in servers.into_iter().enumerate() {
                let later = delay * u32::try_from(index).unwrap_or(u32::MAX);
                tasks.spawn(async move {
                    tokio::time::sleep(later).await;
                    (index, poll_server(&server).await)
                });
            }
            let details = match page {
                Some((group, (_, server))) => Some(details_of(&server, group).await),
                None => None,
            };
            let prefixes = match prefixes {
                Some((index, server)) => Some(prefixes::fetch(&server, index).await),
                None => None,
            };
            PollRound { results: tasks.join_all().await, details, prefixes }
        }
    }

    fn take(&mut self, round: PollRound) {
        // A pause freezes the overview, but pages can be opened.
        let results = if self.screen.is_paused { Vec::new() } else { round.results };
        for (index, result) in results {
            self.cluster.update(index, result);
        }
        if let Some(details) = round.details {
            self.details = details;
        }
        if let Some(poll) = round.prefixes {
            self.prefixes.take(poll);
        }
    }

    /// Writes the shown servers to a file; returns a message.
    fn export(&self) -> String {
        let records = self.screen.rows(&self.cluster).into_iter().map(|index| record(&self.cluster.servers[index]));
        let document: serde_json::Value = records.map(serde_json::Value::from).collect();
        let path = format!("remcache-top-{}.json", jiff::Zoned::now().strftime("%Y%m%d-%H%M%S"));
        match atomic_file::write(Path::new(&path), format!("{document:#}\n").as_bytes()) {
            Ok(()) => format!("written: {path}"),
            Err(failure) => failure.to_string(),
        }
    }
}

/// Returns the result of a task, or resumes its panic: the hook has left the full screen already.
fn resume_panic<T>(joined: Result<T, JoinError>) -> io::Result<T> {
    joined.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => io::Error::other(error),
    })
}

const MAX_STAGGER: Duration = Duration::from_millis(1);

/// Interval at which a followed log is redrawn.
const LOG_REFRESH: Duration = Duration::from_millis(250);

async fn poll_server(server: &ServerHandle) -> PollResult {
    let asked = Instant::now();
    let ping = server.noop().await.is_ok().then(|| asked.elapsed());
    let stats = stats::fetch(server, "").await.map_err(|error| reason(server, &error));
    PollResult { at: Instant::now(), stats, ping }
}

async fn details_of(server: &ServerHandle, group: &'static str) -> Details {
    match stats::fetch(server, group).await {
        Ok(stats) => Details { stats: Some(stats), failure: None },
        Err(error) => Details { failure: Some(reason(server, &error)), ..Details::default() },
    }
}

fn record(member: &PolledServer) -> Record {
    let record = Record::new().with("server", &*member.name).with_some("error", member.down.clone());
    record
        .with_some("version", member.stats().and_then(|stats| stats.text("version")))
        .with_some("hit_percent", member.hit_percent(Window::Latest))
        .with_some("hit_percent_10s", member.hit_percent(Window::Long))
        .with_some("hit_percent_all", member.hit_percent(Window::Start))
        .with_some("gets_per_second", member.rate("cmd_get"))
        .with_some("sets_per_second", member.rate("cmd_set"))
        .with_some("evictions_per_second", member.rate("evictions"))
        .with_some("items", member.number("curr_items"))
        .with_some("bytes", member.number("bytes"))
        .with_some("limit_bytes", member.number("limit_maxbytes"))
        .with_some("connections", member.number("curr_connections"))
        .with_some("ping_us", member.ping.map(|ping| ping.as_secs_f64() * 1e6))
}
