//! `top`: the servers on a screen, live.

mod details;
mod draw;
mod fleet;
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
use details::Details;
use draw::Scene;
use fleet::{Fleet, Member, Seen, Window};
use log::Log;
use prefixes::{Look, Prefixes};
use screen::{Action, Screen, Tab};
pub(crate) use terminal::NOTICE;

/// Watch the servers on a screen: rates, hits, memory, connections, latency
///
/// Servers that are away stay visible, with the reason. ? shows the keys. Prefixes of keys are counted
/// by a server only when told to, which costs it a lock for each command: top asks first, and ends it
/// when the page is left, however top ends but for a kill or a crash.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The time between two looks
    #[arg(short = 'i', long, value_name = "TIME", default_value = "1s", value_parser = value::duration)]
    interval: Duration,
}

pub(crate) async fn run(args: &Args, session: &Session) -> Outcome {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::usage("top needs a terminal; for a pipe there is remcache stats --watch 1s"));
    }
    let client = session.client()?;
    let interrupt = session.interrupt.expect();
    let mut top = Top::new(client, is_colored(session.options.color, true));
    let mut terminal = terminal::take().map_err(terminal_failed)?;
    let outcome = tokio::select! {
        outcome = top.run(&mut terminal, args.interval) => outcome.map(|()| Exit::Yes),
        () = interrupt.raised() => Ok(Exit::Interrupted),
        () = terminal::ended() => Ok(Exit::Interrupted),
    };
    let given_back = terminal::give_back();
    top.count_no_more().await;
    match outcome {
        // Where the terminal has gone there is none to give back.
        Ok(Exit::Interrupted) => Ok(Exit::Interrupted),
        outcome => outcome.and_then(|exit| given_back.map(|()| exit)).map_err(terminal_failed),
    }
}

fn terminal_failed(error: io::Error) -> Failure {
    Failure::Io("terminal".into(), error)
}

/// The command at work.
struct Top {
    client: Client,
    fleet: Fleet,
    screen: Screen,
    details: Details,
    prefixes: Prefixes,
    /// The servers that count prefixes because they were told to here.
    counting: Vec<ServerHandle>,
    log: Option<Log>,
    is_colored: bool,
}

/// What a round of looks gave: one for each server, and the page of the selected one.
struct Round {
    seen: Vec<(usize, Seen)>,
    details: Option<Details>,
    prefixes: Option<Look>,
}

impl Top {
    fn new(client: Client, is_colored: bool) -> Self {
        let fleet = Fleet::new(client.servers().iter().map(|server| server.name().to_owned()));
        Self {
            client,
            fleet,
            screen: Screen::default(),
            details: Details::default(),
            prefixes: Prefixes::default(),
            counting: Vec::new(),
            log: None,
            is_colored,
        }
    }

    async fn run(&mut self, terminal: &mut DefaultTerminal, every: Duration) -> io::Result<()> {
        let mut keys = terminal::listen()?;
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut log_steps = interval(LOG_STEP);
        let mut rounds = JoinSet::new();
        let mut is_first = true;
        loop {
            self.draw(terminal)?;
            tokio::select! {
                _ = ticks.tick() => {
                    // A server that hangs delays its round, not the screen.
                    if rounds.is_empty() && !self.screen.is_paused {
                        rounds.spawn(self.look(if is_first { Duration::ZERO } else { self.step(every) }));
                        is_first = false;
                    }
                }
                _ = log_steps.tick(), if self.log.is_some() => {}
                Some(round) = rounds.join_next() => self.take(unwound(round)?),
                event = keys.recv() => match event {
                    Some(event) => {
                        if self.handle(&event).await == Action::Quit {
                            return Ok(());
                        }
                        if self.needs_details() && rounds.is_empty() {
                            rounds.spawn(self.look(Duration::ZERO));
                        }
                    }
                    // The terminal has gone.
                    None => return Ok(()),
                },
            }
        }
    }

    fn draw(&self, terminal: &mut DefaultTerminal) -> io::Result<()> {
        let tail = self.log.as_ref().map(Log::tail);
        let scene = Scene {
            fleet: &self.fleet,
            screen: &self.screen,
            details: &self.details,
            prefixes: &self.prefixes,
            log: tail.as_ref(),
            is_colored: self.is_colored,
        };
        terminal.draw(|frame| draw::draw(frame, scene)).map(drop)
    }

    async fn handle(&mut self, event: &Event) -> Action {
        let Event::Key(key) = event else { return Action::None };
        if key.kind == KeyEventKind::Release {
            return Action::None;
        }
        let rows = self.screen.rows(&self.fleet).len();
        let (tab, selected) = (self.screen.tab, self.selected());
        let action = self.screen.press(*key, rows);
        if self.screen.tab != tab || self.selected() != selected {
            self.details = Details::default();
            self.screen.first_line = 0;
        }
        self.screen.first_line = self.screen.first_line.min(self.lines().saturating_sub(1));
        if tab == Tab::Prefixes && self.screen.tab != tab {
            self.count_no_more().await;
        }
        self.follow_log();
        match action {
            Action::Export => self.screen.notice = self.export(),
            Action::CountPrefixes => self.ask_to_count(),
            Action::CountPrefixesIndeed => self.switch_counting().await,
            Action::None | Action::Quit => {}
        }
        action
    }

    /// How many lines the page about the selected server has.
    fn lines(&self) -> usize {
        match self.screen.tab {
            Tab::Prefixes => self.prefixes.page().rows.len(),
            tab => self.details.page(tab).rows.len(),
        }
    }

    fn selected(&self) -> Option<usize> {
        self.screen.selected_place(&self.fleet)
    }

    fn selected_server(&self) -> Option<ServerHandle> {
        self.client.servers().into_iter().nth(self.selected()?)
    }

    /// Follows the log of the selected server while its page is shown.
    fn follow_log(&mut self) {
        let wanted = self.selected().filter(|_| self.screen.tab == Tab::Events);
        let followed = self.log.as_ref().map(|log| (log.place, log.stream));
        let stream = self.screen.stream;
        if followed != wanted.map(|place| (place, stream)) {
            let server = wanted.zip(self.selected_server());
            self.log = server.map(|(place, server)| Log::follow(server, place, stream));
        }
    }

    /// Asks before prefixes are counted, and says what it costs.
    fn ask_to_count(&mut self) {
        let Some(server) = self.selected_server() else { return };
        let is_ours = self.counting.iter().any(|counting| counting.name() == server.name());
        let is_on = self.selected().and_then(|place| self.prefixes.is_counting(place));
        self.screen.notice = match is_on {
            Some(true) if !is_ours => format!("{} counts already, and not for us: it is left as it is", server.name()),
            Some(true) => format!("count no more on {}? y/n", server.name()),
            Some(false) => format!("count on {}, which costs it a lock for each command? y/n", server.name()),
            None => format!("{} does not say whether it counts", server.name()),
        };
        self.screen.is_asking = is_on == Some(is_ours);
    }

    async fn switch_counting(&mut self) {
        let Some(server) = self.selected_server() else { return };
        let known = self.counting.iter().position(|counting| counting.name() == server.name());
        if let Err(error) = prefixes::switch(&server, known.is_none()).await {
            self.screen.notice = error.to_string();
            return;
        }
        match known {
            Some(place) => drop(self.counting.remove(place)),
            None => self.counting.push(server),
        }
        self.prefixes = Prefixes::default();
    }

    /// Switches off again what was switched on here.
    async fn count_no_more(&mut self) {
        for server in std::mem::take(&mut self.counting) {
            // A server that has gone counts nothing.
            let _ = prefixes::switch(&server, false).await;
        }
        self.prefixes = Prefixes::default();
    }

    /// Whether the page shows what was not asked for yet.
    fn needs_details(&self) -> bool {
        if self.screen.tab == Tab::Prefixes {
            return self.selected().is_some_and(|place| self.prefixes.is_counting(place).is_none());
        }
        self.screen.tab.group().is_some()
            && self.details.failure.is_none()
            && self.details.figures.iter().next().is_none()
    }

    /// How far apart the servers of a round are looked at: asked all at once, hundreds of them would wait for
    /// us, and a probe would tell how busy we are.
    fn step(&self, every: Duration) -> Duration {
        let servers = u32::try_from(self.fleet.members.len().max(1)).unwrap_or(u32::MAX);
        (every / 2 / servers).min(LONGEST_STEP)
    }

    /// Looks at every server, each in a task of its own, one such step after the other.
    fn look(&self, step: Duration) -> impl Future<Output = Round> + Send + 'static {
        let servers = self.client.servers();
        let selected = self.selected().and_then(|place| Some((place, servers.get(place)?.clone())));
        let page = self.screen.tab.group().zip(selected.clone());
        let prefixes = selected.filter(|_| self.screen.tab == Tab::Prefixes);
        async move {
            let mut tasks = JoinSet::new();
            for (place, server) in servers.into_iter().enumerate() {
                let later = step * u32::try_from(place).unwrap_or(u32::MAX);
                tasks.spawn(async move {
                    tokio::time::sleep(later).await;
                    (place, look_at(&server).await)
                });
            }
            let details = match page {
                Some((group, (_, server))) => Some(details_of(&server, group).await),
                None => None,
            };
            let prefixes = match prefixes {
                Some((place, server)) => Some(prefixes::look(&server, place).await),
                None => None,
            };
            Round { seen: tasks.join_all().await, details, prefixes }
        }
    }

    fn take(&mut self, round: Round) {
        // A pause holds the figures, also those that were on their way; a page is fetched all the same.
        let seen = if self.screen.is_paused { Vec::new() } else { round.seen };
        for (place, seen) in seen {
            self.fleet.update(place, seen);
        }
        if let Some(details) = round.details {
            self.details = details;
        }
        if let Some(look) = round.prefixes {
            self.prefixes.take(look);
        }
    }

    /// Writes what is shown into a file; what became of it.
    fn export(&self) -> String {
        let records = self.screen.rows(&self.fleet).into_iter().map(|place| record(&self.fleet.members[place]));
        let document: serde_json::Value = records.map(serde_json::Value::from).collect();
        let path = format!("remcache-top-{}.json", jiff::Zoned::now().strftime("%Y%m%d-%H%M%S"));
        match atomic_file::write(Path::new(&path), format!("{document:#}\n").as_bytes()) {
            Ok(()) => format!("written: {path}"),
            Err(failure) => failure.to_string(),
        }
    }
}

/// A task's result; where it panicked, so does this: the terminal was given back already.
fn unwound<T>(joined: Result<T, JoinError>) -> io::Result<T> {
    joined.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => io::Error::other(error),
    })
}

const LONGEST_STEP: Duration = Duration::from_millis(1);

/// How often a log that is followed is shown anew.
const LOG_STEP: Duration = Duration::from_millis(250);

async fn look_at(server: &ServerHandle) -> Seen {
    let asked = Instant::now();
    let ping = server.noop().await.is_ok().then(|| asked.elapsed());
    let figures = stats::fetch(server, "").await.map_err(|error| reason(server, &error));
    Seen { at: Instant::now(), figures, ping }
}

async fn details_of(server: &ServerHandle, group: &'static str) -> Details {
    match stats::fetch(server, group).await {
        Ok(figures) => Details { figures, failure: None },
        Err(error) => Details { failure: Some(reason(server, &error)), ..Details::default() },
    }
}

fn record(member: &Member) -> Record {
    let record = Record::new().with("server", &*member.name).with_some("down", member.down.clone());
    record
        .with_some("version", member.figures().and_then(|figures| figures.text("version")))
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
