//! What the reply to a request may look like: what a request in flight is remembered by.

use crate::types::operation::Operation;

/// What the reply to a request may look like.
///
/// The encoder returns it and the decoder needs it: a text line alone does not show
/// what they answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    pub(crate) operation: Operation,
    /// Whether the usual outcome has no reply.
    pub(crate) quiet: bool,
    pub(crate) returns_key: bool,
    pub(crate) shape: Shape,
}

/// Whether a success brings a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// It does.
    Value,
    /// It does not.
    Bare,
    /// It may.
    Either,
}

impl Expected {
    /// The usual non-quiet reply to this operation.
    pub fn new(operation: Operation) -> Self {
        use Operation::{Decrement, Increment, Version};
        let shape = match operation {
            Increment | Decrement | Version => Shape::Value,
            _ if operation.is_fetch() => Shape::Value,
            _ => Shape::Bare,
        };
        Self { operation, quiet: false, returns_key: false, shape }
    }

    /// The same, but a success may have a value or none: for requests that were not encoded here.
    #[must_use]
    pub fn with_or_without_value(self) -> Self {
        Self { shape: Shape::Either, ..self }
    }

    /// A no-op.
    pub(crate) const NOOP: Self =
        Self { operation: Operation::NoOp, quiet: false, returns_key: false, shape: Shape::Bare };

    /// A plain get.
    pub(crate) const GET: Self =
        Self { operation: Operation::Get, quiet: false, returns_key: false, shape: Shape::Value };

    /// What was asked for.
    pub fn operation(self) -> Operation {
        self.operation
    }

    /// Whether the usual outcome has no reply.
    pub fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Whether nothing is asked for but an answer.
    pub(crate) fn is_noop(self) -> bool {
        // The text protocol has no command that does nothing, so it asks for the version.
        self.operation == Operation::NoOp || (self.operation == Operation::Version && self.shape == Shape::Bare)
    }
}
