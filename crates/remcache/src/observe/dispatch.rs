//! Dispatches reports to a client's observers, and isolates their panics.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::{ActiveOperation, ConnectionChanged, Observer, OperationFinished, OperationStarted, ServerChanged};

/// The observers of a client.
#[derive(Clone, Default)]
pub(crate) struct Observers(Option<Arc<[Arc<dyn Observer>]>>);

impl Observers {
    /// Adds an observer.
    pub(crate) fn with(self, observer: impl Observer) -> Self {
        let others = self.0.as_deref().unwrap_or_default();
        Self(Some(others.iter().cloned().chain([Arc::new(observer) as _]).collect()))
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Reports the start of an operation; returns the receivers of its later events.
    pub(crate) fn operation_started(&self, operation: &OperationStarted<'_>) -> Vec<Box<dyn ActiveOperation>> {
        let mut active = Vec::new();
        self.each(|observer| active.extend(observer.operation_started(operation)));
        active
    }

    /// Reports the end of an operation.
    pub(crate) fn operation_finished(&self, active: Vec<Box<dyn ActiveOperation>>, operation: &OperationFinished<'_>) {
        // Most observers return no receiver, and the end of an empty loop costs a few instructions.
        if !active.is_empty() {
            for receiver in active {
                guard(move || receiver.finished(operation));
            }
        }
        self.each(|observer| observer.operation_finished(operation));
    }

    pub(crate) fn connection_changed(&self, change: &ConnectionChanged<'_>) {
        self.each(|observer| observer.connection_changed(change));
    }

    pub(crate) fn server_changed(&self, change: &ServerChanged<'_>) {
        self.each(|observer| observer.server_changed(change));
    }

    fn each(&self, mut report: impl FnMut(&dyn Observer)) {
        for observer in self.0.as_deref().unwrap_or_default() {
            guard(|| report(&**observer));
        }
    }
}

/// Runs an observer's method; `None` if it panicked.
pub(super) fn guard<T>(report: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(report)) {
        Ok(value) => Some(value),
        Err(panic) => {
            // Dropping the payload could panic again.
            std::mem::forget(panic);
            tracing::error!("an observer panicked");
            None
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} observers", self.0.as_deref().unwrap_or_default().len())
    }
}
