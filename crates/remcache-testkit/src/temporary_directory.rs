//! Temporary directories.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

/// Creates an empty directory, which is removed with its contents when the value is dropped.
///
/// All users may write into it, because a memcached that root starts drops its privileges and creates its Unix socket
/// there.
///
/// # Panics
/// Panics if the directory cannot be created.
#[must_use]
pub fn scratch() -> TempDir {
    let dir = tempfile::Builder::new().prefix("remcache-").tempdir().expect("the temporary directory is writable");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).expect("the owner can change the permissions");
    dir
}
