//! The builder of recipes, which is also their future.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::observe::{Classify, OperationName};
use crate::proto::Delivery;
use crate::server::call::check_timeout;

/// A multi-command operation: set its [timeout](Recipe::timeout), then await it.
///
/// `E` is [`Error`] or, for [`fetch`](crate::client::Client::fetch), the loader's error.
#[must_use = "an operation does nothing unless it is awaited"]
pub struct Recipe<'a, T, E = Error>(RecipeState<'a, T, E>);

type RecipeFuture<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

enum RecipeState<'a, T, E> {
    Created { client: Client, timeout: Option<Duration>, start: Start<'a, T, E>, report: Option<OperationReport<T, E>> },
    Running(RecipeFuture<'a, T, E>),
    Done,
}

/// The report of a recipe to observers.
struct OperationReport<T, E> {
    name: OperationName,
    subject: Subject,
    judge: Classify<T, E>,
}

/// The keys of a recipe.
enum Subject {
    Key(Vec<u8>),
    /// This number of keys.
    Keys(usize),
}

impl<T, E> OperationReport<T, E> {
    /// Reports the start and the end of the recipe.
    fn run<'a>(self, client: &Client, start: impl FnOnce(Client) -> RecipeFuture<'a, T, E>) -> RecipeFuture<'a, T, E>
    where
        T: 'a,
        E: 'a,
    {
        let Self { name, subject, judge } = self;
        let operation = match subject {
            Subject::Key(key) => client.observe(name, &key),
            Subject::Keys(count) => client.observe_many(name, count),
        };
        let running = start(operation.client().clone());
        let operation = operation.into_guard();
        Box::pin(async move { operation.end_with(judge, running.await) })
    }
}

/// Starts the operation, on a client with its timeout.
type Start<'a, T, E> = Box<dyn FnOnce(Client, Option<Duration>) -> RecipeFuture<'a, T, E> + Send + 'a>;

impl<'a, T, E> Recipe<'a, T, E> {
    /// Creates an operation on a number of keys, which is reported to observers under this name.
    pub(crate) fn for_keys<F>(
        client: &Client,
        name: OperationName,
        keys: usize,
        judge: Classify<T, E>,
        start: impl FnOnce(Client, Option<Duration>) -> F + Send + 'a,
    ) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'a,
    {
        let is_reported = keys > 0 && client.is_observed();
        let report = is_reported.then_some(OperationReport { name, subject: Subject::Keys(keys), judge });
        Self::with_report(client, report, start)
    }

    /// Creates an operation on one key, which is reported to observers under this name.
    pub(crate) fn for_key<F>(
        client: &Client,
        name: OperationName,
        key: impl AsRef<[u8]>,
        judge: Classify<T, E>,
        start: impl FnOnce(Client, Vec<u8>, Option<Duration>) -> F + Send + 'a,
    ) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'a,
    {
        let key = key.as_ref().to_vec();
        let report = client.is_observed().then(|| OperationReport { name, subject: Subject::Key(key.clone()), judge });
        Self::with_report(client, report, move |client, timeout| start(client, key, timeout))
    }

    fn with_report<F>(
        client: &Client,
        report: Option<OperationReport<T, E>>,
        start: impl FnOnce(Client, Option<Duration>) -> F + Send + 'a,
    ) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'a,
    {
        let start: Start<'a, T, E> = Box::new(move |client, timeout| Box::pin(start(client, timeout)));
        Self(RecipeState::Created { client: client.clone(), timeout: None, start, report })
    }

    /// Sets how long the operation may take, with all its requests, retries and waits (default: each request has the
    /// client's [`timeout`](crate::config::Config::timeout)).
    pub fn timeout(self, timeout: Duration) -> Self {
        match self.0 {
            RecipeState::Created { client, start, report, .. } => Self(RecipeState::Created {
                client: client.with_timeout(timeout),
                timeout: Some(timeout),
                start,
                report,
            }),
            // It has started, so its timeout can no longer change.
            state => Self(state),
        }
    }
}

impl<'a, T: 'a, E: From<Error> + 'a> Future for Recipe<'a, T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let RecipeState::Created { .. } = self.0
            && let RecipeState::Created { client, timeout, start, report } =
                mem::replace(&mut self.0, RecipeState::Done)
        {
            let limited = move |client: Client| -> RecipeFuture<'a, T, E> {
                let Some(timeout) = timeout else { return start(client, None) };
                let running = start(client.clone(), Some(timeout));
                Box::pin(within(timeout, running, move |error| client.fail(error)))
            };
            self.0 = RecipeState::Running(match report {
                Some(report) => report.run(&client, limited),
                None => limited(client),
            });
        }
        match &mut self.0 {
            RecipeState::Running(running) => running.as_mut().poll(cx),
            RecipeState::Created { .. } | RecipeState::Done => Poll::Pending,
        }
    }
}

/// Ends an operation after its timeout, with the error as converted by `fail`.
pub(crate) async fn within<T, E>(
    timeout: Duration,
    operation: impl Future<Output = Result<T, E>>,
    fail: impl Fn(Error) -> E,
) -> Result<T, E> {
    check_timeout(timeout).map_err(|reply| fail(Error::from(&reply)))?;
    match tokio::time::timeout(timeout, operation).await {
        Ok(result) => result,
        Err(_) => Err(fail(Error::new(ErrorKind::TimedOut(Delivery::MaybeSent), format!("after {timeout:?}")))),
    }
}

impl<T, E> fmt::Debug for Recipe<'_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipe").finish_non_exhaustive()
    }
}
