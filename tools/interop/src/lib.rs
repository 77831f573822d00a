//! Compares remcache with other clients on the same servers: each must find what the other has stored.
//!
//! The clients are programs in `clients/` with a common line protocol; [`PEERS`] is the table of them.

#![expect(clippy::exhaustive_structs, clippy::exhaustive_enums, reason = "the package is not published")]

mod install;
pub mod keys;
mod live;
mod misses;
mod peer;
mod program;
pub mod report;
mod routes;
mod run;
mod server_spec;
mod servers;
mod value;
mod values;

pub use install::{Installed, install};
pub use misses::Misses;
pub use peer::{KeyBytes, PEERS, Peer, Placement, Source, ValueEncoding, find};
pub use program::{ClientSettings, Program, WriteResult};
pub use report::Report;
pub use run::{PlacementResult, Runner, Scale, compare_values};
pub use server_spec::ServerSpec;
pub use value::{Value, test_values};
pub use values::{ReadResult, RecordedItem, ValueComparison, ValueResult};
