//! remcache and other clients on the same servers: each finds what the other has stored.
//!
//! The clients are programs in `interop/`, which speak one line protocol; [`PEERS`] says which there are.

mod install;
mod location;
mod peer;
mod program;
mod value;
mod values;

pub use install::{Installed, install};
pub use location::Location;
pub use peer::{Keys, PEERS, Peer, Setup, Source, find};
pub use program::{Program, Setting, Written};
pub use value::{Value, catalogue};
pub use values::{Recorded, record};
