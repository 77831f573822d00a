//! Installs missing packages with apt-get, or prints the command line that installs them.

use super::{Packages, Tool};
use crate::Failure;
use crate::step::{Step, output_of};
use std::path::Path;

/// Installs the packages of these tools, or fails with the command line that does.
pub(super) fn install(missing: &[&Tool]) -> Result<(), Failure> {
    let packages = packages(missing, |packages| packages.debian);
    if packages.is_empty() {
        return Err(advice(missing));
    }
    install_packages(&packages).map_err(|failure| {
        let advice = advice(missing);
        format!("{failure}\n\n{advice}")
    })
}

/// Installs Debian packages, or fails with the command line that does.
pub(super) fn install_packages(packages: &[&str]) -> Result<(), Failure> {
    let Some(sudo) = apt_get_rights() else {
        return Err(format!("not installed; on Debian and Ubuntu: sudo apt-get install -y {}", packages.join(" ")));
    };
    if let Err(failure) = apt_get("package lists", sudo, &["update"]) {
        // Without a network, packages of the present lists may still be in the cache.
        println!("{failure}");
    }
    let install = ["install", "-y", "--no-install-recommends"];
    let words: Vec<&str> = install.into_iter().chain(packages.iter().copied()).collect();
    apt_get("installation", sudo, &words)
}

/// Returns whether a Debian package is installed.
pub(super) fn is_installed(package: &str) -> bool {
    let status = output_of(&["dpkg-query", "-W", "-f", "${db:Status-Status}", package]);
    status.is_ok_and(|status| status == "installed")
}

/// Returns the command lines that install these tools, one per system.
pub(super) fn advice(missing: &[&Tool]) -> String {
    let names: Vec<&str> = missing.iter().map(|tool| tool.name).collect();
    let mut text = format!("not installed: {}\n", names.join(", "));
    for system in SYSTEMS {
        let packages = packages(missing, system.packages);
        if !packages.is_empty() {
            let line = packages.join(" ");
            text += &format!("  {:<16}{} {line}\n", system.name, system.install);
        }
    }
    if missing.iter().any(|tool| tool.packages.debian.is_empty()) {
        text += &format!("  {:<16}rustup component add rustfmt clippy\n", "rustup");
    }
    text
}

struct System {
    name: &'static str,
    install: &'static str,
    packages: fn(&Packages) -> &'static str,
}

const SYSTEMS: &[System] = &[
    System { name: "Debian, Ubuntu", install: "sudo apt-get install -y", packages: |packages| packages.debian },
    System { name: "Fedora", install: "sudo dnf install -y", packages: |packages| packages.fedora },
    System { name: "Arch", install: "sudo pacman -S --needed", packages: |packages| packages.arch },
    System { name: "Homebrew", install: "brew install", packages: |packages| packages.homebrew },
];

/// Returns the packages of these tools on one system, without duplicates.
fn packages(tools: &[&Tool], of: fn(&Packages) -> &'static str) -> Vec<&'static str> {
    let names = tools.iter().map(|tool| of(&tool.packages));
    let mut names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Returns the prefix of an apt-get command that needs root, or `None` if apt-get cannot be used.
fn apt_get_rights() -> Option<&'static [&'static str]> {
    let has_apt = Path::new("/etc/debian_version").exists() && output_of(&["apt-get", "-v"]).is_ok();
    if !has_apt {
        return None;
    }
    if output_of(&["id", "-u"]).is_ok_and(|id| id.trim() == "0") {
        return Some(&[]);
    }
    // `-n` fails instead of asking for a password: there may be no terminal.
    let may_sudo = output_of(&["sudo", "-n", "true"]).is_ok();
    may_sudo.then_some(&["sudo", "-n"])
}

fn apt_get(name: &str, sudo: &[&str], words: &[&str]) -> Result<(), Failure> {
    // Passed by `env`, because sudo does not keep the environment.
    let env = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"];
    let all: Vec<&str> = [sudo, &env, words].concat();
    Step::program(name, all[0]).args(all[1..].iter().copied()).run()
}

#[cfg(test)]
mod tests {
    use super::super::TOOLS;
    use super::*;

    #[test]
    fn advice_names_each_package_once() {
        let all: Vec<&Tool> = TOOLS.iter().collect();
        let advice = advice(&all);
        let debian = advice.lines().find(|line| line.contains("apt-get"));
        let words: Vec<&str> = debian.unwrap().split(' ').collect();
        let count = |name| words.iter().filter(|&&word| word == name).count();
        for tool in all {
            if !tool.packages.debian.is_empty() {
                assert_eq!(count(tool.packages.debian), 1, "{advice}");
            }
        }
        assert!(advice.contains("rustup component add"), "{advice}");
    }

    #[test]
    fn advice_names_only_the_packages_of_its_tools() {
        let strace = TOOLS.iter().find(|tool| tool.name == "strace").unwrap();
        let advice = advice(&[strace]);
        assert!(!advice.contains("memcached"), "{advice}");
        assert!(!advice.contains("rustup"), "{advice}");
        assert!(!advice.contains("brew"), "{advice}");
    }
}
