//! A table by server, operation and outcome that is read without a lock.

use std::fmt;
use std::sync::OnceLock;

use super::{OperationName, Outcome, ServerName};

/// What is kept for each server (`S`), and for each operation with one outcome at a server (`O`), made when it is first
/// needed.
pub(super) struct Table<S, O> {
    /// By the id of the server; the last one is for operations without a server.
    rows: Box<[LazyRow<S, O>]>,
}

/// A row that is made when it is first needed.
type LazyRow<S, O> = OnceLock<Box<Row<S, O>>>;

/// A server's part of a [`Table`].
pub(super) struct Row<S, O> {
    /// The label of the server; empty for operations without one.
    pub(super) label: String,
    pub(super) server: S,
    operations: Box<[OnceLock<O>]>,
}

impl<S, O> Table<S, O> {
    pub(super) fn new() -> Self {
        Self { rows: (0..=ServerName::MOST + 1).map(|_| OnceLock::new()).collect() }
    }

    /// The row of a server.
    #[inline]
    pub(super) fn row(&self, server: Option<&ServerName>, make: impl FnOnce(&str) -> S) -> &Row<S, O> {
        let index = server.map_or(ServerName::MOST + 1, ServerName::id);
        self.rows[index].get_or_init(|| Box::new(Row::new(server.map_or("", ServerName::label), make)))
    }
}

impl<S, O> Row<S, O> {
    fn new(label: &str, make: impl FnOnce(&str) -> S) -> Self {
        let operations = (0..OperationName::ALL.len() * Outcome::LABELS.len()).map(|_| OnceLock::new());
        Self { label: label.to_owned(), server: make(label), operations: operations.collect() }
    }

    /// What is kept for an operation with this outcome.
    #[inline]
    pub(super) fn operation(&self, operation: OperationName, outcome: Outcome, make: impl FnOnce(&str) -> O) -> &O {
        let index = operation as usize * Outcome::LABELS.len() + outcome.label_index();
        self.operations[index].get_or_init(|| make(&self.label))
    }
}

impl<S, O> fmt::Debug for Table<S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers = self.rows.iter().filter_map(OnceLock::get).map(|row| &row.label);
        f.debug_list().entries(servers).finish()
    }
}
