//! memcached's classic text wire.

pub mod serve;
