//! `top`: the servers on a screen, live.

mod details;
mod draw;
mod fleet;
mod screen;

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use remcache::Client;
use remcache::client::ServerHandle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::cli::value;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Record, is_colored};
use crate::sample::{figures, reason};
use crate::session::Session;
use details::Details;
use fleet::{Fleet, Member, Seen, Window};
use screen::{Action, Screen};

/// Watch the servers on a screen: rates, hits, memory, connections, latency
///
/// Servers that are away stay visible, with the reason. ? shows the keys.
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
    let is_colored = is_colored(session.options.color, true);
    let mut top = Top::new(client, is_colored);
    // The terminal is put back also where the tool panics: a hook does that.
    let mut terminal = ratatui::try_init().map_err(terminal_failed)?;
    let outcome = tokio::select! {
        outcome = top.run(&mut terminal, args.interval) => outcome,
        () = interrupt.raised() => Ok(()),
        () = terminated() => Ok(()),
    };
    ratatui::try_restore().map_err(terminal_failed)?;
    outcome.map(|()| Exit::Yes).map_err(terminal_failed)
}

fn terminal_failed(error: io::Error) -> Failure {
    Failure::Io("terminal".into(), error)
}

/// Waits for the signal that asks a program to end.
async fn terminated() {
    #[cfg(unix)]
    if let Ok(mut signal) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        signal.recv().await;
        return;
    }
    std::future::pending().await
}

/// The command at work.
struct Top {
    client: Client,
    fleet: Fleet,
    screen: Screen,
    details: Details,
    is_colored: bool,
}

/// What a round of looks gave: one for each server, and the page of the selected one.
struct Round {
    seen: Vec<(usize, Seen)>,
    details: Option<Details>,
}

impl Top {
    fn new(client: Client, is_colored: bool) -> Self {
        let fleet = Fleet::new(client.servers().iter().map(|server| server.name().to_owned()));
        Self { client, fleet, screen: Screen::default(), details: Details::default(), is_colored }
    }

    async fn run(&mut self, terminal: &mut DefaultTerminal, every: Duration) -> io::Result<()> {
        let mut keys = listen()?;
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut rounds = JoinSet::new();
        loop {
            terminal.draw(|frame| draw::draw(frame, &self.fleet, &self.screen, &self.details, self.is_colored))?;
            tokio::select! {
                _ = ticks.tick() => {
                    // A server that hangs delays its round, not the screen.
                    if rounds.is_empty() && !self.screen.is_paused {
                        rounds.spawn(self.look());
                    }
                }
                Some(Ok(round)) = rounds.join_next() => self.take(round),
                event = keys.recv() => match event {
                    Some(event) => {
                        if self.handle(&event) == Action::Quit {
                            return Ok(());
                        }
                        if self.needs_details() && rounds.is_empty() {
                            rounds.spawn(self.look());
                        }
                    }
                    // The terminal has gone.
                    None => return Ok(()),
                },
            }
        }
    }

    fn handle(&mut self, event: &Event) -> Action {
        let Event::Key(key) = event else { return Action::None };
        if key.kind == KeyEventKind::Release {
            return Action::None;
        }
        let rows = self.screen.rows(&self.fleet).len();
        let tab = self.screen.tab;
        let action = self.screen.press(*key, rows);
        if self.screen.tab != tab {
            self.details = Details::default();
        }
        if action == Action::Export {
            self.screen.notice = self.export();
        }
        action
    }

    /// Whether the page shows what was not asked for yet.
    fn needs_details(&self) -> bool {
        self.screen.tab.group().is_some()
            && self.details.failure.is_none()
            && self.details.figures.iter().next().is_none()
    }

    /// Looks at every server, each in a task of its own.
    fn look(&self) -> impl Future<Output = Round> + Send + 'static {
        let servers = self.client.servers();
        let selected = self.screen.selected_place(&self.fleet);
        let page = self.screen.tab.group().zip(selected.and_then(|place| servers.get(place).cloned()));
        async move {
            let mut tasks = JoinSet::new();
            for (place, server) in servers.into_iter().enumerate() {
                tasks.spawn(async move { (place, look_at(&server).await) });
            }
            let details = match page {
                Some((group, server)) => Some(details_of(&server, group).await),
                None => None,
            };
            Round { seen: tasks.join_all().await, details }
        }
    }

    fn take(&mut self, round: Round) {
        for (place, seen) in round.seen {
            self.fleet.update(place, seen);
        }
        if let Some(details) = round.details {
            self.details = details;
        }
    }

    /// Writes what is shown into a file; what became of it.
    fn export(&self) -> String {
        let records = self.screen.rows(&self.fleet).into_iter().map(|place| record(&self.fleet.members[place]));
        let document: serde_json::Value = records.map(serde_json::Value::from).collect();
        let path = format!("remcache-top-{}.json", jiff::Zoned::now().strftime("%Y%m%d-%H%M%S"));
        match std::fs::write(&path, format!("{document:#}\n")) {
            Ok(()) => format!("written: {path}"),
            Err(error) => format!("{path}: {error}"),
        }
    }
}

/// The terminal's keys and resizes, read by a thread of its own.
fn listen() -> io::Result<mpsc::Receiver<Event>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::Builder::new().name("keys".into()).spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                break;
            }
        }
    })?;
    Ok(receiver)
}

async fn look_at(server: &ServerHandle) -> Seen {
    let asked = Instant::now();
    let ping = server.noop().await.is_ok().then(|| asked.elapsed());
    let figures = figures(server, "").await.map_err(|error| reason(server, &error));
    Seen { at: Instant::now(), figures, ping }
}

async fn details_of(server: &ServerHandle, group: &'static str) -> Details {
    match figures(server, group).await {
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
