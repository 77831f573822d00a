//! Finds the test suites in the published sources of their projects.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let packages = packages()?;

    // A file of tests, which a module with this path includes.
    let common = source(&packages, "tower-sessions")?.join("tests/common/mod.rs");
    fs::write(out.join("tower_sessions.rs"), format!("#[path = {common:?}]\n#[macro_use]\nmod common;\n"))?;

    // A module of tests at the end of the crate.
    let lib = fs::read_to_string(source(&packages, "actix-session")?.join("src/lib.rs"))?;
    let module = lib.find("pub mod test_helpers {").ok_or("actix-session has no module test_helpers any more")?;
    fs::write(out.join("actix_session.rs"), &lib[module..])?;

    println!("cargo::rerun-if-changed=../../Cargo.lock");
    Ok(())
}

/// Returns the packages of the workspace and their dependencies.
fn packages() -> Result<Vec<Value>, Box<dyn Error>> {
    let mut metadata = Command::new(env::var("CARGO")?);
    metadata.args(["metadata", "--format-version", "1", "--filter-platform", &env::var("TARGET")?]);
    let output = metadata.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let mut metadata: Value = serde_json::from_slice(&output.stdout)?;
    match metadata["packages"].take() {
        Value::Array(packages) => Ok(packages),
        _ => Err("cargo metadata has no packages".into()),
    }
}

/// Returns the directory of the newest version of a package.
fn source(packages: &[Value], name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let manifests = packages.iter().filter(|package| package["name"] == name);
    let manifest = manifests.filter_map(|package| package["manifest_path"].as_str()).max();
    let manifest = manifest.ok_or_else(|| format!("{name} is not a dependency"))?;
    Ok(Path::new(manifest).parent().ok_or("a manifest is in a directory")?.to_owned())
}
