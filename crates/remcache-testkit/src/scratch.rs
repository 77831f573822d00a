//! Directories that last as long as a test.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

/// An empty directory, removed with all it holds when the value is dropped.
///
/// Every user may write into it: a memcached that root starts runs as `nobody`, and makes its
/// Unix socket there.
///
/// # Panics
/// When the directory cannot be made.
#[must_use]
pub fn scratch() -> TempDir {
    let dir = tempfile::Builder::new().prefix("remcache-").tempdir().expect("the temporary directory is writable");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).expect("the owner may change the permissions");
    dir
}
