//! Operations: builders that callers configure and await.

pub(crate) mod all_servers;
pub(crate) mod builder;
pub(crate) mod call;
pub(crate) mod call_many;
pub(crate) mod inspection;
pub(crate) mod many_stream;
pub(crate) mod multi;
pub(crate) mod multi_builder;
pub(crate) mod operation_reports;
pub(crate) mod outcomes;
pub(crate) mod pinned_route;
pub(crate) mod raw_requests;
pub(crate) mod server;
pub(crate) mod single;

pub use crate::server::reply_stream::ReplyStream;
pub use all_servers::{FlushAll, ServerResults};
pub use builder::{
    Append, Command, ConditionalDelete, ConditionalSet, Delete, Flush, Get, GetWithSentinels, GetWithTtl, Increment,
    Inspect, Noop, Set, Touch, Version,
};
#[doc(hidden)]
pub use builder::{Kind, kind};
pub use call::Call;
pub use call_many::CallMany;
pub use many_stream::{DeleteStream, GetStream, ManyStream, SetStream};
pub use multi_builder::{AppendMany, ConditionalSetMany, DeleteMany, GetMany, IncrementMany, Many, SetMany, TouchMany};
#[doc(hidden)]
pub use multi_builder::{Entry, KeyDelta, KeyOnly, KeyValue};
pub use outcomes::Outcomes;
pub use server::{Stat, Stats};
