//! Work on all items of servers: the servers list them, and pipelined batches read and change them, a bounded
//! number at a time.
//!
//! ```text
//! list ──> spool ──> pipeline: several batches at a time ──> fetch ──> writer or store ──> summary
//! ```

mod dump_format;
mod dump_writer;
mod fetch;
mod list;
mod listing_error;
mod options;
mod pipeline;
mod placement;
mod progress;
mod rate_limit;
mod request;
mod scanner;
mod server_watch;
mod skip_reason;
mod spool;
mod store;
mod summary;

pub(crate) use dump_format::{DumpItem, DumpReader, InputError, InvalidItem, write as write_item};
pub(crate) use dump_writer::DumpWriter;
pub(crate) use fetch::{FetchedItem, Fetcher, SourceState};
pub(crate) use list::{KeyScope, ListEvent, is_expired, list};
pub(crate) use listing_error::count_listing_error;
pub(crate) use options::BulkOptions;
pub(crate) use pipeline::{BatchJob, run_pipeline};
pub(crate) use placement::{Placement, placement_warning};
pub(crate) use progress::BulkProgress;
pub(crate) use rate_limit::RateLimit;
pub(crate) use request::Requester;
pub(crate) use scanner::{Scanner, SelectArgs, sum, total};
pub(crate) use server_watch::{Role, ServerWatch};
pub(crate) use skip_reason::{SkipReason, Skipped};
pub(crate) use store::{ItemStore, NewItem, StoreResult};
pub(crate) use summary::Summary;

/// The limits of a batch: its items, and their bytes at the server. They bound the memory of the tool.
pub(crate) const BATCH: usize = 500;
pub(crate) const BATCH_BYTES: u64 = 1 << 20;

/// The number of batches that are processed at the same time.
const IN_FLIGHT: usize = 6;
