//! Checks of the published packages: other toolchains and systems, features, dependencies, and the public API.

use crate::step::{Step, output_of};
use crate::tools::{self, Need};
use crate::{Failure, root};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Checks the published packages, each with the oldest Rust that it supports, which rustup installs.
pub(crate) fn check_msrv() -> Result<(), Failure> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages()? {
        groups.entry(rust_version(&package)?).or_default().push(package);
    }
    groups.iter().try_for_each(|(version, packages)| check_with(version, packages))
}

fn check_with(version: &str, packages: &[String]) -> Result<(), Failure> {
    let toolchain = ["toolchain", "install", version, "--profile", "minimal", "--no-self-update"];
    Step::program(format!("Rust {version}"), "rustup").args(toolchain).run()?;
    let check = ["run", version, "cargo", "check", "--locked", "--all-features"];
    Step::program(format!("check with Rust {version}"), "rustup").args(check).args(selection(packages)).run()
}

/// Checks everything that needs no memcached server, on any system: the published packages, and the tests of crates
/// without I/O.
pub(crate) fn check_portable() -> Result<(), Failure> {
    Step::cargo("published packages", ["check", "--all-features"]).args(selection(&packages()?)).run()?;
    Step::cargo("tests of crates without I/O", ["test", "--all-features"]).args(selection(WITHOUT_IO)).run()
}

/// Checks the published packages for Windows. Without the target's standard library it is built from its source, which
/// nightly toolchains and Debian's package `rust-web-src` have.
pub(crate) fn check_windows() -> Result<(), Failure> {
    const TARGET: &str = "x86_64-pc-windows-gnu";
    let check = Step::cargo("published packages for Windows", ["check", "--all-features", "--target", TARGET]);
    let check = check.args(selection(&packages()?));
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

/// Checks dependencies with cargo-deny, by the rules of `deny.toml`: all checks, or those that the arguments name.
pub(crate) fn check_dependencies(checks: &[String]) -> Result<(), Failure> {
    ensure_installed("cargo-deny", &["deny", "--version"])?;
    let checked = Step::cargo("dependencies", ["deny", "check"]).args(checks.iter().cloned()).run();
    checked.map_err(|failure| match checks {
        [] => format!(
            "{failure}\nwithout access to the database of advisories, run the other checks:\n  \
             cargo xtask check-dependencies bans licenses sources"
        ),
        _ => failure,
    })
}

/// Compares the public API of the libraries with a Git revision, by default `origin/main`.
pub(crate) fn check_semver(args: &[String]) -> Result<(), Failure> {
    let [baseline] = args.first_chunk().cloned().unwrap_or_else(|| ["origin/main".to_owned()]);
    ensure_installed("cargo-semver-checks", &["semver-checks", "--version"])?;
    let libraries: Vec<String> = packages()?.into_iter().filter(|package| package != "remcache-cli").collect();
    Step::cargo("public API", ["semver-checks", "--baseline-rev", &baseline]).args(selection(&libraries)).run()
}

/// Installs a cargo subcommand from crates.io if this command line fails, or fails with the commands that install it.
fn ensure_installed(package: &str, version: &[&str]) -> Result<(), Failure> {
    let words: Vec<&str> = std::iter::once("cargo").chain(version.iter().copied()).collect();
    if output_of(&words).is_ok() {
        return Ok(());
    }
    let installed = Step::cargo(package, ["install", "--locked", package]).run();
    installed.map_err(|failure| {
        format!(
            "{failure}\n{package} is missing and could not be installed from crates.io. Install it by one of:\n  \
             cargo install --locked {package}\n  cargo binstall {package}    # prebuilt, with cargo-binstall"
        )
    })
}

/// Lints the packages with features: without any, with each alone, and with each pair of groups, with cargo-hack. Tests
/// what the tool says where a feature is missing.
pub(crate) fn check_features() -> Result<(), Failure> {
    tools::ensure(&[Need::Checks])?;
    let messages = ["test", "-p", "remcache-cli", "--test", "missing_features"];
    Step::cargo("messages of missing features", messages).run()?;
    ensure_installed("cargo-hack", &["hack", "--version"])?;
    let clippy = |name: &str, sets: &[&str]| {
        let step = Step::cargo(name, ["hack", "clippy"]).args(sets.iter().copied());
        step.args(selection(WITH_FEATURES)).args(["--", "-D", "warnings"]).run()
    };
    clippy("each feature", &["--each-feature"])?;
    let pairs = ["--feature-powerset", "--depth", "2", "--ignore-unknown-features", "--exclude-features", NOT_PAIRED];
    let groups = FEATURE_GROUPS.iter().flat_map(|&group| ["--group-features", group]);
    clippy("pairs of features", &pairs.into_iter().chain(groups).collect::<Vec<_>>())
}

/// Tests TLS with each cryptography provider alone, and without one.
pub(crate) fn check_tls_providers() -> Result<(), Failure> {
    tools::ensure(&[Need::Tests])?;
    ["ring", "aws-lc-rs", ""].iter().try_for_each(|feature| {
        let name = if feature.is_empty() { "TLS without a provider".to_owned() } else { format!("TLS with {feature}") };
        Step::cargo(name, ["test", "-p", "remcache-tls-provider", "--features", feature]).run()
    })
}

/// Returns the oldest Rust version that a published package supports.
fn rust_version(package: &str) -> Result<String, Failure> {
    let own = fs::read_to_string(folder(package).join("Cargo.toml")).map_err(|error| format!("{package}: {error}"))?;
    let workspace = fs::read_to_string(root().join("Cargo.toml")).map_err(|error| format!("Cargo.toml: {error}"))?;
    let version = [own, workspace].iter().find_map(|text| rust_version_of(text).map(str::to_owned));
    version.ok_or_else(|| "Cargo.toml has no rust-version".to_owned())
}

fn rust_version_of(manifest: &str) -> Option<&str> {
    manifest.lines().find_map(|line| line.strip_prefix("rust-version = \"")?.strip_suffix('"'))
}

/// Returns the folder of a published package.
pub(crate) fn folder(package: &str) -> PathBuf {
    let folder = if PACKAGES.contains(&package) { "crates" } else { "integrations" };
    root().join(folder).join(package)
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
fn selection(packages: &[impl AsRef<str>]) -> Vec<String> {
    packages.iter().flat_map(|package| ["-p".to_owned(), package.as_ref().to_owned()]).collect()
}

/// In the order in which they have to be published.
pub(crate) const PACKAGES: &[&str] =
    &["remcache-proto", "remcache-distribution", "remcache-server", "remcache", "remcache-cli"];
const WITHOUT_IO: &[&str] = &["remcache-proto", "remcache-distribution"];
/// Independent features, which the pairs enable together: each pair of them would double the time.
const FEATURE_GROUPS: &[&str] = &["json,msgpack,postcard", "zstd,lz4,deflate", "metrics,opentelemetry"];
/// Features that select others, and those that only add to `tls`: `check-tls-providers` combines it with the providers.
const NOT_PAIRED: &str = "default,full,ring,aws-lc-rs,dangerous-tls";
const WITH_FEATURES: &[&str] = &["remcache", "remcache-server", "remcache-cli", "remcache-cached", "remcache-opendal"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_of_a_package_with_another_oldest_rust_names_it() {
        let workspace = rust_version("remcache").unwrap();
        assert!(workspace.starts_with("1.") && workspace.split('.').all(|part| part.parse::<u32>().is_ok()));
        for package in packages().unwrap() {
            let version = rust_version(&package).unwrap();
            let readme = fs::read_to_string(folder(&package).join("README.md")).unwrap();
            assert!(version == workspace || readme.contains(&format!("Rust {version}")), "{package}: {version}");
        }
    }

    #[test]
    fn packages_have_what_crates_io_and_docs_rs_show() {
        const KEYS: &[&str] = &[
            "description",
            "license",
            "repository",
            "homepage",
            "documentation",
            "readme",
            "keywords",
            "categories",
            "rust-version",
        ];
        for package in packages().unwrap() {
            let manifest = fs::read_to_string(folder(&package).join("Cargo.toml")).unwrap();
            let has = |key| {
                manifest.lines().any(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with([' ', '.'])))
            };
            let missing: Vec<_> = KEYS.iter().filter(|&&key| !has(key)).collect();
            assert!(missing.is_empty(), "{package} lacks {missing:?}");
            let docs = "[package.metadata.docs.rs]\nall-features = true\n";
            assert!(package == "remcache-cli" || manifest.contains(docs), "{package}");
        }
    }

    #[test]
    fn packages_with_features_are_listed() {
        for package in packages().unwrap() {
            let text = fs::read_to_string(folder(&package).join("Cargo.toml")).unwrap();
            assert_eq!(WITH_FEATURES.contains(&&*package), text.contains("\n[features]\n"), "{package}");
        }
    }

    #[test]
    fn examples_have_names_of_their_own() {
        // cargo puts the examples of all packages into one folder.
        let mut names = Vec::new();
        for package in packages().unwrap() {
            let files = fs::read_dir(folder(&package).join("examples")).into_iter().flatten().flatten();
            names.extend(files.map(|file| file.file_name()));
        }
        let unique: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len(), "{names:?}");
    }

    #[test]
    fn readmes_start_the_examples_of_adapters_as_the_examples_say() {
        let mut commands = 0;
        for adapter in packages().unwrap().iter().filter(|package| !PACKAGES.contains(&package.as_str())) {
            let readme = fs::read_to_string(folder(adapter).join("README.md")).unwrap();
            for file in fs::read_dir(folder(adapter).join("examples")).unwrap().flatten() {
                let example = fs::read_to_string(file.path()).unwrap();
                let command = example.lines().find_map(|line| line.strip_prefix("//! cargo run ")).unwrap();
                assert!(readme.contains(&format!("`cargo run {command}`")), "{adapter}: {command}");
                commands += 1;
            }
        }
        assert!(commands > 5, "{commands}");
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
