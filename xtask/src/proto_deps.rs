//! Checks the dependencies of the crates without I/O: each may only depend on the packages listed here.

use crate::Failure;
use crate::step::output_of;

/// Fails if a crate without I/O has a dependency that is not in the table.
pub(crate) fn check() -> Result<(), Failure> {
    for (package, allowed) in CRATES {
        let tree = output_of(&tree(package))?;
        let others: Vec<&str> = dependencies(&tree).filter(|name| !allowed.contains(name)).collect();
        if !others.is_empty() {
            let allowed = allowed.join(", ");
            return Err(format!("{package} depends on {}; allowed are only {allowed}", others.join(", ")));
        }
    }
    Ok(())
}

/// Returns the command that prints the direct dependencies of one package.
fn tree(package: &str) -> [&str; 9] {
    // One package only: `--workspace` would unify features and hide an additional dependency.
    [
        "cargo",
        "tree",
        "--package",
        package,
        "--edges=normal",
        "--target=all",
        "--prefix=none",
        "--depth=1",
        "--all-features",
    ]
}

/// Returns the package names in the output of `cargo tree`, without the first one, which is the package itself.
fn dependencies(tree: &str) -> impl Iterator<Item = &str> {
    tree.lines().skip(1).filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty())
}

/// Each crate without I/O, with its direct dependencies. None of them may be a runtime or open a socket.
const CRATES: &[(&str, &[&str])] = &[
    ("remcache-proto", &["bytes", "itoa", "memchr"]),
    ("remcache-distribution", &["crc32fast", "libm", "md-5", "sha1", "sha2", "strsim", "xxhash-rust"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_without_the_package_itself() {
        let tree = "remcache-proto v0.1.0 (/here)\nbytes v1.12.2\ntokio v1.54.1 (*)\n\n";
        assert_eq!(dependencies(tree).collect::<Vec<_>>(), ["bytes", "tokio"]);
    }

    #[test]
    fn no_runtime_is_allowed() {
        let allowed: Vec<&&str> = CRATES.iter().flat_map(|(_, allowed)| *allowed).collect();
        assert!(["tokio", "mio", "socket2", "async-std", "rustls"].iter().all(|name| !allowed.contains(&name)));
    }
}
