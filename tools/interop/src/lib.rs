//! Compares remcache with other clients on the same servers: each must find what the other has stored.
//!
//! The clients are programs in `clients/` with a common line protocol; [`PEERS`] is the table of them.

#![expect(clippy::exhaustive_structs, clippy::exhaustive_enums, reason = "the package is not published")]

mod install;
pub mod keys;
mod live;
mod location;
mod misses;
mod peer;
mod program;
pub mod report;
mod routes;
mod run;
mod servers;
mod value;
mod values;

pub use install::{Installed, install};
pub use location::Location;
pub use misses::Misses;
pub use peer::{Keys, PEERS, Peer, Setup, Source, Writing, find};
pub use program::{Program, Setting, Written};
pub use report::Report;
pub use run::{PlacementResult, Run, Scale, compare_values};
pub use value::{Value, catalogue};
pub use values::{Exchange, Reading, Recorded, ValueResult};
