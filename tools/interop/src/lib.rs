//! remcache and other clients on the same servers: each finds what the other has stored.
//!
//! The clients are programs in `clients/`, which speak one line protocol; [`PEERS`] says which there are.

#![expect(
    clippy::exhaustive_structs,
    clippy::exhaustive_enums,
    reason = "unpublished: all of its users are in this package"
)]

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
pub use run::{Extent, Outcome, Run, compare_values};
pub use value::{Value, catalogue};
pub use values::{Exchange, Reading, Recorded, ValueOutcome};
