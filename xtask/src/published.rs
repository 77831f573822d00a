//! Checks of the published packages: other toolchains and systems, features, dependencies, and the public API.

use crate::step::{Step, output_of};
use crate::{Failure, root};
use std::fs;
use std::path::Path;

/// Checks the published packages with the oldest supported Rust, which rustup installs.
pub(crate) fn check_msrv() -> Result<(), Failure> {
    let version = msrv()?;
    let toolchain = ["toolchain", "install", &version, "--profile", "minimal", "--no-self-update"];
    Step::program(format!("Rust {version}"), "rustup").args(toolchain).run()?;
    let check = ["run", &version, "cargo", "check", "--locked", "--all-features"];
    Step::program(format!("check with Rust {version}"), "rustup").args(check).args(selection(PACKAGES)).run()
}

/// Checks what does not need a memcached server, on any system: the published packages, and the tests of crates without
/// I/O.
pub(crate) fn check_portable() -> Result<(), Failure> {
    Step::cargo("published packages", ["check", "--all-features"]).args(selection(PACKAGES)).run()?;
    Step::cargo("tests of crates without I/O", ["test", "--all-features"]).args(selection(WITHOUT_IO)).run()
}

/// Checks the published packages for Windows. Without the target's standard library it is built from its source, which
/// nightly toolchains and Debian's package `rust-web-src` have.
pub(crate) fn check_windows() -> Result<(), Failure> {
    const TARGET: &str = "x86_64-pc-windows-gnu";
    let check = Step::cargo("published packages for Windows", ["check", "--all-features", "--target", TARGET]);
    let check = check.args(selection(PACKAGES));
    let sysroot = output_of(&["rustc", "--print", "sysroot"])?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib");
    if library.join(TARGET).exists() || output_of(&["rustup", "target", "add", TARGET]).is_ok() {
        return check.run();
    }
    if library.join("src/rust/library/Cargo.lock").exists() {
        return check.args(["-Zbuild-std"]).env("RUSTC_BOOTSTRAP", "1").run();
    }
    Err(format!("no standard library for {TARGET}: run rustup target add {TARGET}, or rustup component add rust-src"))
}

/// Checks licences, sources and advisories of all dependencies with cargo-deny, by the rules of `deny.toml`.
pub(crate) fn check_dependencies() -> Result<(), Failure> {
    ensure_installed("cargo-deny", &["deny", "--version"])?;
    Step::cargo("dependencies", ["deny", "check", "bans", "licenses", "sources", "advisories"]).run()
}

/// Compares the public API of the libraries with a Git revision, by default `origin/main`.
pub(crate) fn check_semver(args: &[String]) -> Result<(), Failure> {
    let [baseline] = args.first_chunk().cloned().unwrap_or_else(|| ["origin/main".to_owned()]);
    ensure_installed("cargo-semver-checks", &["semver-checks", "--version"])?;
    let libraries = PACKAGES.iter().filter(|package| **package != "remcache-cli");
    let selection = libraries.flat_map(|package| ["-p", *package]);
    Step::cargo("public API", ["semver-checks", "--baseline-rev", &baseline]).args(selection).run()
}

/// Installs a cargo subcommand from crates.io if this command line fails.
fn ensure_installed(package: &str, version: &[&str]) -> Result<(), Failure> {
    let words: Vec<&str> = std::iter::once("cargo").chain(version.iter().copied()).collect();
    if output_of(&words).is_ok() {
        return Ok(());
    }
    Step::cargo(package, ["install", "--locked", package]).run()
}

/// Checks the library without features and with each feature alone.
pub(crate) fn check_features() -> Result<(), Failure> {
    let check = |features: &str| {
        let name = if features.is_empty() { "no features".to_owned() } else { format!("feature {features}") };
        let cargo = ["clippy", "-p", "remcache", "--no-default-features", "--features", features];
        Step::cargo(name, cargo).args(["--", "-D", "warnings"]).run()
    };
    check("")?;
    features()?.iter().try_for_each(|feature| check(feature))
}

/// Returns the oldest supported Rust version, from the manifest of the workspace.
fn msrv() -> Result<String, Failure> {
    let manifest = root().join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
    let version = text.lines().find_map(|line| line.strip_prefix("rust-version = \"")?.strip_suffix('"'));
    version.map(str::to_owned).ok_or_else(|| "Cargo.toml has no rust-version".to_owned())
}

/// Returns the features of the library, from its manifest.
fn features() -> Result<Vec<String>, Failure> {
    let manifest = root().join("crates/remcache/Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
    let section = text.split("\n[").find_map(|section| section.strip_prefix("features]\n")).unwrap_or_default();
    let names = section.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = ["));
    let names: Vec<String> = names.map(|(name, _)| name.to_owned()).filter(|name| name != "default").collect();
    if names.is_empty() { Err(format!("{}: no features", manifest.display())) } else { Ok(names) }
}

/// Returns the published packages in the order in which they have to be published; adapters come last.
pub(crate) fn packages() -> Result<Vec<String>, Failure> {
    let folder = root().join("integrations");
    let mut adapters = Vec::new();
    // A workspace without adapters has no such folder.
    for entry in fs::read_dir(&folder).into_iter().flatten() {
        let entry = entry.map_err(|error| format!("{}: {error}", folder.display()))?;
        let is_published = fs::read_to_string(entry.path().join("Cargo.toml"))
            .is_ok_and(|manifest| !manifest.lines().any(|line| line == "publish = false"));
        if is_published {
            adapters.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    adapters.sort_unstable();
    Ok(PACKAGES.iter().map(|&package| package.to_owned()).chain(adapters).collect())
}

/// Returns the arguments that select packages.
fn selection(packages: &'static [&'static str]) -> impl Iterator<Item = &'static str> {
    packages.iter().flat_map(|package| ["-p", *package])
}

/// In the order in which they have to be published.
pub(crate) const PACKAGES: &[&str] =
    &["remcache-proto", "remcache-distribution", "remcache-server", "remcache", "remcache-cli"];
const WITHOUT_IO: &[&str] = &["remcache-proto", "remcache-distribution"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_rust_and_the_features_are_read_from_the_manifests() {
        let version = msrv().unwrap();
        assert!(version.starts_with("1.") && version.split('.').all(|part| part.parse::<u32>().is_ok()), "{version}");
        let features = features().unwrap();
        assert!(features.iter().any(|feature| feature == "tls"), "{features:?}");
        assert!(features.iter().all(|feature| feature != "default" && !feature.contains(' ')), "{features:?}");
    }

    #[test]
    fn every_package_that_is_published_is_listed() {
        for entry in fs::read_dir(root().join("crates")).unwrap().flatten() {
            let manifest = fs::read_to_string(entry.path().join("Cargo.toml")).unwrap();
            let name = entry.file_name().into_string().unwrap();
            let is_published = !manifest.lines().any(|line| line == "publish = false");
            assert_eq!(PACKAGES.contains(&name.as_str()), is_published, "{name}");
        }
    }
}
