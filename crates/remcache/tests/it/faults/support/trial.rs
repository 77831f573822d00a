//! A client put to the test: all operations at once, each outcome held against the truth.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use remcache::{Client, Config, Delivery, Error, ErrorKind, Item, WriteOutcome};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::conduct::Conduct;
use super::host::Host;
use super::net::Net;
use super::serve::World;
use super::store::{statistics, truth};
use crate::support::Speech;

/// A client and its server.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) client: Client,
    pub(crate) world: Arc<World>,
    deadline: Duration,
    /// How much later than its deadline a call may end before it counts as hanging.
    slack: Duration,
    serial: AtomicU32,
    fates: Mutex<HashMap<String, Fate>>,
    _host: Option<Host>,
}

/// What a client says became of a request that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Executed,
    NotSent,
    MaybeSent,
}

/// The outcomes of many operations.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) succeeded: usize,
    pub(crate) errors: Vec<Error>,
    fates: Vec<(String, Fate)>,
}

/// How many outcomes a round has.
pub(crate) const OUTCOMES_OF_A_ROUND: usize = GETS + KEYS_OF_A_GET + KEYS_OF_A_SET + 4;
const GETS: usize = 20;
const KEYS_OF_A_GET: usize = 64;
const KEYS_OF_A_SET: usize = 5;

impl Trial {
    /// A trial in memory, for a paused clock: deadlines are met to the tick of its timer.
    pub(crate) fn in_memory(speech: Speech, conduct: Conduct, config: Config, deadline: Duration) -> Self {
        let world = World::new(speech, conduct);
        let net = Net::new([("server", Arc::clone(&world))]);
        let client = Client::with_config(["server"], speech.config(config).timeout(deadline).connector(net));
        Self::new(client, world, deadline, TICK, None)
    }

    /// A trial on real sockets.
    pub(crate) async fn on_sockets(speech: Speech, conduct: Conduct, config: Config, deadline: Duration) -> Self {
        let world = World::new(speech, conduct);
        let host = Host::start(&world).await;
        let client = Client::with_config([host.address()], speech.config(config).timeout(deadline));
        Self::new(client, world, deadline, BUSY_MACHINE, Some(host))
    }

    fn new(
        client: Result<Client, Error>,
        world: Arc<World>,
        deadline: Duration,
        slack: Duration,
        host: Option<Host>,
    ) -> Self {
        let client = client.expect("the configuration is valid");
        Self { client, world, deadline, slack, serial: AtomicU32::new(0), fates: Mutex::default(), _host: host }
    }

    /// Every operation at once: fetches, changes, statistics, many keys.
    pub(crate) async fn round(&self) -> Tally {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let mut tasks = JoinSet::new();
        for number in 0..GETS {
            tasks.spawn(get(self.caller(), format!("fixed:{number}")));
        }
        tasks.spawn(get_many(self.caller()));
        tasks.spawn(set(self.caller(), format!("fixed:set_{serial}")));
        tasks.spawn(set_many(self.caller(), serial));
        tasks.spawn(increment(self.caller(), format!("counter:{serial}")));
        tasks.spawn(delete(self.caller(), format!("doomed:{serial}")));
        tasks.spawn(stats(self.caller()));
        self.sum(tasks).await
    }

    /// So many increments at once, each of a counter of its own.
    pub(crate) async fn increments(&self, count: usize) -> Tally {
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let serial = self.serial.fetch_add(1, Ordering::Relaxed);
            tasks.spawn(increment(self.caller(), format!("counter:{serial}")));
        }
        self.sum(tasks).await
    }

    async fn sum(&self, mut tasks: JoinSet<Tally>) -> Tally {
        let mut sum = Tally::default();
        while let Some(tally) = tasks.join_next().await {
            sum.add(tally.expect("every outcome is right"));
        }
        self.fates.lock().expect("no test panics here").extend(sum.fates.drain(..));
        sum
    }

    /// Whether the server gives itself away when it is asked for its version, before any request.
    pub(crate) fn is_stranger_in_text(&self) -> bool {
        self.world.speech() == Speech::Text && matches!(self.world.conduct(), Conduct::Stranger(_))
    }

    /// One fetch.
    pub(crate) async fn get(&self, key: &str) -> Tally {
        get(self.caller(), key.to_owned()).await
    }

    /// Ends the fault, and tells how long it takes until the client works again.
    pub(crate) async fn recover(&self) -> Duration {
        self.world.change(Conduct::Honest);
        let start = Instant::now();
        while self.get("fixed:recovery").await.succeeded == 0 {
            let waited = start.elapsed();
            assert!(waited <= RECOVERY + self.slack, "the client does not work {waited:?} after the fault's end");
            sleep(Duration::from_millis(1)).await;
        }
        start.elapsed()
    }

    /// The client's end: all works, nothing was executed against its word, and nothing is left.
    pub(crate) async fn end(self) {
        let recovery = self.recover().await;
        assert!(recovery <= RECOVERY + self.slack, "the client works again only after {recovery:?}");
        let tally = self.round().await;
        assert_eq!((tally.succeeded, tally.errors.len()), (OUTCOMES_OF_A_ROUND, 0), "{:?}", tally.errors.first());
        self.check_fates();
        let server = &self.client.servers()[0];
        assert_eq!((server.in_flight(), server.waiting()), (0, 0));
        let closing = timeout(self.deadline + BUSY_MACHINE, self.client.close());
        closing.await.expect("a client without requests closes at once");
    }

    fn check_fates(&self) {
        for (key, fate) in &*self.fates.lock().expect("no test panics here") {
            let executions = self.world.store().executions(key.as_bytes());
            let fits = match fate {
                Fate::Executed => executions == 1,
                Fate::NotSent => executions == 0,
                Fate::MaybeSent => executions <= 1,
            };
            assert!(fits, "{key} was executed {executions} times, and the client said {fate:?}");
        }
    }

    fn caller(&self) -> Caller {
        let speech = self.world.speech();
        Caller { client: self.client.clone(), speech, deadline: self.deadline, slack: self.slack }
    }
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.succeeded += other.succeeded;
        self.errors.extend(other.errors);
        self.fates.extend(other.fates);
    }

    /// Counts an outcome; `check` says of a success whether it is the right one.
    fn count<T>(&mut self, what: impl Display, outcome: Result<T, Error>, check: impl FnOnce(T) -> bool) {
        match outcome {
            Ok(value) => {
                assert!(check(value), "{what}: a wrong outcome");
                self.succeeded += 1;
            }
            Err(error) => {
                fate_of(&error);
                self.errors.push(error);
            }
        }
    }

    fn remember<T>(&mut self, key: &str, outcome: &Result<T, Error>) {
        let fate = outcome.as_ref().map_or_else(fate_of, |_| Fate::Executed);
        self.fates.push((key.to_owned(), fate));
    }

    /// Whether every error is one of these.
    #[track_caller]
    pub(crate) fn assert_errors(&self, allowed: impl Fn(ErrorKind) -> bool) {
        let other = self.errors.iter().find(|error| !allowed(error.kind()));
        assert!(other.is_none(), "{other:?}");
    }
}

/// What an error says of the request; a fault of the server or the network gives no other errors.
fn fate_of(error: &Error) -> Fate {
    assert!(!error.to_string().contains("task ended"), "the connection's task panicked: {error}");
    let fate = match error.kind() {
        ErrorKind::Disconnected(Delivery::MaybeSent) | ErrorKind::TimedOut(Delivery::MaybeSent) => Fate::MaybeSent,
        ErrorKind::Disconnected(_) | ErrorKind::TimedOut(_) | ErrorKind::Overloaded => Fate::NotSent,
        _ => panic!("an error of another kind: {error:?}"),
    };
    assert_eq!(error.may_have_executed(), fate == Fate::MaybeSent);
    fate
}

/// Whoever calls an operation, and how long it may take.
#[derive(Debug)]
struct Caller {
    client: Client,
    speech: Speech,
    deadline: Duration,
    slack: Duration,
}

impl Caller {
    /// Waits for a call that must not take longer than this many deadlines.
    async fn within<T>(&self, deadlines: u32, call: impl IntoFuture<Output = T>) -> T {
        let limit = self.deadline * deadlines + self.slack;
        timeout(limit, call.into_future()).await.unwrap_or_else(|_| panic!("a call hangs: it took over {limit:?}"))
    }
}

fn is_true(key: &str, item: Option<&Item>) -> bool {
    item.is_some_and(|item| item.value == truth(key.as_bytes()))
}

async fn get(caller: Caller, key: String) -> Tally {
    let outcome = caller.within(1, caller.client.get(&key)).await;
    let mut tally = Tally::default();
    tally.count(&key, outcome, |item| is_true(&key, item.as_ref()));
    tally
}

async fn get_many(caller: Caller) -> Tally {
    let keys: Vec<_> = (0..KEYS_OF_A_GET).map(|number| format!("fixed:many_{number}")).collect();
    let mut tally = Tally::default();
    for (key, outcome) in caller.within(2, caller.client.get_many(keys)).await {
        tally.count(&key, outcome, |item| is_true(&key, item.as_ref()));
    }
    tally
}

async fn set(caller: Caller, key: String) -> Tally {
    let outcome = caller.within(1, caller.client.set(&key, truth(key.as_bytes()))).await;
    let mut tally = Tally::default();
    tally.remember(&key, &outcome);
    tally.count(&key, outcome, WriteOutcome::is_applied);
    tally
}

async fn set_many(caller: Caller, serial: u32) -> Tally {
    let pairs = (0..KEYS_OF_A_SET).map(|number| {
        let key = format!("fixed:set_{serial}_{number}");
        let value = truth(key.as_bytes());
        (key, value)
    });
    let mut tally = Tally::default();
    for (key, outcome) in caller.within(2, caller.client.set_many(pairs.collect::<Vec<_>>())).await {
        tally.remember(&key, &outcome);
        tally.count(&key, outcome, WriteOutcome::is_applied);
    }
    tally
}

async fn increment(caller: Caller, key: String) -> Tally {
    let call = caller.client.increment(&key, 1);
    // The text protocol has no word for a counter's first number, and this server needs none.
    let call = if caller.speech == Speech::Text { call } else { call.initial(1) };
    let outcome = caller.within(1, call).await;
    let mut tally = Tally::default();
    tally.remember(&key, &outcome);
    tally.count(&key, outcome, |counter| counter.is_some_and(|counter| counter.value == 1));
    tally
}

async fn delete(caller: Caller, key: String) -> Tally {
    let outcome = caller.within(1, caller.client.delete(&key)).await;
    let mut tally = Tally::default();
    tally.remember(&key, &outcome);
    tally.count(&key, outcome, WriteOutcome::is_applied);
    tally
}

async fn stats(caller: Caller) -> Tally {
    let outcome = caller.within(2, caller.client.servers()[0].stats("").collect()).await;
    let mut tally = Tally::default();
    tally.count("stats", outcome, |found| found == statistics());
    tally
}

/// Until when a client works again after the end of a fault.
pub(crate) const RECOVERY: Duration = Duration::from_millis(5100);
/// A timer fires up to two ticks late.
const TICK: Duration = Duration::from_millis(2);
/// Generous: what takes this long on a busy machine hangs.
const BUSY_MACHINE: Duration = Duration::from_secs(10);
