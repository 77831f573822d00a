//! Compiles the two C programs: libmemcached as a contestant, and the counter of allocations.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

/// A folder beside this program, for what is built and written while it runs.
pub(crate) fn workshop() -> Result<PathBuf> {
    let program = env::current_exe().context("looking for this program")?;
    let folder = program.with_file_name("remcache-bench-native");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder)
}

/// Builds the program that drives libmemcached.
pub(crate) fn libmemcached(workshop: &Path) -> Result<PathBuf> {
    let source = include_str!("../c/libmemcached_bench.c");
    let arguments = ["-lmemcached", "-lpthread"];
    compile(workshop, "libmemcached_bench", source, &arguments)
        .context("apt-get install gcc libc6-dev libmemcached-dev")
}

/// Builds the library that counts calls to the allocator of glibc.
pub(crate) fn allocation_counter(workshop: &Path) -> Result<PathBuf> {
    let source = include_str!("../c/count_allocations.c");
    compile(workshop, "count_allocations.so", source, &["-shared", "-fPIC"]).context("apt-get install gcc libc6-dev")
}

/// The old program is replaced only when the new one is whole: another run may be using it.
fn compile(workshop: &Path, name: &str, source: &str, arguments: &[&str]) -> Result<PathBuf> {
    let unfinished = workshop.join(format!("{name}.{}", std::process::id()));
    let finished = workshop.join(name);
    let mut command = Command::new("cc");
    command.args(["-O2", "-o"]).arg(&unfinished).args(["-x", "c", "-"]).args(arguments);
    let output = run(command, source).context("running cc")?;
    ensure!(output.status.success(), "cc: {}", first_error(&output.stderr));
    fs::rename(&unfinished, &finished)?;
    Ok(finished)
}

/// Runs a compiler that reads its source from the standard input.
fn run(mut command: Command, source: &str) -> io::Result<Output> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut compiler = command.spawn()?;
    if let Some(mut input) = compiler.stdin.take() {
        input.write_all(source.as_bytes())?;
    }
    compiler.wait_with_output()
}

fn first_error(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().find(|line| line.contains("error") || line.contains("cannot find"));
    line.unwrap_or("failed").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_compiler_says_first_is_told() {
        let said = b"a.c: In function 'main':\na.c:1:10: fatal error: memcached.h: No such file\nmore";
        assert!(first_error(said).ends_with("No such file"));
        assert_eq!(first_error(b""), "failed");
    }
}
