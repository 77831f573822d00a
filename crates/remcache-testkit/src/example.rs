//! Example programs as processes of a test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;
use std::{env, fs};

/// Returns the path of an example's program, built from the current sources of its package.
///
/// `package` is the package's directory: `env!("CARGO_MANIFEST_DIR")`.
///
/// # Panics
/// Panics if the example cannot be built.
#[must_use]
pub fn example(package: &str, name: &str) -> PathBuf {
    let test = env::current_exe().expect("a running test has a path");
    let profile = test.parent().and_then(Path::parent).expect("tests are built in PROFILE/deps");
    let program = profile.join("examples").join(format!("{name}{}", env::consts::EXE_SUFFIX));
    let built = fs::metadata(&program).and_then(|file| file.modified()).ok();
    let sources = ["src", "examples"].map(|directory| Path::new(package).join(directory));
    let changed = sources.iter().filter_map(|directory| last_modified(directory)).max();
    if built.is_none() || built < changed {
        let mut cargo = Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
        cargo.current_dir(package).args(["build", "--all-features", "--example", name]);
        cargo.arg("--target-dir").arg(profile.parent().expect("profiles are in the target directory"));
        cargo.args(profile.ends_with("release").then_some("--release"));
        let status = cargo.status().expect("cargo runs");
        assert!(status.success(), "{cargo:?}");
    }
    program
}

/// Returns when a file below the directory was last modified.
fn last_modified(directory: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path());
    entries
        .filter_map(|path| if path.is_dir() { last_modified(&path) } else { fs::metadata(path).ok()?.modified().ok() })
        .max()
}
