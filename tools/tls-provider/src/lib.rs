//! A separate package for the tests of the cryptography providers, because other tests need both: `cargo xtask
//! check-tls-providers` runs this one with each.
