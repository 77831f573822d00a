//! Work on all items of servers: listed by the servers themselves, read and changed in pipelined
//! batches, a bounded number at a time.
//!
//! ```text
//! listing ──> spool ──> sweep: some batches at a time ──> reading ──> sink or storing ──> ledger
//! ```

mod asking;
mod ledger;
mod line;
mod listing;
mod losses;
mod meter;
mod options;
mod pace;
mod placing;
mod reading;
mod sink;
mod source;
mod spool;
mod storing;
mod sweep;

pub(crate) use asking::Asker;
pub(crate) use ledger::Ledger;
pub(crate) use line::{Entry, Lines, write as write_line};
pub(crate) use listing::{Listed, Scope, is_expired, list};
pub(crate) use losses::{Loss, Lost};
pub(crate) use meter::Meter;
pub(crate) use options::Options;
pub(crate) use pace::Pace;
pub(crate) use reading::{Found, Fresh, Reader};
pub(crate) use sink::Sink;
pub(crate) use source::{Source, Taking, sum, total};
pub(crate) use storing::{Item, Store, Stored};
pub(crate) use sweep::{Sweep, sweep};

/// How many items a batch has at most, and how much memory they may take at the server: what is in
/// memory here is as bounded as that.
pub(crate) const BATCH: usize = 500;
pub(crate) const BATCH_BYTES: u64 = 1 << 20;

/// How many batches are worked on at a time.
const IN_FLIGHT: usize = 6;
