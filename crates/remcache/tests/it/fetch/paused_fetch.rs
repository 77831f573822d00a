//! A fetch whose loader pauses until the test finishes it.

use std::sync::Arc;

use remcache::recipes::FetchPolicy;
use remcache::{Client, Error, ErrorKind};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use crate::fetch::client_at;

/// The result of a loader.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LoadResult {
    Value(&'static str),
    Nothing,
    Failure,
    Panic,
}

/// A fetch in its own task, whose loader has started and waits for its result.
pub(crate) struct PausedFetch {
    pub(crate) task: JoinHandle<Result<Option<bytes::Bytes>, String>>,
    result: oneshot::Sender<LoadResult>,
}

/// An error of the loader.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) String);

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

/// Loads the value of a [`PausedFetch`].
async fn load(started: Arc<Semaphore>, result: oneshot::Receiver<LoadResult>) -> Result<Option<&'static str>, Failed> {
    started.add_permits(1);
    match result.await {
        Ok(LoadResult::Value(value)) => Ok(Some(value)),
        Ok(LoadResult::Nothing) => Ok(None),
        Ok(LoadResult::Failure) => Err(Failed("the source failed".to_owned())),
        Ok(LoadResult::Panic) => panic!("the loader panics"),
        Err(_) => std::future::pending().await,
    }
}

impl PausedFetch {
    /// Spawns a fetch and waits until its loader has started.
    pub(crate) async fn start(client: &Client, policy: FetchPolicy) -> Self {
        let (paused, started) = Self::spawn(client, policy);
        started.acquire().await.unwrap().forget();
        paused
    }

    /// Spawns a fetch; the semaphore gets a permit when its loader starts.
    pub(crate) fn spawn(client: &Client, policy: FetchPolicy) -> (Self, Arc<Semaphore>) {
        let started = Arc::new(Semaphore::new(0));
        let (result, receiver) = oneshot::channel();
        let (client, counter) = (client.clone(), Arc::clone(&started));
        let task = tokio::spawn(async move {
            let fetched = client.fetch_optional("key", policy, move || load(counter, receiver)).await;
            fetched.map_err(|Failed(text)| text)
        });
        (Self { task, result }, started)
    }

    /// Returns the task of the fetch, and the sender that finishes the loader.
    pub(crate) fn into_parts(self) -> (JoinHandle<Result<Option<bytes::Bytes>, String>>, oneshot::Sender<LoadResult>) {
        (self.task, self.result)
    }

    /// Finishes the loader and returns the result of the fetch.
    pub(crate) async fn finish(self, result: LoadResult) -> Result<Option<bytes::Bytes>, String> {
        self.result.send(result).unwrap();
        self.task.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

/// Returns two clients of a server, which share nothing but the server.
pub(crate) fn two_clients(address: &str, protocol: remcache::config::ProtocolSetting) -> (Client, Client) {
    (client_at(address, protocol), client_at(address, protocol))
}

#[tokio::test]
async fn invalid_arguments_are_an_error_and_run_no_loader() {
    crate::fetch::on_all_servers(async |address, protocol| {
        let client = client_at(address, protocol);
        let never = || async { panic!("the loader runs") };
        for (key, policy, expected) in [
            ("", crate::fetch::patient_policy(), ErrorKind::InvalidKey),
            (&*"k".repeat(251), crate::fetch::patient_policy(), ErrorKind::InvalidKey),
            ("key", FetchPolicy::new(std::time::Duration::ZERO), ErrorKind::InvalidArguments),
        ] {
            let fetched: Result<Option<bytes::Bytes>, Error> =
                client.fetch_optional::<&str, _, _, _>(key, policy, never).await;
            assert_eq!(fetched.unwrap_err().kind(), expected, "{protocol}: {key:?}");
        }
    })
    .await;
}
