//! A package of its own, because other tests need both cryptography providers: `cargo xtask check-tls-providers` runs
//! this one with each.
