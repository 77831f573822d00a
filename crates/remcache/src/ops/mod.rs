//! Operations: what a caller builds and awaits.

pub(crate) mod all_servers;
pub(crate) mod builder;
pub(crate) mod call;
pub(crate) mod call_many;
pub(crate) mod inspection;
pub(crate) mod multi;
pub(crate) mod multi_builder;
pub(crate) mod primary;
pub(crate) mod requests;
pub(crate) mod server;
pub(crate) mod single;

pub use crate::server::reply_stream::ReplyStream;
pub use all_servers::{FlushAll, ServerResults};
pub use builder::{
    Act, Ask, Command, Count, Delete, Exist, Extend, Fetch, FetchWithSentinels, FetchWithTtl, Flush, Inspect, Kind,
    Store, Touch,
};
pub use call::Call;
pub use call_many::CallMany;
pub use multi_builder::{
    CountMany, DeleteMany, Entry, ExtendMany, FetchMany, KeyNumber, KeyOnly, KeyValue, Many, Outcomes, StoreMany,
    TouchMany,
};
pub use server::{Stat, Stats};
