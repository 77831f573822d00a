//! Tests of remcache on a simulated network, in `tests/`.
//!
//! They are a package of their own so that examples and tests of the library are built without the simulator.
