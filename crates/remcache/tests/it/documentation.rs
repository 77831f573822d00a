//! Checks of the documents: named tests and links exist; programs and defaults are those of the code.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use remcache::proto::Limits;

/// The documents that list guarantees.
const GUARANTEES: [&str; 2] = ["docs/guarantees.md", "docs/caching.md"];

#[test]
fn every_test_that_a_guarantee_names_exists() {
    for document in GUARANTEES {
        let named = named_tests(&read(document));
        assert!(named.len() >= 20, "{document}: guarantees name their tests as `file::function`");
        let exists = |(file, function): &(String, String)| {
            let candidates = [root().join("crates/remcache").join(file), root().join(file)];
            let sources = candidates.iter().filter_map(|path| fs::read_to_string(path).ok());
            sources.into_iter().any(|source| is_test(&source, function))
        };
        let absent: Vec<_> = named.into_iter().filter(|test| !exists(test)).collect();
        assert!(absent.is_empty(), "{document} names tests that do not exist: {absent:#?}");
    }
}

#[test]
fn every_guarantee_has_a_test() {
    for document in GUARANTEES {
        let text = read(document);
        let guarantees = text.split("\n## ").find(|part| part.starts_with("The guarantees")).unwrap();
        for section in guarantees.split("\n### ").skip(1) {
            let title = section.lines().next().unwrap();
            assert!(!named_tests(section).is_empty(), "{document}: {title}: no test is named");
        }
    }
}

#[test]
fn a_function_is_a_test_only_with_the_attribute() {
    let source = "#[test]\nfn one() {}\n\nfn two() {}\n\n#[tokio::test(start_paused = true)]\nasync fn three() {}\n\
                  #[test]\n#[should_panic]\nfn four() {}\nexamples! {\n    five\n}\n\
                  protocol_mode_tests! {\n    #[tokio::test]\n    six\n}\nasync fn six(protocol: Protocol) {}\n";
    let tests: Vec<_> =
        ["one", "two", "three", "four", "five", "six"].into_iter().filter(|name| is_test(source, name)).collect();
    assert_eq!(tests, ["one", "three", "four", "five", "six"]);
}

#[test]
fn the_defaults_are_those_of_the_code() {
    let text = read("docs/guarantees.md");
    let limits = Limits::default();
    let mebibytes = |bytes: usize| format!("{} MiB", bytes >> 20);
    for (setting, value) in [
        ("`max_in_flight`", thousands(limits.max_in_flight)),
        ("`max_output`", mebibytes(limits.max_output)),
        ("`max_value_size`", mebibytes(limits.max_value_size)),
        ("`keepalive`: a no-op", format!("{:?}", limits.keepalive_interval).replace('s', " s")),
        ("`keepalive`: a connection ends", format!("{:?}", limits.keepalive_timeout).replace('s', " s")),
        (
            "abandoned requests",
            format!(
                "{}, {}",
                thousands(limits.max_abandoned.0),
                format!("{:?}", limits.max_abandoned.1).replace('s', " s")
            ),
        ),
    ] {
        let row =
            text.lines().find(|line| line.starts_with(&format!("| {setting}"))).unwrap_or_else(|| panic!("{setting}"));
        let default = row.split('|').nth(2).unwrap().trim();
        assert_eq!(default, value, "{setting}");
    }
}

#[test]
fn readmes_show_the_program_that_the_front_page_of_their_crate_runs() {
    let integrations = fs::read_dir(root().join("integrations")).unwrap().map(|entry| entry.unwrap().file_name());
    let integrations = integrations.map(|name| format!("integrations/{}", name.to_str().unwrap()));
    let packages: Vec<_> = integrations.chain(["crates/remcache".to_owned()]).collect();
    assert!(packages.len() >= 7, "{packages:?}");
    for package in packages {
        let program = front_page_program(&package);
        assert!(program.contains("Client") || program.contains("Operator"), "{package}: {program}");
        assert_eq!(readme_program(&package), program, "{package}");
    }
    let program = front_page_program("crates/remcache");
    assert!(program.lines().count() <= 20, "{program}");
    assert_eq!(readme_program("."), program);
}

#[test]
fn links_between_documents_resolve() {
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for target in links(&text) {
            let file = document.parent().unwrap().join(&target);
            assert!(file.exists(), "{}: {target} does not exist", document.display());
        }
    }
}

#[test]
fn the_readme_is_short() {
    let words = read("README.md").split_whitespace().count();
    assert!(words <= 700, "README.md has {words} words: move details into docs/");
}

/// Returns the tests that are named as `file::function` in backticks.
fn named_tests(text: &str) -> Vec<(String, String)> {
    let quoted = text.split('`').skip(1).step_by(2);
    let named = quoted.filter_map(|name| name.split_once(".rs::"));
    named.map(|(file, function)| (format!("{file}.rs"), function.to_owned())).collect()
}

/// Returns whether a source has a test of this name: a function with the attribute, or a name on a line of its own,
/// from which a macro generates tests.
fn is_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let is_declared = |line: &str| {
        ["fn ", "async fn "]
            .iter()
            .any(|start| line.strip_prefix(start).is_some_and(|rest| rest.starts_with(&format!("{name}("))))
    };
    let Some(line) = lines.iter().position(|line| is_declared(line)) else { return lines.contains(&name) };
    let attributes = lines[..line].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("///"));
    let has_attribute =
        attributes.into_iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
    has_attribute || lines.contains(&name)
}

/// Returns the first program of a crate's documentation.
fn front_page_program(package: &str) -> String {
    let source = read(&format!("{package}/src/lib.rs"));
    let front_page = source.lines().map_while(|line| line.strip_prefix("//!"));
    first_block("```", front_page.map(|line| line.strip_prefix(' ').unwrap_or(line)))
}

/// Returns the first program of the README in a directory.
fn readme_program(directory: &str) -> String {
    first_block("```rust,no_run", read(&format!("{directory}/README.md")).lines())
}

/// Returns the first code block that this line opens, without the lines that rustdoc hides.
fn first_block<'a>(fence: &str, lines: impl Iterator<Item = &'a str>) -> String {
    let block = lines.skip_while(|line| *line != fence).skip(1).take_while(|line| !line.starts_with("```"));
    block.filter(|line| *line != "#" && !line.starts_with("# ")).collect::<Vec<_>>().join("\n")
}

/// Returns the targets of links to files, without their anchors.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    local.map(|target| target.split('#').next().unwrap_or_default().to_owned()).collect()
}

fn documents() -> Vec<PathBuf> {
    let mut directories = vec![root(), root().join("docs")];
    let packages =
        ["crates", "integrations", "tools"].map(|folder| fs::read_dir(root().join(folder)).expect("the packages"));
    for package in packages.into_iter().flatten().flatten() {
        directories.extend([package.path().join("docs"), package.path()]);
    }
    let entries = directories.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten();
    let files = entries.flatten().map(|entry| entry.path());
    files.filter(|file| file.extension() == Some(OsStr::new("md"))).collect()
}

fn thousands(number: usize) -> String {
    match (number / 1000, number % 1000) {
        (0, rest) => rest.to_string(),
        (thousands, rest) => format!("{thousands},{rest:03}"),
    }
}

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
