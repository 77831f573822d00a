//! Types shared by all protocols: requests, replies, statuses, keys.

pub(crate) mod cow_bytes;
pub(crate) mod error;
pub(crate) mod key;
pub(crate) mod meta_options;
pub(crate) mod operation;
pub(crate) mod protocol;
pub(crate) mod reply;
pub(crate) mod reply_shape;
pub(crate) mod request;
pub(crate) mod status;
pub(crate) mod status_table;
pub(crate) mod ttl;
pub(crate) mod version;
