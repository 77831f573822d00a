//! The expected form of a reply, stored with the pending request.

use crate::types::operation::Operation;

/// The expected form of the reply to a request.
///
/// The encoder returns it, and the decoder needs it, because a text line does not identify its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyShape {
    pub(crate) operation: Operation,
    /// Whether the usual outcome has no reply.
    pub(crate) quiet: bool,
    pub(crate) returns_key: bool,
    pub(crate) shape: Shape,
}

/// Whether a successful reply has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// It has a value.
    Value,
    /// It has no value.
    Bare,
    /// It may have a value.
    Either,
}

impl ReplyShape {
    /// Creates the expected reply to a non-quiet request of this operation.
    pub fn new(operation: Operation) -> Self {
        use Operation::{Decrement, Increment, Version};
        let shape = match operation {
            Increment | Decrement | Version => Shape::Value,
            _ if operation.is_fetch() => Shape::Value,
            _ => Shape::Bare,
        };
        Self { operation, quiet: false, returns_key: false, shape }
    }

    /// Lets a successful reply have a value or not: for requests that were not encoded by this crate.
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

    /// Returns the operation of the request.
    pub fn operation(self) -> Operation {
        self.operation
    }

    /// Returns whether the usual outcome has no reply.
    pub fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Returns whether the request is a no-op.
    pub(crate) fn is_noop(self) -> bool {
        // The text protocol has no no-op, so `version` is sent instead.
        self.operation == Operation::NoOp || (self.operation == Operation::Version && self.shape == Shape::Bare)
    }
}
