//! One loader for a key in this process: who leads, who follows, and whose outcome a follower may take.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::recipes::fetch::Found;

/// What is being loaded and refreshed in this process, by key.
#[derive(Default)]
pub(crate) struct Flights {
    /// Counts, so that it can be told what came first.
    clock: AtomicU64,
    loads: Mutex<HashMap<Vec<u8>, Load>>,
    refreshes: Mutex<HashMap<Vec<u8>, Refresh>>,
}

/// A load on its way.
struct Load {
    id: u64,
    progress: watch::Receiver<Progress>,
}

/// How far a load is.
#[derive(Clone, Debug)]
enum Progress {
    /// Another process may be loading.
    Waiting,
    Loading,
    Landed(Landing),
}

/// What a load has found, and for whom it is fresh enough.
#[derive(Clone, Debug)]
pub(crate) struct Landing {
    pub(crate) found: Found,
    /// Whoever asked before this tick may take it: what they must not miss was taken in.
    pub(crate) valid_from: u64,
}

/// A refresh on its way.
struct Refresh {
    id: u64,
    /// The CAS value of the item that another process should be refreshing; the refresh only watches
    /// that it does.
    watched: Option<u64>,
    /// The CAS value of an item that the server gave this process to reload meanwhile.
    missed: Option<u64>,
}

/// What a caller is among those who want the same key.
pub(crate) enum Part<'f> {
    Leader(Leader<'f>),
    Watcher(Watcher),
}

/// The one who loads; the others are free when it is dropped.
pub(crate) struct Leader<'f> {
    flights: &'f Flights,
    key: Vec<u8>,
    id: u64,
    progress: watch::Sender<Progress>,
}

/// One who waits for the leader.
pub(crate) struct Watcher {
    id: u64,
    progress: watch::Receiver<Progress>,
}

/// What a follower has waited for.
#[derive(Debug)]
pub(crate) enum End {
    Landed(Landing),
    /// The leader failed or went away.
    Abandoned,
    /// The leader takes too long.
    Overdue,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flights {
    /// A number above all before it.
    pub(crate) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Leads the load of a key, or follows who does.
    pub(crate) fn join(&self, key: &[u8]) -> Part<'_> {
        let mut loads = lock(&self.loads);
        if let Some(load) = loads.get(key) {
            return Part::Watcher(Watcher { id: load.id, progress: load.progress.clone() });
        }
        let id = self.tick();
        let (progress, receiver) = watch::channel(Progress::Waiting);
        loads.insert(key.to_vec(), Load { id, progress: receiver });
        Part::Leader(Leader { flights: self, key: key.to_vec(), id, progress })
    }

    /// Lets another one lead: this load takes too long.
    pub(crate) fn pass_over(&self, key: &[u8], follower: &Watcher) {
        self.end_load(key, follower.id);
    }

    fn end_load(&self, key: &[u8], id: u64) {
        let mut loads = lock(&self.loads);
        if loads.get(key).is_some_and(|load| load.id == id) {
            loads.remove(key);
        }
    }

    /// The turn to refresh a key; `None` if it is another task's.
    ///
    /// One that only watches gives way to whoever has more to do, or another item to watch.
    pub(crate) fn turn(&self, key: &[u8], watched: Option<u64>) -> Option<u64> {
        let id = self.tick();
        match lock(&self.refreshes).entry(key.to_vec()) {
            Entry::Occupied(mut entry) => {
                let gives_way = entry.get().watched.is_some() && entry.get().watched != watched;
                gives_way.then(|| entry.insert(Refresh { id, watched, missed: None })).map(|_| id)
            }
            Entry::Vacant(entry) => {
                entry.insert(Refresh { id, watched, missed: None });
                Some(id)
            }
        }
    }

    /// Takes the turn of one that watches, for good; `false` if it is not its turn any more.
    pub(crate) fn keep_turn(&self, key: &[u8], id: u64) -> bool {
        match lock(&self.refreshes).get_mut(key).filter(|refresh| refresh.id == id) {
            Some(refresh) => {
                refresh.watched = None;
                true
            }
            None => false,
        }
    }

    /// The server gave this process an item to reload, while a refresh has its turn: it is given back
    /// when that ends, and not before, for giving it back would make what is being loaded too late.
    /// `false` if the turn has ended.
    pub(crate) fn misses(&self, key: &[u8], cas: u64) -> bool {
        lock(&self.refreshes).get_mut(key).map(|refresh| refresh.missed = Some(cas)).is_some()
    }

    /// Ends a turn, and gives the CAS value of what was missed meanwhile.
    pub(crate) fn end_turn(&self, key: &[u8], id: u64) -> Option<u64> {
        let mut refreshes = lock(&self.refreshes);
        let is_current = refreshes.get(key).is_some_and(|refresh| refresh.id == id);
        if is_current { refreshes.remove(key)?.missed } else { None }
    }
}

impl Leader<'_> {
    /// The loader begins: whoever follows waits anew.
    pub(crate) fn begins(&self) {
        self.progress.send_replace(Progress::Loading);
    }

    /// Tells those who follow what was found.
    pub(crate) fn land(self, found: Found, valid_from: u64) {
        self.progress.send_replace(Progress::Landed(Landing { found, valid_from }));
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        self.flights.end_load(&self.key, self.id);
    }
}

impl Watcher {
    /// Waits until the load has landed, was abandoned, or gets no further for so long.
    pub(crate) async fn end(&mut self, extend_by: Duration) -> End {
        loop {
            match timeout(extend_by, self.progress.changed()).await {
                Err(_) => return End::Overdue,
                Ok(Err(_)) => return End::Abandoned,
                Ok(Ok(())) => {}
            }
            if let Progress::Landed(landing) = &*self.progress.borrow_and_update() {
                return End::Landed(landing.clone());
            }
        }
    }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (loads, refreshes) = (lock(&self.loads).len(), lock(&self.refreshes).len());
        f.debug_struct("Flights").field("loads", &loads).field("refreshes", &refreshes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leader<'f>(flights: &'f Flights, key: &[u8]) -> Leader<'f> {
        match flights.join(key) {
            Part::Leader(leader) => leader,
            Part::Watcher(_) => panic!("somebody leads"),
        }
    }

    fn follower(flights: &Flights, key: &[u8]) -> Watcher {
        match flights.join(key) {
            Part::Leader(_) => panic!("nobody leads"),
            Part::Watcher(follower) => follower,
        }
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn followers_are_told_and_nothing_is_left() {
        let flights = Flights::default();
        let leads = leader(&flights, b"k");
        let mut followers = [follower(&flights, b"k"), follower(&flights, b"k")];
        let _other = leader(&flights, b"another");
        leads.begins();
        leads.land(None, 7);
        for follower in &mut followers {
            assert!(matches!(follower.end(LONG).await, End::Landed(Landing { found: None, valid_from: 7 })));
        }
        drop(leader(&flights, b"k"));
        assert_eq!(lock(&flights.loads).len(), 1, "the other one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_goes_away_frees_the_next_at_once() {
        let flights = Flights::default();
        let leads = leader(&flights, b"k");
        let mut follows = follower(&flights, b"k");
        leads.begins();
        drop(leads);
        assert!(matches!(follows.end(LONG).await, End::Abandoned));
        drop(leader(&flights, b"k"));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_too_long_is_passed_over_and_takes_nothing_with_it() {
        let flights = Flights::default();
        let slow = leader(&flights, b"k");
        let mut follows = follower(&flights, b"k");
        assert!(matches!(follows.end(Duration::from_secs(1)).await, End::Overdue));
        flights.pass_over(b"k", &follows);
        let _next = leader(&flights, b"k");
        drop(slow);
        flights.pass_over(b"k", &follows);
        follower(&flights, b"k");
    }

    #[test]
    fn a_refresh_has_one_turn_and_a_watch_gives_way() {
        let flights = Flights::default();
        let watch = flights.turn(b"k", Some(1)).unwrap();
        assert_eq!(flights.turn(b"k", Some(1)), None, "the same is watched already");
        let next = flights.turn(b"k", Some(2)).unwrap();
        assert!(!flights.keep_turn(b"k", watch));
        assert_eq!(flights.end_turn(b"k", watch), None);
        let refresh = flights.turn(b"k", None).unwrap();
        assert!(!flights.keep_turn(b"k", next));
        assert_eq!((flights.turn(b"k", None), flights.turn(b"k", Some(3))), (None, None));
        assert!(flights.misses(b"k", 7));
        assert_eq!(flights.end_turn(b"k", refresh), Some(7));
        assert!(lock(&flights.refreshes).is_empty() && !flights.misses(b"k", 7));
    }
}
