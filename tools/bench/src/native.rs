//! Compiles the C sources: the libmemcached client, and the library that counts allocations.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

/// Creates a directory next to this program, for files that are built and written while it runs.
pub(crate) fn work_dir() -> Result<PathBuf> {
    let program = env::current_exe().context("looking for this program")?;
    let directory = program.with_file_name("remcache-bench-native");
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    Ok(directory)
}

/// Compiles the program that drives libmemcached.
pub(crate) fn libmemcached(work_dir: &Path) -> Result<PathBuf> {
    let source = include_str!("../c/libmemcached_bench.c");
    let arguments = ["-lmemcached", "-lpthread"];
    compile(work_dir, "libmemcached_bench", source, &arguments)
        .context("apt-get install gcc libc6-dev libmemcached-dev")
}

/// Compiles the library that counts calls to glibc's allocator.
pub(crate) fn allocation_counter(work_dir: &Path) -> Result<PathBuf> {
    let source = include_str!("../c/count_allocations.c");
    compile(work_dir, "count_allocations.so", source, &["-shared", "-fPIC"]).context("apt-get install gcc libc6-dev")
}

/// Compiles a source. An older program is replaced only by a complete one, because another run may be using it.
fn compile(work_dir: &Path, name: &str, source: &str, arguments: &[&str]) -> Result<PathBuf> {
    let unfinished = work_dir.join(format!("{name}.{}", std::process::id()));
    let finished = work_dir.join(name);
    let mut command = Command::new("cc");
    command.args(["-O2", "-o"]).arg(&unfinished).args(["-x", "c", "-"]).args(arguments);
    let output = run(command, source).context("running cc")?;
    ensure!(output.status.success(), "cc: {}", first_error(&output.stderr));
    fs::rename(&unfinished, &finished)?;
    Ok(finished)
}

/// Runs a compiler that reads the source from its standard input.
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
    fn the_first_error_of_the_compiler_is_returned() {
        let stderr = b"a.c: In function 'main':\na.c:1:10: fatal error: memcached.h: No such file\nmore";
        assert!(first_error(stderr).ends_with("No such file"));
        assert_eq!(first_error(b""), "failed");
    }
}
