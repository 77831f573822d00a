//! Tests of the workflows: what they call, install and depend on exists.

use crate::{COMMANDS, root};
use std::collections::HashSet;
use std::fs;

/// Returns the text of a workflow.
fn workflow(name: &str) -> String {
    fs::read_to_string(root().join(".github/workflows").join(name)).unwrap()
}

/// Returns the texts of all workflows.
fn workflows() -> Vec<String> {
    let entries = fs::read_dir(root().join(".github/workflows")).unwrap();
    entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect()
}

/// Returns the values of a key, in all lines that are one pair of key and value.
fn values<'a>(text: &'a str, key: &str) -> impl Iterator<Item = &'a str> {
    let key = format!("{key}: ");
    text.lines().filter_map(move |line| line.trim_start_matches([' ', '-']).strip_prefix(&*key))
}

/// Returns the elements of a list in one line, or the one value that it can have instead.
fn elements(value: &str) -> impl Iterator<Item = &str> {
    value.trim_matches(['[', ']']).split(", ")
}

#[test]
fn called_commands_exist() {
    let mut calls = 0;
    for text in workflows() {
        // A job with a matrix names its commands in the line `command: [one, another]`.
        let lists = values(&text, "command").flat_map(elements);
        let called = text.split("cargo xtask ").skip(1).filter_map(|rest| rest.split_whitespace().next());
        for name in lists.chain(called).filter(|name| *name != "${{") {
            assert!(COMMANDS.iter().any(|command| command.name == name), "{name}");
            calls += 1;
        }
    }
    assert!(calls > 10, "{calls}");
}

#[test]
fn jobs_need_jobs_that_exist() {
    let text = workflow("release.yml");
    let jobs: HashSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':').filter(|name| !name.starts_with(' ')))
        .collect();
    let needed: Vec<&str> = values(&text, "needs").flat_map(elements).collect();
    assert!(!needed.is_empty() && needed.iter().all(|name| jobs.contains(name)), "{needed:?} {jobs:?}");
}

#[test]
fn actions_have_versions() {
    for text in workflows() {
        assert!(values(&text, "uses").all(|action| action.contains("@v")), "{text}");
    }
}

#[test]
fn installed_tools_are_those_that_commands_use() {
    let sources =
        ["published.rs", "package.rs"].map(|name| fs::read_to_string(root().join("xtask/src").join(name)).unwrap());
    for text in workflows() {
        for tool in values(&text, "tool") {
            assert!(sources.iter().any(|source| source.contains(tool)), "{tool}");
        }
    }
}

#[test]
fn nothing_is_published_before_the_version_is_checked_and_a_tool_was_installed() {
    let text = workflow("release.yml");
    let position = |part: &str| text.find(part).unwrap_or_else(|| panic!("the workflow has no {part}"));
    assert!(position("cargo xtask check-release \"$GITHUB_REF_NAME\"") < position("gh release create"));
    assert!(position("dpkg -i target/release-assets/*.deb") < position("gh release upload"));
    let (_, publish) = text.split_once("\n  publish:\n").unwrap();
    assert!(publish.contains("needs: [packages, tools]") && publish.contains("cargo publish --workspace"));
    assert_eq!(values(&text, "needs").next(), Some("draft"), "the tools need the draft, whose job checks the version");
}

#[test]
fn the_installed_files_that_the_release_checks_are_in_the_debian_package() {
    let text = workflow("release.yml");
    let manifest = fs::read_to_string(root().join("crates/remcache-cli/Cargo.toml")).unwrap();
    let (_, path) = text.split_once("source /usr/share/").unwrap();
    let (folder, name) = path.split_whitespace().next().unwrap().rsplit_once('/').unwrap();
    let asset = format!("completions/{name}\", \"usr/share/{folder}/\"");
    assert!(manifest.contains(&asset), "{asset}");
    assert!(manifest.contains("\"usr/share/man/man1/\""));
}
