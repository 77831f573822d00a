//! memcached's meta commands.

pub mod serve;
