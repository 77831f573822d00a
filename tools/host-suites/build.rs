//! Finds the test suites in the published sources of their projects.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let packages = packages()?;

    // The tests are a file that a module includes by its path.
    let common = source_directory(&packages, "tower-sessions")?.join("tests/common/mod.rs");
    fs::write(out.join("tower_sessions.rs"), format!("#[path = {common:?}]\n#[macro_use]\nmod common;\n"))?;

    // The tests are a module at the end of the crate.
    let lib = fs::read_to_string(source_directory(&packages, "actix-session")?.join("src/lib.rs"))?;
    let module = lib.find("pub mod test_helpers {").ok_or("actix-session has no module test_helpers any more")?;
    fs::write(out.join("actix_session.rs"), &lib[module..])?;

    write_http_cache(&packages, &out)?;
    write_cached(&packages, &out)?;

    println!("cargo::rerun-if-changed=../../Cargo.lock");
    Ok(())
}

/// Writes the tests of http-cache that use a manager, and all of http-cache-tower. The manager is
/// `crate::CACacheManager`.
fn write_http_cache(packages: &[Value], out: &Path) -> Result<(), Box<dyn Error>> {
    let tests = fs::read_to_string(source_directory(packages, "http-cache")?.join("src/test.rs"))?;
    let modules =
        ["interface_tests", "metadata_provider_tests"].map(|name| item(&tests, &format!("mod {name} {{"), "\n}\n"));
    let modules = modules.into_iter().collect::<Result<Vec<_>, _>>()?;
    fs::write(out.join("http_cache.rs"), modules.concat())?;

    let tests = fs::read_to_string(source_directory(packages, "http-cache-tower")?.join("src/test.rs"))?;
    let tests = item(&tests, "mod tests {", "\n}\n")?;
    fs::write(out.join("http_cache_tower.rs"), tests.replace("use http_cache::{", "use crate::{"))?;
    Ok(())
}

/// Writes the tests of cached's asynchronous store on Redis that any store can pass.
fn write_cached(packages: &[Value], out: &Path) -> Result<(), Box<dyn Error>> {
    const TESTS: &[&str] = &[
        "async_cache_set_displaced_corrupt_previous_returns_ok_none",
        "async_cache_set_ref_over_corrupt_previous_returns_ok_unit",
        "async_cache_remove_corrupt_default_mode_returns_ok_none",
        "async_cache_remove_valid_value_returns_some_and_deletes_key",
        "async_cache_remove_missing_key_returns_ok_none",
        "async_cache_remove_entry_valid_returns_key_and_value",
        "async_cache_remove_entry_corrupt_default_mode_returns_ok_none",
    ];
    let store = fs::read_to_string(source_directory(packages, "cached")?.join("src/stores/redis.rs"))?;
    let mut tests = String::new();
    for name in TESTS {
        tests += "#[tokio::test]\n";
        tests += item(&store, &format!("async fn {name}() {{"), "\n        }\n")?;
    }
    fs::write(out.join("cached.rs"), tests)?;
    Ok(())
}

/// Returns the item with this first line, up to the first occurrence of its last line.
fn item<'a>(text: &'a str, first: &str, last: &str) -> Result<&'a str, Box<dyn Error>> {
    let start = text.find(first).ok_or_else(|| format!("the source has no `{first}` any more"))?;
    let length = text[start..].find(last).ok_or_else(|| format!("`{first}` has no end"))?;
    Ok(&text[start..start + length + last.len()])
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
fn source_directory(packages: &[Value], name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let manifests = packages.iter().filter(|package| package["name"] == name);
    let manifest = manifests.filter_map(|package| package["manifest_path"].as_str()).max();
    let manifest = manifest.ok_or_else(|| format!("{name} is not a dependency"))?;
    Ok(Path::new(manifest).parent().ok_or("a manifest is in a directory")?.to_owned())
}
