//! The names of operations: a closed list, so that labels with them are bounded.

use std::fmt;

use crate::proto::Operation;

macro_rules! names {
    ($($(#[$doc:meta])* $variant:ident = $name:literal $(: $kind:ident)*;)*) => {
        /// The name of an operation, which is that of the client's method.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum OperationName {
            $(#[doc = concat!("`", $name, "`.")] $(#[$doc])* $variant,)*
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
    Get = "get": read;
    GetAndTouch = "get_and_touch": read;
    GetMany = "get_many": read;
    GetAndTouchMany = "get_and_touch_many": read;
    Exists = "exists": read;
    Inspect = "inspect": read;
    /// With or without a condition.
    Set = "set";
    SetMany = "set_many": batch;
    Add = "add";
    AddMany = "add_many": batch;
    Replace = "replace";
    ReplaceMany = "replace_many": batch;
    Append = "append";
    AppendMany = "append_many": batch;
    Prepend = "prepend";
    PrependMany = "prepend_many": batch;
    /// With or without a tombstone.
    Delete = "delete";
    DeleteMany = "delete_many": batch;
    Touch = "touch";
    TouchMany = "touch_many": batch;
    Increment = "increment";
    IncrementMany = "increment_many": batch;
    Decrement = "decrement";
    DecrementMany = "decrement_many": batch;
    CallMany = "call_many": batch;
    /// A request without a reply.
    SendNoReply = "send_no_reply";
    /// Whether or not the loader runs.
    Fetch = "fetch": read;
    FetchMany = "fetch_many": read;
    /// The background reload of a value that `fetch` returned while it was due for a refresh.
    Refresh = "refresh";
    Invalidate = "invalidate";
    Update = "update";
    Take = "take": read;
    AppendOrCreate = "append_or_create";
    IncrementOrCreate = "increment_or_create";
    /// Includes the wait for another holder.
    Lock = "lock";
    /// The renewal of a lock.
    Renew = "renew";
    /// The release of a lock, explicit or on drop.
    Unlock = "unlock";
    /// A request to a limiter.
    Acquire = "acquire";
    /// On one server or on all.
    Flush = "flush";
    /// On one server or on all.
    Version = "version";
    /// On one server or on all.
    Noop = "noop";
    Stats = "stats";
    Metadump = "metadump";
    Mgdump = "mgdump";
    Watch = "watch";
    /// Any other request, sent with the low-level interface.
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
