//! Tests of remcache on a simulated network, in `tests/`.
//!
//! They are a separate package so that examples and tests of the library are built without the simulator.
