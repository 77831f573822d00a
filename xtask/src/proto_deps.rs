//! Checks that the library without default features, which is the protocol layer alone, depends on `bytes` only.

use crate::Failure;
use crate::step::output_of;

/// Fails if the library without default features has a dependency other than `bytes`.
pub(crate) fn check() -> Result<(), Failure> {
    let tree = output_of(TREE)?;
    let packages = packages(&tree);
    if packages == ALLOWED {
        return Ok(());
    }
    Err(format!("without default features the packages are {packages:?} instead of {ALLOWED:?}"))
}

/// Returns the package names in the output of `cargo tree`, sorted and without duplicates.
fn packages(tree: &str) -> Vec<&str> {
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    let mut names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

const ALLOWED: [&str; 2] = ["bytes", "remcache"];
// One package only: `--workspace` would unify features and hide an additional dependency.
const TREE: &[&str] = &[
    "cargo",
    "tree",
    "--package=remcache",
    "--no-default-features",
    "--edges=normal",
    "--target=all",
    "--prefix=none",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_once() {
        let tree = "remcache v0.1.0 (/here)\nbytes v1.12.2\nbytes v1.12.2 (*)\n\n";
        assert_eq!(packages(tree), ALLOWED);
        let leaking = "remcache v0.1.0 (/here)\nbytes v1.12.2\ntokio v1.54.1\n";
        assert_ne!(packages(leaking), ALLOWED);
    }
}
