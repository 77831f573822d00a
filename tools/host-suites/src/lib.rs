//! Runs the test suites of the projects that the adapters plug into, on real memcached servers.
//!
//! The suites are not copied: the build script finds them in the published sources that cargo has unpacked, and the
//! tests of this package include them from there.
