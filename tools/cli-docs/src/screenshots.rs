//! The screenshots: a table of commands, whose screens are drawn.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::servers::ExampleServers;
use crate::svg;
use crate::terminal::Terminal;

/// The options of `screenshots`.
#[derive(Args, Debug)]
pub(crate) struct ScreenshotOptions {
    /// Draw only these screenshots
    names: Vec<String>,
    /// The command-line tool
    #[arg(long, value_name = "FILE", default_value = "target/dist/remcache")]
    program: PathBuf,
    /// The directory of the screenshots
    #[arg(long, value_name = "DIR", default_value = "crates/remcache-cli/docs")]
    into: PathBuf,
}

/// A screenshot: its name, its command, and how the command runs.
struct Screenshot {
    name: &'static str,
    /// The arguments of `remcache`.
    arguments: &'static str,
    servers: ScreenshotServers,
    columns: u16,
    rows: u16,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ScreenshotServers {
    /// The arguments name the servers, or the command needs none.
    None,
    All,
    AllAndOneDown,
}

/// The way in which a screenshot is taken.
enum Mode {
    /// The command exits.
    Exits,
    /// The screen is drawn while the command runs: keys, waiting times, and text that must appear.
    Live { steps: &'static [(&'static str, Duration)], shows: &'static str },
    /// The command writes an SVG file, whose name replaces `{}`.
    WritesSvg,
}

const SCREENSHOTS: &[Screenshot] = &[
    Screenshot {
        name: "demo",
        arguments: "demo",
        servers: ScreenshotServers::None,
        columns: 118,
        rows: 110,
        mode: Mode::Exits,
    },
    Screenshot {
        name: "stats",
        arguments: "stats --delta 3s",
        servers: ScreenshotServers::AllAndOneDown,
        columns: 118,
        rows: 12,
        mode: Mode::Exits,
    },
    Screenshot {
        name: "ping",
        arguments: "ping -n 20",
        servers: ScreenshotServers::AllAndOneDown,
        columns: 100,
        rows: 12,
        mode: Mode::Exits,
    },
    Screenshot {
        name: "locate",
        arguments: "locate user:42 user:43 --like pylibmc --explain -s cache1,cache2,cache3",
        servers: ScreenshotServers::None,
        columns: 118,
        rows: 12,
        mode: Mode::Exits,
    },
    Screenshot {
        name: "ring",
        arguments: "ring balance --sample 1m --remove cache3 -s cache1,cache2,cache3",
        servers: ScreenshotServers::None,
        columns: 110,
        rows: 12,
        mode: Mode::Exits,
    },
    Screenshot {
        name: "keys",
        arguments: "keys --tree :",
        servers: ScreenshotServers::All,
        columns: 110,
        rows: 14,
        mode: Mode::Exits,
    },
    Screenshot {
        name: "hotkeys",
        arguments: "hotkeys --for 5s --top 8",
        servers: ScreenshotServers::All,
        columns: 110,
        rows: 14,
        mode: Mode::Exits,
    },
    Screenshot {
        name: "bench",
        arguments: "bench --time 5s --rate 20k --keys 20k --dist zipf:1.0 --size 100..1k",
        servers: ScreenshotServers::All,
        columns: 118,
        rows: 12,
        mode: Mode::Exits,
    },
    Screenshot {
        name: "bench-curve",
        arguments: "bench --time 5s --rate 20k --keys 20k --dist zipf:1.0 --size 100..1k --svg {}",
        servers: ScreenshotServers::All,
        columns: 118,
        rows: 12,
        mode: Mode::WritesSvg,
    },
    Screenshot {
        name: "top",
        arguments: "top",
        servers: ScreenshotServers::AllAndOneDown,
        columns: 150,
        rows: 9,
        mode: Mode::Live { steps: &[("j", SECONDS_12)], shows: "3/4 up" },
    },
    Screenshot {
        name: "top-slabs",
        arguments: "top",
        servers: ScreenshotServers::AllAndOneDown,
        columns: 100,
        rows: 22,
        mode: Mode::Live { steps: &[("2", SECONDS_3)], shows: "CHUNK" },
    },
    Screenshot {
        name: "top-prefixes",
        arguments: "top",
        servers: ScreenshotServers::AllAndOneDown,
        columns: 100,
        rows: 10,
        mode: Mode::Live { steps: &[("4", SECONDS_3), ("dy", SECONDS_6)], shows: "session" },
    },
];

const SECONDS_3: Duration = Duration::from_secs(3);
const SECONDS_6: Duration = Duration::from_secs(6);
const SECONDS_12: Duration = Duration::from_secs(12);

/// Draws the selected screenshots.
pub(crate) fn run(options: &ScreenshotOptions) -> Result<()> {
    for name in &options.names {
        ensure!(SCREENSHOTS.iter().any(|screenshot| screenshot.name == name), "unknown screenshot {name:?}");
    }
    let program = fs::canonicalize(&options.program)
        .with_context(|| format!("{}: cargo build --profile dist -p remcache-cli", options.program.display()))?;
    fs::create_dir_all(&options.into)?;
    let is_selected =
        |screenshot: &&Screenshot| options.names.is_empty() || options.names.iter().any(|name| name == screenshot.name);
    let mut servers = None;
    for screenshot in SCREENSHOTS.iter().filter(is_selected) {
        if screenshot.servers != ScreenshotServers::None && servers.is_none() {
            servers = Some(ExampleServers::start()?);
        }
        let svg =
            screenshot.draw(&program, servers.as_ref()).with_context(|| format!("screenshot {}", screenshot.name))?;
        let path = options.into.join(screenshot.name).with_extension("svg");
        fs::write(&path, svg).with_context(|| format!("writing {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

impl Screenshot {
    fn draw(&self, program: &Path, servers: Option<&ExampleServers>) -> Result<String> {
        let scratch = tempfile::tempdir()?;
        let drawn = scratch.path().join("drawn.svg");
        let mut command = Command::new(program);
        command
            .args(self.arguments.split(' ').map(|word| if word == "{}" { drawn.as_os_str() } else { word.as_ref() }));
        // Without the environment, which could name contexts and servers.
        command.env_clear().env("LANG", "C.UTF-8").current_dir(scratch.path());
        if let (Some(servers), ScreenshotServers::All | ScreenshotServers::AllAndOneDown) = (servers, self.servers) {
            let is_all = self.servers == ScreenshotServers::All;
            command
                .env("REMCACHE_SERVERS", if is_all { servers.addresses() } else { servers.addresses_with_one_down() });
        }
        let mut terminal = Terminal::start(command, self.rows, self.columns)?;
        match &self.mode {
            Mode::Exits | Mode::WritesSvg => terminal.wait()?,
            Mode::Live { steps, shows } => {
                wait_for_text(&terminal, "up")?;
                for (keys, time) in *steps {
                    terminal.press(keys)?;
                    thread::sleep(*time);
                }
                wait_for_text(&terminal, shows)?;
            }
        }
        if matches!(self.mode, Mode::WritesSvg) {
            return fs::read_to_string(&drawn).with_context(|| terminal.screen().contents());
        }
        let drawing = svg::draw(&format!("remcache {}", self.arguments), &terminal.screen());
        if matches!(self.mode, Mode::Live { .. }) {
            terminal.press("q")?;
            terminal.wait()?;
        }
        Ok(drawing)
    }
}

fn wait_for_text(terminal: &Terminal, text: &str) -> Result<()> {
    let start = Instant::now();
    while !terminal.screen().contents().contains(text) {
        if start.elapsed() > Duration::from_secs(20) {
            bail!("{text:?} did not appear:\n{}", terminal.screen().contents());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn screenshot_names_are_unique() {
        let names: HashSet<_> = SCREENSHOTS.iter().map(|screenshot| screenshot.name).collect();
        assert_eq!(names.len(), SCREENSHOTS.len());
    }

    #[test]
    fn every_screenshot_is_in_the_documentation() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for screenshot in SCREENSHOTS {
            let file = root.join("crates/remcache-cli/docs").join(screenshot.name).with_extension("svg");
            assert!(file.exists(), "{}: cargo xtask screenshots {}", file.display(), screenshot.name);
        }
    }
}
