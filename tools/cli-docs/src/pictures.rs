//! The pictures: a table of what is typed, and what is drawn of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::drawing;
use crate::fleet::Fleet;
use crate::terminal::Terminal;

/// Which pictures are made, of what, and where they go.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Only these, by name
    names: Vec<String>,
    /// The tool, built for release
    #[arg(long, value_name = "FILE", default_value = "target/dist/remcache")]
    program: PathBuf,
    /// The directory that they go into
    #[arg(long, value_name = "DIR", default_value = "crates/remcache-cli/docs")]
    into: PathBuf,
}

/// A picture: its name, what is typed, and what happens on the terminal.
struct Picture {
    name: &'static str,
    /// The words behind `remcache`.
    line: &'static str,
    servers: Servers,
    columns: u16,
    rows: u16,
    scene: Scene,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Servers {
    /// The line names its own, or needs none.
    None,
    All,
    AndADeadOne,
}

enum Scene {
    /// The command ends by itself.
    Ends,
    /// The screen is looked at while the command goes on: keys, how long to wait, and what must be seen.
    Live { steps: &'static [(&'static str, Duration)], shows: &'static str },
    /// The command draws by itself, into the file that stands in place of `{}`.
    Draws,
}

const PICTURES: &[Picture] = &[
    Picture { name: "demo", line: "demo", servers: Servers::None, columns: 118, rows: 110, scene: Scene::Ends },
    Picture {
        name: "stats",
        line: "stats --delta 3s",
        servers: Servers::AndADeadOne,
        columns: 118,
        rows: 12,
        scene: Scene::Ends,
    },
    Picture {
        name: "ping",
        line: "ping -n 20",
        servers: Servers::AndADeadOne,
        columns: 100,
        rows: 12,
        scene: Scene::Ends,
    },
    Picture {
        name: "locate",
        line: "locate user:42 user:43 --like pylibmc --explain -s cache1,cache2,cache3",
        servers: Servers::None,
        columns: 118,
        rows: 12,
        scene: Scene::Ends,
    },
    Picture {
        name: "ring",
        line: "ring balance --sample 1m --remove cache3 -s cache1,cache2,cache3",
        servers: Servers::None,
        columns: 110,
        rows: 12,
        scene: Scene::Ends,
    },
    Picture { name: "keys", line: "keys --tree :", servers: Servers::All, columns: 110, rows: 14, scene: Scene::Ends },
    Picture {
        name: "hotkeys",
        line: "hotkeys --for 5s --top 8",
        servers: Servers::All,
        columns: 110,
        rows: 14,
        scene: Scene::Ends,
    },
    Picture {
        name: "bench",
        line: "bench --time 5s --rate 20k --keys 20k --dist zipf:1.0 --size 100..1k",
        servers: Servers::All,
        columns: 118,
        rows: 12,
        scene: Scene::Ends,
    },
    Picture {
        name: "bench-curve",
        line: "bench --time 5s --rate 20k --keys 20k --dist zipf:1.0 --size 100..1k --svg {}",
        servers: Servers::All,
        columns: 118,
        rows: 12,
        scene: Scene::Draws,
    },
    Picture {
        name: "top",
        line: "top",
        servers: Servers::AndADeadOne,
        columns: 150,
        rows: 9,
        scene: Scene::Live { steps: &[("j", SECONDS_12)], shows: "3/4 up" },
    },
    Picture {
        name: "top-slabs",
        line: "top",
        servers: Servers::AndADeadOne,
        columns: 100,
        rows: 22,
        scene: Scene::Live { steps: &[("2", SECONDS_3)], shows: "CHUNK" },
    },
    Picture {
        name: "top-prefixes",
        line: "top",
        servers: Servers::AndADeadOne,
        columns: 100,
        rows: 10,
        scene: Scene::Live { steps: &[("4", SECONDS_3), ("dy", SECONDS_6)], shows: "session" },
    },
];

const SECONDS_3: Duration = Duration::from_secs(3);
const SECONDS_6: Duration = Duration::from_secs(6);
const SECONDS_12: Duration = Duration::from_secs(12);

/// Makes the pictures.
pub(crate) fn run(options: &Options) -> Result<()> {
    for name in &options.names {
        ensure!(PICTURES.iter().any(|picture| picture.name == name), "no picture is called {name:?}");
    }
    let program = fs::canonicalize(&options.program)
        .with_context(|| format!("{}: cargo build --release -p remcache-cli", options.program.display()))?;
    fs::create_dir_all(&options.into)?;
    let wanted = |picture: &&Picture| options.names.is_empty() || options.names.iter().any(|name| name == picture.name);
    let mut fleet = None;
    for picture in PICTURES.iter().filter(wanted) {
        if picture.servers != Servers::None && fleet.is_none() {
            fleet = Some(Fleet::start()?);
        }
        let svg = picture.make(&program, fleet.as_ref()).with_context(|| format!("the picture {}", picture.name))?;
        let path = options.into.join(picture.name).with_extension("svg");
        fs::write(&path, svg).with_context(|| format!("writing {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

impl Picture {
    fn make(&self, program: &Path, fleet: Option<&Fleet>) -> Result<String> {
        let scratch = tempfile::tempdir()?;
        let drawn = scratch.path().join("drawn.svg");
        let mut command = Command::new(program);
        command.args(self.line.split(' ').map(|word| if word == "{}" { drawn.as_os_str() } else { word.as_ref() }));
        // Nothing of the environment, where contexts and servers could be, gets onto a picture.
        command.env_clear().env("LANG", "C.UTF-8").current_dir(scratch.path());
        if let (Some(fleet), Servers::All | Servers::AndADeadOne) = (fleet, self.servers) {
            let is_whole = self.servers == Servers::All;
            command
                .env("REMCACHE_SERVERS", if is_whole { fleet.addresses() } else { fleet.addresses_with_a_dead_one() });
        }
        let mut terminal = Terminal::start(command, self.rows, self.columns)?;
        match &self.scene {
            Scene::Ends | Scene::Draws => terminal.end()?,
            Scene::Live { steps, shows } => {
                await_text(&terminal, "up")?;
                for (keys, time) in *steps {
                    terminal.press(keys)?;
                    thread::sleep(*time);
                }
                await_text(&terminal, shows)?;
            }
        }
        if matches!(self.scene, Scene::Draws) {
            return fs::read_to_string(&drawn).with_context(|| terminal.screen().contents());
        }
        let drawing = drawing::draw(&format!("remcache {}", self.line), &terminal.screen());
        if matches!(self.scene, Scene::Live { .. }) {
            terminal.press("q")?;
            terminal.end()?;
        }
        Ok(drawing)
    }
}

fn await_text(terminal: &Terminal, text: &str) -> Result<()> {
    let begun = Instant::now();
    while !terminal.screen().contents().contains(text) {
        if begun.elapsed() > Duration::from_secs(20) {
            bail!("{text:?} does not appear:\n{}", terminal.screen().contents());
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
    fn no_two_pictures_share_a_name() {
        let names: HashSet<_> = PICTURES.iter().map(|picture| picture.name).collect();
        assert_eq!(names.len(), PICTURES.len());
    }

    #[test]
    fn every_picture_is_in_the_documents() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for picture in PICTURES {
            let file = root.join("crates/remcache-cli/docs").join(picture.name).with_extension("svg");
            assert!(file.exists(), "{}: cargo xtask screenshots {}", file.display(), picture.name);
        }
    }
}
