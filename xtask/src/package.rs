//! Published artifacts: the packages for crates.io, and the archives and Debian package of the tool.

use crate::published::packages;
use crate::step::{Step, output_of};
use crate::{Failure, root};
use std::fs;
use std::path::{Path, PathBuf};

/// Packages each published crate, and compiles all of them from their archives in an empty folder.
pub(crate) fn package() -> Result<(), Failure> {
    let packages = packages()?;
    for package in &packages {
        check_contents(package)?;
    }
    let selection: Vec<&str> = packages.iter().flat_map(|package| ["-p", package]).collect();
    // cargo orders the packages by their dependencies, and lets each see the archives of those before it.
    let archive = ["package", "--no-verify", "--allow-dirty", "--quiet"];
    Step::cargo("archives", archive).args(selection).run()?;
    let folder = root().join("target/package-check");
    unpack(&packages, &folder)?;
    let manifest = folder.join("Cargo.toml").display().to_string();
    let target = root().join("target").display().to_string();
    let check = ["check", "--all-features", "--manifest-path", &manifest, "--target-dir", &target];
    Step::cargo("the archives compile", check).run()
}

/// Fails if the archive of a package lacks its README or a licence, or has files that are not for its users.
fn check_contents(package: &str) -> Result<(), Failure> {
    let listed = output_of(&["cargo", "package", "--list", "--allow-dirty", "-p", package])?;
    let files: Vec<&str> = listed.lines().collect();
    let missing: Vec<&str> = REQUIRED.iter().copied().filter(|file| !files.contains(file)).collect();
    if !missing.is_empty() {
        return Err(format!("the package {package} lacks {}", missing.join(", ")));
    }
    println!("{package}: {} files, with {}", files.len(), REQUIRED.join(", "));
    Ok(())
}

/// Unpacks the archives into a new workspace, in which they depend on each other and on the dependencies of this one.
fn unpack(packages: &[String], folder: &Path) -> Result<(), Failure> {
    let failed = |error| format!("{}: {error}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(failed)?;
    }
    fs::create_dir_all(folder).map_err(failed)?;
    let version = version()?;
    let (mut members, mut patches) = (String::new(), String::new());
    for package in packages {
        let name = format!("{package}-{version}");
        let archive = root().join(format!("target/package/{name}.crate")).display().to_string();
        output_of(&["tar", "-xzf", &archive, "-C", &folder.display().to_string()])?;
        members += &format!("    \"{name}\",\n");
        patches += &format!("{package} = {{ path = \"{name}\" }}\n");
    }
    let text = format!("[workspace]\nresolver = \"3\"\nmembers = [\n{members}]\n\n[patch.crates-io]\n{patches}");
    fs::write(folder.join("Cargo.toml"), text).map_err(failed)?;
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).map(drop).map_err(failed)
}

/// Fails if the tag in the argument is not that of the version, or the changelog has no section of it.
pub(crate) fn check_release(args: &[String]) -> Result<(), Failure> {
    let [tag] = args else { return Err("usage: cargo xtask check-release TAG".to_owned()) };
    let changelog =
        fs::read_to_string(root().join("CHANGELOG.md")).map_err(|error| format!("CHANGELOG.md: {error}"))?;
    check_tag(tag, &version()?, &changelog)
}

fn check_tag(tag: &str, version: &str, changelog: &str) -> Result<(), Failure> {
    if tag.strip_prefix('v') != Some(version) {
        return Err(format!("the tag {tag} is not that of the packages, whose version is {version}: v{version}"));
    }
    let heading = format!("## [{version}]");
    if !changelog.lines().any(|line| line.starts_with(&heading)) {
        return Err(format!("CHANGELOG.md has no section {heading}: rename [Unreleased], and add the date"));
    }
    Ok(())
}

/// Builds the tool for release, and makes its archive and, with cargo-deb, its Debian package in
/// `target/release-assets`.
///
/// Arguments: `--profile NAME` in place of `dist`.
pub(crate) fn dist(args: &[String]) -> Result<(), Failure> {
    let profile = match args {
        [] => "dist",
        [option, name] if option == "--profile" => name,
        _ => return Err("usage: cargo xtask dist [--profile NAME]".to_owned()),
    };
    Step::cargo("the tool", ["build", "--profile", profile, "-p", "remcache-cli", "--features", "full"]).run()?;
    let folder = if profile == "dev" { "debug" } else { profile };
    let tool = root().join("target").join(folder).join(format!("remcache{}", std::env::consts::EXE_SUFFIX));
    make_assets(&tool)?;
    let output = root().join("target/release-assets");
    fs::create_dir_all(&output).map_err(|error| format!("{}: {error}", output.display()))?;
    make_archive(&tool, &output)?;
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    if output_of(&["cargo", "deb", "--version"]).is_err() {
        println!("no Debian package: cargo install cargo-deb");
        return Ok(());
    }
    let output = output.display().to_string();
    let deb = ["deb", "--no-build", "--profile", profile, "-p", "remcache-cli", "--output", &output];
    Step::cargo("Debian package", deb).run()
}

/// Makes the manual pages and completions, by the tool itself.
fn make_assets(tool: &Path) -> Result<(), Failure> {
    let tool = tool.display().to_string();
    let folder = root().join("target/assets");
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    for folder in [&man, &completions] {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    output_of(&[&tool, "man", "-d", &man.display().to_string()])?;
    for (shell, file) in COMPLETIONS {
        let text = output_of(&[&tool, "completions", shell])?;
        let path = completions.join(file);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Makes the archive that `cargo binstall` downloads: the tool, its manual pages, completions, README and licences.
fn make_archive(tool: &Path, output: &Path) -> Result<(), Failure> {
    let rustc = output_of(&["rustc", "-vV"])?;
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc -vV prints no host")?;
    let name = archive_name(host);
    let folder = output.join(&name);
    let failed = |error| format!("{}: {error}", folder.display());
    fs::create_dir_all(&folder).map_err(failed)?;
    let files = REQUIRED.iter().map(|file| root().join("crates/remcache-cli").join(file));
    for file in files.chain([tool.to_owned()]) {
        fs::copy(&file, folder.join(file.file_name().unwrap_or_default())).map_err(failed)?;
    }
    for assets in ["man", "completions"] {
        copy_files(&root().join("target/assets").join(assets), &folder.join(assets))?;
    }
    let archive = output.join(format!("{name}.tar.gz")).display().to_string();
    output_of(&["tar", "-czf", &archive, "-C", &output.display().to_string(), &name])?;
    println!("{archive}");
    Ok(())
}

/// Returns the name of the archive for a target, without its ending; its only folder has the same name.
fn archive_name(target: &str) -> String {
    format!("remcache-{target}")
}

fn copy_files(from: &Path, to: &PathBuf) -> Result<(), Failure> {
    let failed = |error| format!("{}: {error}", from.display());
    fs::create_dir_all(to).map_err(failed)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        fs::copy(entry.path(), to.join(entry.file_name())).map_err(failed)?;
    }
    Ok(())
}

/// Returns the version of the packages, from the manifest of the workspace.
fn version() -> Result<String, Failure> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).map_err(|error| format!("Cargo.toml: {error}"))?;
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    version.map(str::to_owned).ok_or_else(|| "Cargo.toml has no version".to_owned())
}

/// The shells with completions in the archive and the Debian package, and the names of their files.
const COMPLETIONS: [(&str, &str); 3] = [("bash", "remcache"), ("zsh", "_remcache"), ("fish", "remcache.fish")];

/// Files that each package must contain.
const REQUIRED: &[&str] = &["README.md", "LICENSE-MIT", "LICENSE-APACHE"];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> String {
        fs::read_to_string(root().join(path)).unwrap()
    }

    /// Returns the value of a key in the section for `cargo binstall`.
    fn binstall(key: &str) -> String {
        let manifest = read("crates/remcache-cli/Cargo.toml");
        let (_, section) = manifest.split_once("[package.metadata.binstall]\n").unwrap();
        let value = section.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'));
        value.unwrap().to_owned()
    }

    #[test]
    fn a_release_needs_the_tag_of_its_version_and_a_section_of_the_changelog() {
        let changelog = "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2027-01-31\n";
        check_tag("v1.2.3", "1.2.3", changelog).unwrap();
        for tag in ["1.2.3", "v1.2", "v1.2.3-rc.1", "vv1.2.3"] {
            assert!(check_tag(tag, "1.2.3", changelog).unwrap_err().contains("v1.2.3"), "{tag}");
        }
        assert!(check_tag("v1.2", "1.2", changelog).unwrap_err().contains("[1.2]"));
    }

    #[test]
    fn cargo_binstall_downloads_what_the_release_workflow_uploads() {
        let release = read(".github/workflows/release.yml");
        assert!(release.contains("tags: [\"v*\"]") && release.contains("target/release-assets/*.tar.gz"));
        let name = archive_name("{ target }");
        assert_eq!(binstall("pkg-url"), format!("{{ repo }}/releases/download/v{{ version }}/{name}.tar.gz"));
        assert_eq!(binstall("pkg-fmt"), "tgz");
        assert_eq!(binstall("bin-dir"), format!("{name}/{{ bin }}{{ binary-ext }}"));
    }

    #[test]
    fn the_debian_package_has_what_the_tool_makes() {
        let manifest = read("crates/remcache-cli/Cargo.toml");
        for (_, file) in COMPLETIONS {
            assert!(manifest.contains(&format!("\"../../target/assets/completions/{file}\"")), "{file}");
        }
        assert!(manifest.contains("\"../../target/assets/man/*.1\""));
    }

    #[test]
    fn the_container_file_builds_copies_and_starts_what_exists() {
        let file = read("Containerfile");
        let instructions = |name| file.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(' '));
        for arguments in instructions("COPY") {
            let mut words: Vec<&str> = arguments.split_whitespace().collect();
            words.pop();
            match words[..] {
                ["--from=build", program] => assert_eq!(program, format!("/src/{}", crate::TOOL)),
                _ => assert!(words.iter().all(|path| root().join(path).exists()), "{arguments}"),
            }
        }
        let build = instructions("RUN").find(|command| command.starts_with("cargo "));
        assert_eq!(build, Some("cargo build --locked --profile dist -p remcache-cli --features full"));
        assert_eq!(instructions("ENTRYPOINT").collect::<Vec<_>>(), [r#"["remcache"]"#]);
        // What the build reads is in its context.
        let ignored = read(".dockerignore");
        assert!(ignored.lines().all(|line| ["/target", "/target-*", "/.git"].contains(&line)), "{ignored}");
    }
}
