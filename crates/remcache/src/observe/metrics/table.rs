//! A table by server, operation and outcome that is read without a lock.

use std::fmt;
use std::sync::OnceLock;

use crate::observe::{OperationName, Outcome, ServerId};

/// State for each server (`S`), and for each operation and outcome at a server (`O`), created on first use.
pub(super) struct Table<S, O> {
    /// By the id of the server; the last one is for operations without a server.
    rows: Box<[LazyRow<S, O>]>,
}

/// A row that is created on first use.
type LazyRow<S, O> = OnceLock<Box<ServerRow<S, O>>>;

/// A server's part of a [`Table`].
pub(super) struct ServerRow<S, O> {
    /// The server; `None` for operations without one.
    name: Option<ServerId>,
    pub(super) server: S,
    operations: Box<[OnceLock<O>]>,
}

impl<S, O> Table<S, O> {
    pub(super) fn new() -> Self {
        Self { rows: (0..=ServerId::MAX_INDEX + 1).map(|_| OnceLock::new()).collect() }
    }

    /// Returns the row of a server.
    #[inline]
    pub(super) fn row(&self, server: Option<&ServerId>, make: impl FnOnce(Option<&ServerId>) -> S) -> &ServerRow<S, O> {
        let index = server.map_or(ServerId::MAX_INDEX + 1, ServerId::index);
        self.rows[index].get_or_init(|| Box::new(ServerRow::new(server, make)))
    }
}

impl<S, O> ServerRow<S, O> {
    fn new(name: Option<&ServerId>, make: impl FnOnce(Option<&ServerId>) -> S) -> Self {
        let operations = (0..OperationName::ALL.len() * Outcome::LABELS.len()).map(|_| OnceLock::new());
        Self { name: name.cloned(), server: make(name), operations: operations.collect() }
    }

    /// Returns the instruments of an operation with this outcome.
    #[inline]
    pub(super) fn operation(
        &self,
        operation: OperationName,
        outcome: Outcome,
        make: impl FnOnce(Option<&ServerId>) -> O,
    ) -> &O {
        let index = operation as usize * Outcome::LABELS.len() + outcome.label_index();
        self.operations[index].get_or_init(|| make(self.name.as_ref()))
    }
}

impl<S, O> fmt::Debug for Table<S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers = self.rows.iter().filter_map(OnceLock::get).map(|row| &row.name);
        f.debug_list().entries(servers).finish()
    }
}
