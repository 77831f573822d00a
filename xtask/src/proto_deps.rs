//! The protocol layer alone: built without default features, the library depends on `bytes` and
//! on nothing else.

use crate::Failure;
use crate::step::output_of;

/// Fails when the library without default features has another dependency than `bytes`.
pub(crate) fn check() -> Result<(), Failure> {
    let tree = output_of(TREE)?;
    let packages = packages(&tree);
    if packages == ALLOWED {
        return Ok(());
    }
    Err(format!("without default features the packages are {packages:?} instead of {ALLOWED:?}"))
}

/// The names in the output of `cargo tree`, one of each, in order.
fn packages(tree: &str) -> Vec<&str> {
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    let mut names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

const ALLOWED: [&str; 2] = ["bytes", "remcache"];
// The package is named: `--workspace` would unify features and hide a leak.
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
