//! Measures the tool's bulk commands: time, items per second and memory, compared with the server's own speed.

use crate::{Failure, root};
use std::fs;
use std::io::{BufWriter, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Fills a server, runs the commands on one core, and prints medians and targets.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    let items = match args {
        [] => ITEMS,
        [number] => number.parse().map_err(|_| format!("{number:?} is not a number; usage: {USAGE}"))?,
        _ => return Err(format!("usage: {USAGE}")),
    };
    crate::build_tool()?;
    let (full, empty) = (Server::start()?, Server::start()?);
    full.fill(items)?;
    println!("{items} items with values of {VALUE_LENGTH} bytes, medians of {ROUNDS} rounds, the tool on one core");
    let file = root().join("target").join("bulk.ndjson");
    let rows = measure(&full, &empty, &file);
    // The file may not exist if a command failed before it was written.
    let _ = fs::remove_file(&file);
    print(&rows?, items);
    Ok(())
}

/// A command, its median time and its peak memory.
struct Row {
    name: &'static str,
    time: Duration,
    memory: u64,
}

fn measure(full: &Server, empty: &Server, file: &Path) -> Result<Vec<Row>, Failure> {
    let (from, to, file) = (full.address(), empty.address(), file.display().to_string());
    let commands: [(&str, Vec<&str>); 4] = [
        ("keys --count", vec!["keys", "--count", "-s", &from]),
        ("dump FILE", vec!["dump", &file, "-s", &from]),
        ("load FILE", vec!["load", &file, "-s", &to]),
        ("copy", vec!["copy", "--from", &from, "--to", &to]),
    ];
    let listing = rounds(|| full.list().map(|time| (time, 0)))?;
    let mut rows = vec![Row { name: "metadump", time: listing.0, memory: listing.1 }];
    for (name, args) in commands {
        let (time, memory) = rounds(|| {
            empty.flush()?;
            run_tool(&args)
        })?;
        rows.push(Row { name, time, memory });
    }
    Ok(rows)
}

/// Returns the median time and the largest memory of several runs.
fn rounds(mut run: impl FnMut() -> Result<(Duration, u64), Failure>) -> Result<(Duration, u64), Failure> {
    let mut runs = (0..ROUNDS).map(|_| run()).collect::<Result<Vec<_>, _>>()?;
    runs.sort_unstable();
    let memory = runs.iter().map(|run| run.1).max().unwrap_or_default();
    Ok((runs[runs.len() / 2].0, memory))
}

/// Runs the tool on one core, and returns its run time and its peak memory in KiB.
fn run_tool(args: &[&str]) -> Result<(Duration, u64), Failure> {
    let tool = root().join(crate::TOOL);
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(tool).args(args).args(["-q", "--timeout", "30s"]).stdout(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn().map_err(|error| format!("taskset: {error}"))?;
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut memory = 0;
    loop {
        memory = memory.max(peak_memory(&status));
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(exit) if exit.success() => return Ok((start.elapsed(), memory)),
            Some(exit) => return Err(format!("remcache {}: {exit}", args.join(" "))),
            None => thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Returns the peak memory of a process in KiB, or 0 if the process has ended.
fn peak_memory(status: &Path) -> u64 {
    let text = fs::read_to_string(status).unwrap_or_default();
    let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

fn print(rows: &[Row], items: u64) {
    println!("{:<14}{:>9}{:>12}{:>10}{:>10}  target", "", "seconds", "items/s", "ratio", "MiB");
    let server = rows.first().map_or(1.0, |row| row.time.as_secs_f64());
    for row in rows {
        let seconds = row.time.as_secs_f64();
        let target = TARGETS.iter().find(|(name, _)| *name == row.name).map_or("", |(_, target)| target);
        println!(
            "{:<14}{seconds:>9.2}{:>12.0}{:>10.2}{:>10.1}  {target}",
            row.name,
            items as f64 / seconds,
            seconds / server,
            row.memory as f64 / 1024.0,
        );
    }
}

const TARGETS: &[(&str, &str)] = &[
    ("metadump", "the server's own time, read from a plain socket"),
    ("keys --count", "at most 1.5 times metadump"),
    ("dump FILE", "at least 100,000 items/s, at most 64 MiB"),
    ("load FILE", "at least 100,000 items/s, at most 64 MiB"),
    ("copy", "at least 100,000 items/s, at most 64 MiB"),
];

const USAGE: &str = "cargo xtask bulk [ITEMS]";
const ITEMS: u64 = 1_000_000;
const VALUE_LENGTH: usize = 100;
const ROUNDS: usize = 3;

/// A memcached server, stopped when this is dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start() -> Result<Self, Failure> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        drop(listener);
        let port_text = port.to_string();
        let args = ["-U", "0", "-l", "127.0.0.1", "-t", "1", "-m", "1024", "-u", "nobody", "-p", &port_text];
        let child = Command::new("memcached")
            .args(args)
            .spawn()
            .map_err(|error| format!("memcached: {error}; install it with: apt-get install -y memcached"))?;
        let server = Self { child, port };
        let start = Instant::now();
        while server.connect().is_err() {
            if start.elapsed() > Duration::from_secs(20) {
                return Err(format!("memcached did not accept connections on port {port} within 20 s"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn connect(&self) -> Result<TcpStream, Failure> {
        TcpStream::connect(("127.0.0.1", self.port)).map_err(|error| format!("port {}: {error}", self.port))
    }

    fn fill(&self, items: u64) -> Result<(), Failure> {
        let stream = self.connect()?;
        let mut out = BufWriter::with_capacity(1 << 16, &stream);
        let value = "x".repeat(VALUE_LENGTH);
        for number in 0..items {
            write!(out, "set key:{number:08} 0 0 {VALUE_LENGTH} noreply\r\n{value}\r\n")
                .map_err(|error| error.to_string())?;
        }
        out.write_all(b"version\r\n").and_then(|()| out.flush()).map_err(|error| error.to_string())?;
        (&stream).read(&mut [0; 100]).map(drop).map_err(|error| error.to_string())
    }

    fn flush(&self) -> Result<(), Failure> {
        let mut stream = self.connect()?;
        stream.write_all(b"flush_all\r\n").map_err(|error| error.to_string())?;
        stream.read(&mut [0; 100]).map(drop).map_err(|error| error.to_string())
    }

    /// Returns the time that the server takes to list its items.
    fn list(&self) -> Result<Duration, Failure> {
        let mut stream = self.connect()?;
        let start = Instant::now();
        stream.write_all(b"lru_crawler metadump hash\r\n").map_err(|error| error.to_string())?;
        let (mut buffer, mut end) = (vec![0; 1 << 20], Vec::new());
        while !end.ends_with(b"END\r\n") {
            let length = stream.read(&mut buffer).map_err(|error| error.to_string())?;
            if length == 0 {
                return Err("the server closed the connection before the end of the list".to_owned());
            }
            end.extend_from_slice(&buffer[length.saturating_sub(5)..length]);
            end.drain(..end.len().saturating_sub(5));
        }
        Ok(start.elapsed())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
