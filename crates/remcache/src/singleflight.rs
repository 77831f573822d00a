//! Single flight: one loader per key in this process. The leader loads, and followers share its result if it is recent
//! enough.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::timeout;

/// A value as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loaded {
    pub(crate) flags: u32,
    pub(crate) bytes: Bytes,
}

/// Result of a loader or of the cache: a value, or none.
pub(crate) type Found = Option<Loaded>;

/// Loads and refreshes in flight in this process, by key.
#[derive(Default)]
pub(crate) struct SingleFlight {
    /// Logical clock that orders lookups, loads and fills.
    clock: AtomicU64,
    loads: Mutex<HashMap<Vec<u8>, LoadInFlight>>,
    refreshes: Mutex<HashMap<Vec<u8>, RefreshInFlight>>,
}

/// A load in flight.
struct LoadInFlight {
    id: u64,
    progress: watch::Receiver<LoadProgress>,
}

/// Progress of a load.
#[derive(Clone, Debug)]
enum LoadProgress {
    /// Another process may be loading.
    Waiting,
    Loading,
    Completed(Completion),
}

/// Result of a load, and the callers that may use it.
#[derive(Clone, Debug)]
pub(crate) struct Completion {
    pub(crate) found: Found,
    /// Callers whose lookup began before this tick may use the result: it has every change that they can know of.
    pub(crate) valid_from: u64,
}

/// A refresh in flight.
struct RefreshInFlight {
    id: u64,
    /// CAS value of an item that another process should be refreshing; this refresh only waits for
    /// that.
    watched: Option<u64>,
    /// The right to refresh an item that the server assigned to this process in the meantime: it is released when it
    /// is dropped.
    deferred: Option<Box<dyn Send>>,
}

/// Role of a caller among those that want the same key.
pub(crate) enum Role<'f> {
    Leader(Leader<'f>),
    Follower(Follower),
}

/// The caller that loads the value. Dropping it releases the followers.
pub(crate) struct Leader<'f> {
    single_flight: &'f SingleFlight,
    key: Vec<u8>,
    id: u64,
    progress: watch::Sender<LoadProgress>,
}

/// A caller that waits for the leader.
pub(crate) struct Follower {
    id: u64,
    progress: watch::Receiver<LoadProgress>,
}

/// Result of waiting for a leader.
#[derive(Debug)]
pub(crate) enum WaitResult {
    Completed(Completion),
    /// The leader failed or was dropped.
    Abandoned,
    /// The leader exceeded the maximum wait.
    Overdue,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SingleFlight {
    /// Advances the logical clock and returns its previous value.
    pub(crate) fn advance_clock(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Joins the load of a key, as its leader if no load is running.
    pub(crate) fn join(&self, key: &[u8]) -> Role<'_> {
        let mut loads = lock(&self.loads);
        if let Some(load) = loads.get(key) {
            return Role::Follower(Follower { id: load.id, progress: load.progress.clone() });
        }
        let id = self.advance_clock();
        let (progress, receiver) = watch::channel(LoadProgress::Waiting);
        loads.insert(key.to_vec(), LoadInFlight { id, progress: receiver });
        Role::Leader(Leader { single_flight: self, key: key.to_vec(), id, progress })
    }

    /// Evicts a load that takes too long, so that another caller can lead.
    pub(crate) fn evict(&self, key: &[u8], follower: &Follower) {
        self.end_load(key, follower.id);
    }

    fn end_load(&self, key: &[u8], id: u64) {
        let mut loads = lock(&self.loads);
        if loads.get(key).is_some_and(|load| load.id == id) {
            loads.remove(key);
        }
    }

    /// Registers a refresh of a key and returns its id; `None` if another task is refreshing it.
    ///
    /// A refresh that only waits for another process is replaced by one that reloads, or that waits for another item.
    pub(crate) fn begin_refresh(&self, key: &[u8], watched: Option<u64>) -> Option<u64> {
        let id = self.advance_clock();
        let refresh = RefreshInFlight { id, watched, deferred: None };
        let mut refreshes = lock(&self.refreshes);
        let gives_way = |known: &RefreshInFlight| known.watched.is_some() && known.watched != watched;
        if refreshes.get(key).is_some_and(|known| !gives_way(known)) {
            return None;
        }
        let replaced = refreshes.insert(key.to_vec(), refresh);
        // As in `defer_release`.
        drop(refreshes);
        drop(replaced);
        Some(id)
    }

    /// Turns a waiting refresh into an active one; returns `false` if it was replaced.
    pub(crate) fn activate_refresh(&self, key: &[u8], id: u64) -> bool {
        match lock(&self.refreshes).get_mut(key).filter(|refresh| refresh.id == id) {
            Some(refresh) => {
                refresh.watched = None;
                true
            }
            None => false,
        }
    }

    /// Keeps a refresh right that the server assigned to this process during a refresh until that ends: releasing it
    /// earlier would invalidate the load in progress. Drops it at once if no refresh is registered.
    pub(crate) fn defer_release(&self, key: &[u8], right: Box<dyn Send>) {
        let mut refreshes = lock(&self.refreshes);
        let released = match refreshes.get_mut(key) {
            Some(refresh) => refresh.deferred.replace(right),
            None => Some(right),
        };
        // A release sends a request, which must not happen under the lock.
        drop(refreshes);
        drop(released);
    }

    /// Ends a refresh and returns the right whose release was deferred.
    pub(crate) fn end_refresh(&self, key: &[u8], id: u64) -> Option<Box<dyn Send>> {
        let mut refreshes = lock(&self.refreshes);
        let is_current = refreshes.get(key).is_some_and(|refresh| refresh.id == id);
        if is_current { refreshes.remove(key)?.deferred } else { None }
    }
}

impl Leader<'_> {
    /// Records that the loader has started; followers restart their wait.
    pub(crate) fn start(&self) {
        self.progress.send_replace(LoadProgress::Loading);
    }

    /// Completes the load and publishes its result to the followers.
    pub(crate) fn complete(self, found: Found, valid_from: u64) {
        self.progress.send_replace(LoadProgress::Completed(Completion { found, valid_from }));
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        self.single_flight.end_load(&self.key, self.id);
    }
}

impl Follower {
    /// Waits until the load completes or is abandoned, or makes no progress for `max_wait`.
    pub(crate) async fn wait(&mut self, max_wait: Duration) -> WaitResult {
        loop {
            match timeout(max_wait, self.progress.changed()).await {
                Err(_) => return WaitResult::Overdue,
                Ok(Err(_)) => return WaitResult::Abandoned,
                Ok(Ok(())) => {}
            }
            if let LoadProgress::Completed(completion) = &*self.progress.borrow_and_update() {
                return WaitResult::Completed(completion.clone());
            }
        }
    }
}

impl fmt::Debug for SingleFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (loads, refreshes) = (lock(&self.loads).len(), lock(&self.refreshes).len());
        f.debug_struct("SingleFlight").field("loads", &loads).field("refreshes", &refreshes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn leader<'f>(single_flight: &'f SingleFlight, key: &[u8]) -> Leader<'f> {
        match single_flight.join(key) {
            Role::Leader(leader) => leader,
            Role::Follower(_) => panic!("the key already has a leader"),
        }
    }

    fn follower(single_flight: &SingleFlight, key: &[u8]) -> Follower {
        match single_flight.join(key) {
            Role::Leader(_) => panic!("the key has no leader"),
            Role::Follower(follower) => follower,
        }
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn followers_get_the_result_and_no_state_is_left() {
        let single_flight = SingleFlight::default();
        let leads = leader(&single_flight, b"k");
        let mut followers = [follower(&single_flight, b"k"), follower(&single_flight, b"k")];
        let _other = leader(&single_flight, b"another");
        leads.start();
        leads.complete(None, 7);
        for follower in &mut followers {
            assert!(matches!(
                follower.wait(LONG).await,
                WaitResult::Completed(Completion { found: None, valid_from: 7 })
            ));
        }
        drop(leader(&single_flight, b"k"));
        assert_eq!(lock(&single_flight.loads).len(), 1, "the other one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_goes_away_frees_the_next_at_once() {
        let single_flight = SingleFlight::default();
        let leads = leader(&single_flight, b"k");
        let mut follows = follower(&single_flight, b"k");
        leads.start();
        drop(leads);
        assert!(matches!(follows.wait(LONG).await, WaitResult::Abandoned));
        drop(leader(&single_flight, b"k"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_leader_is_evicted_and_does_not_affect_its_successor() {
        let single_flight = SingleFlight::default();
        let slow = leader(&single_flight, b"k");
        let mut follows = follower(&single_flight, b"k");
        assert!(matches!(follows.wait(Duration::from_secs(1)).await, WaitResult::Overdue));
        single_flight.evict(b"k", &follows);
        let _next = leader(&single_flight, b"k");
        drop(slow);
        single_flight.evict(b"k", &follows);
        follower(&single_flight, b"k");
    }

    #[test]
    fn one_refresh_per_key_and_waiting_yields() {
        let single_flight = SingleFlight::default();
        let watch = single_flight.begin_refresh(b"k", Some(1)).unwrap();
        assert_eq!(single_flight.begin_refresh(b"k", Some(1)), None, "the same is watched already");
        let next = single_flight.begin_refresh(b"k", Some(2)).unwrap();
        assert!(!single_flight.activate_refresh(b"k", watch));
        assert!(single_flight.end_refresh(b"k", watch).is_none());
        let refresh = single_flight.begin_refresh(b"k", None).unwrap();
        assert!(!single_flight.activate_refresh(b"k", next));
        assert_eq!((single_flight.begin_refresh(b"k", None), single_flight.begin_refresh(b"k", Some(3))), (None, None));
        let right = Arc::new(());
        single_flight.defer_release(b"k", Box::new(Arc::clone(&right)));
        let deferred = single_flight.end_refresh(b"k", refresh);
        assert!(deferred.is_some() && lock(&single_flight.refreshes).is_empty());
        assert_eq!(Arc::strong_count(&right), 2, "the right is kept");
        single_flight.defer_release(b"k", Box::new(Arc::clone(&right)));
        assert_eq!(Arc::strong_count(&right), 2, "without a refresh the right is dropped at once");
    }
}
