//! Reports operations of several requests, and those that reach no server, to observers.

use std::sync::Arc;

use crate::client::Client;
use crate::error::Error;
use crate::observe::{Counts, OperationGuard, OperationName, OperationStarted, Outcome, Parent, Scope};
use crate::proto::{Reply, Request};
use crate::routing::cluster::Route;
use crate::routing::router;
use crate::routing::router::RoutedCall;
use crate::server::call::ServerCall;
use crate::server::request_reports::{outcome_of, started};

/// Reports the start of a routed call to observers, if there are any.
pub(super) fn begin_routed(client: &Client, call: &ServerCall<'_>, route: &Route) -> OperationGuard {
    let config = client.config();
    let server = route.copies.first().and_then(|server| server.observed.as_ref());
    let event = started(call.operation_name(), &call.request, &config.namespace);
    OperationGuard::begin(&config.observers, Parent::of(client.scope()), &OperationStarted { server, ..event })
}

/// Reports the end of a routed call to observers.
pub(super) fn until_end<'a>(sent: RoutedCall<'a>, operation: OperationGuard, call: &ServerCall<'a>) -> RoutedCall<'a> {
    if !operation.is_open() {
        return sent;
    }
    let (name, request) = (call.operation_name(), call.request.clone());
    Box::pin(async move {
        let router::RoutedReply { reply, server } = sent.await;
        let (outcome, counts) = outcome_of(name, &request, reply.status);
        operation.end_at(outcome, counts, server.as_ref().and_then(|server| server.observed.as_ref()));
        router::RoutedReply { reply, server }
    })
}

/// Reports a call that was refused before a server was chosen to observers, if there are any.
pub(super) fn report_refused_call(client: &Client, call: &ServerCall<'_>, reply: &Reply) {
    report_refusal(client, call.operation_name(), &call.request, reply);
}

/// Reports a request without a server to observers, if there are any.
pub(super) fn report_no_server(client: Option<&Client>, request: &Request<'_>, reply: &Reply) {
    if let Some(client) = client {
        report_refusal(client, OperationName::of(request.operation()), request, reply);
    }
}

#[cold]
fn report_refusal(client: &Client, name: OperationName, request: &Request<'_>, reply: &Reply) {
    let config = client.config();
    let event = started(name, request, &config.namespace);
    let operation = OperationGuard::begin(&config.observers, Parent::of(client.scope()), &event);
    let (outcome, counts) = outcome_of(name, request, reply.status);
    operation.end(outcome, counts);
}

/// Reports the start of a request whose reply is discarded to observers.
pub(super) fn begin_no_reply(client: &Client) -> OperationGuard {
    let event = OperationStarted::new(OperationName::SendNoReply, 1, &client.config().namespace);
    OperationGuard::begin(&client.config().observers, Parent::None, &event)
}

/// A client whose requests are reported as parts of one operation.
pub(crate) struct Observed<'a> {
    client: &'a Client,
    /// The client scoped to the operation; `None` if it is not observed.
    scoped: Option<Client>,
    guard: OperationGuard,
}

impl Client {
    /// Returns whether operations on this handle are reported to observers.
    pub(crate) fn is_observed(&self) -> bool {
        self.scope().is_none() && !self.config().observers.is_empty()
    }

    /// Reports the start of an operation of several requests to observers, if there are any.
    pub(crate) fn observe(&self, operation: OperationName, key: &[u8]) -> Observed<'_> {
        if !self.is_observed() {
            return Observed::none(self);
        }
        let namespace = &self.config().namespace;
        let server = {
            let cluster = self.cluster();
            let server = cluster.server_of_key(&[namespace, key].concat());
            server.and_then(|server| server.observed.clone())
        };
        let started = OperationStarted::new(operation, 1, namespace);
        Observed::begin(self, &OperationStarted { server: server.as_ref(), key: Some(key), ..started })
    }

    /// Reports the start of an operation on many keys, or on none, to observers, if there are any.
    pub(crate) fn observe_many(&self, operation: OperationName, keys: usize) -> Observed<'_> {
        match self.is_observed() {
            true => Observed::begin(self, &OperationStarted::new(operation, keys, &self.config().namespace)),
            false => Observed::none(self),
        }
    }

    /// Records for observers how a fetch obtained its value.
    pub(crate) fn note_fetched(&self, outcome: Outcome) {
        self.note(outcome, Counts::found(matches!(outcome, Outcome::Hit | Outcome::Stale)));
    }

    /// Records for observers the outcome of the operation that this handle belongs to.
    pub(crate) fn note(&self, outcome: Outcome, counts: Counts) {
        if let Some(scope) = self.scope() {
            scope.note(outcome, counts);
        }
    }

    /// Converts an error to the loader's error type, and records its kind for observers.
    pub(crate) fn fail<E: From<Error>>(&self, error: Error) -> E {
        self.note(Outcome::Failed(error.kind()), Counts::default());
        E::from(error)
    }
}

impl<'a> Observed<'a> {
    /// Creates an operation that is not observed.
    pub(crate) fn none(client: &'a Client) -> Self {
        Self { client, scoped: None, guard: OperationGuard::default() }
    }

    fn begin(client: &'a Client, event: &OperationStarted<'_>) -> Self {
        let guard = OperationGuard::begin(&client.config().observers, Parent::None, event);
        Self { client, scoped: Some(client.within(guard.scope().cloned())), guard }
    }

    /// Returns the client to use.
    pub(crate) fn client(&self) -> &Client {
        self.scoped.as_ref().unwrap_or(self.client)
    }

    /// Returns the operation's scope; `None` if it is not observed.
    pub(crate) fn scope(&self) -> Option<&Arc<Scope>> {
        self.guard.scope()
    }

    /// Converts into the guard of the operation.
    pub(crate) fn into_guard(self) -> OperationGuard {
        self.guard
    }
}
