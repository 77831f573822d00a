//! The names of operations: a closed list, so that labels made of them are bounded.

use std::fmt;

use crate::proto::Operation;

macro_rules! names {
    ($($(#[$doc:meta])* $variant:ident = $name:literal $(: $kind:ident)*;)*) => {
        /// The name of an operation, as the methods of the client say it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum OperationName {
            $($(#[$doc])* $variant,)*
        }

        impl OperationName {
            /// All names.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the name: `get`, `set_many`, `fetch`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Returns whether the operation reads items, so that its keys are hits or misses.
            pub const fn is_read(self) -> bool {
                match self {
                    $(Self::$variant => names!(@read $($kind)*),)*
                }
            }

            /// Returns whether the operation consists of separate operations, one for each key. Reading many keys is
            /// one operation.
            pub const fn is_batch(self) -> bool {
                match self {
                    $(Self::$variant => names!(@batch $($kind)*),)*
                }
            }
        }
    };
    (@read read) => { true };
    (@read $($other:ident)?) => { false };
    (@batch batch) => { true };
    (@batch $($other:ident)?) => { false };
}

names! {
    /// `get`.
    Get = "get": read;
    /// `get_and_touch`.
    GetAndTouch = "get_and_touch": read;
    /// `get_many`.
    GetMany = "get_many": read;
    /// `get_and_touch_many`.
    GetAndTouchMany = "get_and_touch_many": read;
    /// `exists`.
    Exists = "exists": read;
    /// `inspect`.
    Inspect = "inspect": read;
    /// `set`, with or without a condition.
    Set = "set";
    /// `set_many`.
    SetMany = "set_many": batch;
    /// `add`.
    Add = "add";
    /// `add_many`.
    AddMany = "add_many": batch;
    /// `replace`.
    Replace = "replace";
    /// `replace_many`.
    ReplaceMany = "replace_many": batch;
    /// `append`.
    Append = "append";
    /// `append_many`.
    AppendMany = "append_many": batch;
    /// `prepend`.
    Prepend = "prepend";
    /// `prepend_many`.
    PrependMany = "prepend_many": batch;
    /// `delete`, with or without a tombstone.
    Delete = "delete";
    /// `delete_many`.
    DeleteMany = "delete_many": batch;
    /// `touch`.
    Touch = "touch";
    /// `touch_many`.
    TouchMany = "touch_many": batch;
    /// `increment`.
    Increment = "increment";
    /// `increment_many`.
    IncrementMany = "increment_many": batch;
    /// `decrement`.
    Decrement = "decrement";
    /// `decrement_many`.
    DecrementMany = "decrement_many": batch;
    /// `call_many`.
    CallMany = "call_many": batch;
    /// `send_no_reply`: a request without a reply.
    SendNoReply = "send_no_reply";
    /// `fetch`, with or without its loader.
    Fetch = "fetch": read;
    /// `fetch_many`.
    FetchMany = "fetch_many": read;
    /// The reload of a value that `fetch` has returned although it was due.
    Refresh = "refresh";
    /// `invalidate`.
    Invalidate = "invalidate";
    /// `update`.
    Update = "update";
    /// `take`.
    Take = "take": read;
    /// `append_or_create`.
    AppendOrCreate = "append_or_create";
    /// `increment_or_create`.
    IncrementOrCreate = "increment_or_create";
    /// `lock`, with the time waited for another holder.
    Lock = "lock";
    /// `renew` of a lock.
    Renew = "renew";
    /// `unlock`, or the drop of a lock.
    Unlock = "unlock";
    /// `acquire` of a limiter.
    Acquire = "acquire";
    /// `flush`, of one server or of all.
    Flush = "flush";
    /// `version`, of one server or of all.
    Version = "version";
    /// `noop`, of one server or of all.
    Noop = "noop";
    /// `stats`.
    Stats = "stats";
    /// `metadump`.
    Metadump = "metadump";
    /// `mgdump`.
    Mgdump = "mgdump";
    /// `watch`.
    Watch = "watch";
    /// A request of another kind, by the direct interface.
    Other = "other";
}

impl OperationName {
    /// Returns the name of one request.
    pub(crate) const fn of(operation: Operation) -> Self {
        match operation {
            Operation::Get => Self::Get,
            Operation::GetAndTouch => Self::GetAndTouch,
            Operation::Set => Self::Set,
            Operation::Add => Self::Add,
            Operation::Replace => Self::Replace,
            Operation::Append => Self::Append,
            Operation::Prepend => Self::Prepend,
            Operation::Delete => Self::Delete,
            Operation::Increment => Self::Increment,
            Operation::Decrement => Self::Decrement,
            Operation::Touch => Self::Touch,
            Operation::Flush => Self::Flush,
            Operation::NoOp => Self::Noop,
            Operation::Version => Self::Version,
            Operation::Stat => Self::Stats,
            Operation::Metadump => Self::Metadump,
            Operation::Mgdump => Self::Mgdump,
            Operation::Watch => Self::Watch,
            _ => Self::Other,
        }
    }

    /// Returns the name of a call with many keys.
    pub(crate) const fn of_many(operation: Operation) -> Self {
        match operation {
            Operation::Get => Self::GetMany,
            Operation::GetAndTouch => Self::GetAndTouchMany,
            Operation::Set => Self::SetMany,
            Operation::Add => Self::AddMany,
            Operation::Replace => Self::ReplaceMany,
            Operation::Append => Self::AppendMany,
            Operation::Prepend => Self::PrependMany,
            Operation::Delete => Self::DeleteMany,
            Operation::Increment => Self::IncrementMany,
            Operation::Decrement => Self::DecrementMany,
            Operation::Touch => Self::TouchMany,
            _ => Self::CallMany,
        }
    }
}

impl fmt::Display for OperationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_in_order() {
        for (index, name) in OperationName::ALL.iter().enumerate() {
            assert_eq!(*name as usize, index);
            assert!(OperationName::ALL[..index].iter().all(|other| other.as_str() != name.as_str()), "{name}");
        }
        assert!(OperationName::Get.is_read() && !OperationName::Get.is_batch());
        assert!(OperationName::SetMany.is_batch() && !OperationName::GetMany.is_batch());
    }
}
