//! A loader that begins and ends when the test says so.

use std::sync::Arc;

use remcache::recipes::FetchPolicy;
use remcache::{Client, Error, ErrorKind};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use crate::fetch::client_at;

/// How a loader ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    Value(&'static str),
    Nothing,
    Failure,
    Panic,
}

/// A fetch in a task of its own, whose loader has begun and waits for its ending.
pub(crate) struct Held {
    pub(crate) task: JoinHandle<Result<Option<bytes::Bytes>, String>>,
    ending: oneshot::Sender<Ending>,
}

/// An error that is the loader's own.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) String);

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

/// The loader of a [`Held`].
async fn ends(begun: Arc<Semaphore>, ending: oneshot::Receiver<Ending>) -> Result<Option<&'static str>, Failed> {
    begun.add_permits(1);
    match ending.await {
        Ok(Ending::Value(value)) => Ok(Some(value)),
        Ok(Ending::Nothing) => Ok(None),
        Ok(Ending::Failure) => Err(Failed("the source failed".to_owned())),
        Ok(Ending::Panic) => panic!("the loader panics, as it was told to"),
        Err(_) => std::future::pending().await,
    }
}

impl Held {
    /// Begins a fetch, and waits until its loader has begun.
    pub(crate) async fn begin(client: &Client, freshness: FetchPolicy) -> Self {
        let (held, begun) = Self::ask(client, freshness);
        begun.acquire().await.unwrap().forget();
        held
    }

    /// Begins a fetch, and tells when its loader begins.
    pub(crate) fn ask(client: &Client, freshness: FetchPolicy) -> (Self, Arc<Semaphore>) {
        let begun = Arc::new(Semaphore::new(0));
        let (ending, told) = oneshot::channel();
        let (client, counter) = (client.clone(), Arc::clone(&begun));
        let task = tokio::spawn(async move {
            let outcome = client.fetch("key", freshness, move || ends(counter, told)).await;
            outcome.map_err(|Failed(text)| text)
        });
        (Self { task, ending }, begun)
    }

    /// The task that fetches, and what ends the loader.
    pub(crate) fn apart(self) -> (JoinHandle<Result<Option<bytes::Bytes>, String>>, oneshot::Sender<Ending>) {
        (self.task, self.ending)
    }

    /// Ends the loader, and gives what the fetch gave.
    pub(crate) async fn end(self, ending: Ending) -> Result<Option<bytes::Bytes>, String> {
        self.ending.send(ending).unwrap();
        self.task.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

/// Two clients of a server: what one loads, the other knows only from the server.
pub(crate) fn two(address: &str, protocol: remcache::config::ProtocolSetting) -> (Client, Client) {
    (client_at(address, protocol), client_at(address, protocol))
}

#[tokio::test]
async fn what_the_caller_did_wrong_is_an_error_and_runs_no_loader() {
    crate::fetch::on_all(async |address, protocol| {
        let client = client_at(address, protocol);
        let never = || async { panic!("it is asked for nothing") };
        for (key, freshness, expected) in [
            ("", crate::fetch::patient_freshness(), ErrorKind::InvalidKey),
            (&*"k".repeat(251), crate::fetch::patient_freshness(), ErrorKind::InvalidKey),
            ("key", FetchPolicy::new(std::time::Duration::ZERO), ErrorKind::InvalidArguments),
        ] {
            let outcome: Result<Option<bytes::Bytes>, Error> =
                client.fetch::<&str, _, _, _>(key, freshness, never).await;
            assert_eq!(outcome.unwrap_err().kind(), expected, "{protocol}: {key:?}");
        }
    })
    .await;
}
