//! Completions in the shells that users type in: bash, fish and zsh on a terminal.

use std::path::Path;

use tempfile::TempDir;

use crate::tool::{TerminalSession, program, remcache};

/// A shell that has loaded the completions, in a home with the contexts `shop` and `test`.
struct Shell {
    live: TerminalSession,
    _home: TempDir,
}

impl Shell {
    fn start(name: &str, args: &[&str], load: &str) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let home_name = home.path().to_str().expect("a path in UTF-8");
        let script = remcache(["completions", name]).run().exits(0);
        std::fs::write(home.path().join("script"), script.stdout).expect("the file is written");
        std::fs::write(home.path().join("values.txt"), "v").expect("the file is written");
        for context in ["shop", "test"] {
            remcache(["context", "add", context, "-s", "a.invalid"]).env("HOME", home_name).run().exits(0);
        }
        let tool = Path::new(env!("CARGO_BIN_EXE_remcache")).parent().expect("a directory");
        let path = format!("{}:{}", tool.display(), std::env::var("PATH").unwrap_or_default());
        assert!(
            std::env::split_paths(&path).any(|directory| directory.join(name).is_file()),
            "{name} is missing: apt-get install -y --no-install-recommends {name}"
        );
        // Job control needs a terminal of the shell's own.
        let shell = program("setsid", &[&["--ctty", name], args].concat()).directory(home.path());
        let shell = shell.env("PATH", &path).env("HOME", home_name).env("PS1", "ready> ").env("LC_ALL", "C.UTF-8");
        let mut live = shell.start_on_terminal(30, 100);
        live.press(load);
        live.wait_for_text("loaded");
        Self { live, _home: home }
    }

    /// Completes a line, which then begins with `expected`, and clears it.
    fn completes(&mut self, line: &str, expected: &str) {
        self.live.press(line);
        self.live.press("\t");
        self.live.wait_for_text(expected);
        // Ctrl-U empties the line.
        self.live.press("\x15");
    }

    fn check(mut self) {
        self.completes("remcache locat", "remcache locate");
        self.completes("remcache stats it", "remcache stats items");
        self.completes("remcache watch mut", "remcache watch mutations");
        self.completes("remcache stats --tot", "remcache stats --total");
        self.completes("remcache get k --like twem", "remcache get k --like twemproxy");
        self.completes("remcache get k --context sh", "remcache get k --context shop");
        self.completes("remcache context use te", "remcache context use test");
        self.completes("remcache copy --from sh", "remcache copy --from shop");
        self.completes("remcache load val", "remcache load values.txt");
        self.completes("remcache help locat", "remcache help locate");
        self.completes("remcache help context us", "remcache help context use");
        self.completes("remcache help fields uncount", "remcache help fields uncounted_gets");
        self.completes("remcache man serve-m", "remcache man serve-metrics");
        self.live.press("exit\r");
    }
}

#[test]
fn bash_completes() {
    Shell::start("bash", &["--norc", "-i"], "source ./script; echo load''ed\r").check();
}

#[test]
fn fish_completes() {
    Shell::start("fish", &["--no-config"], "source ./script; echo load''ed\r").check();
}

#[test]
fn zsh_completes() {
    Shell::start("zsh", &["-f", "-i"], "autoload -U compinit; compinit -u -D; source ./script; echo load''ed\r")
        .check();
}

#[test]
fn each_shell_has_a_script() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(remcache(["completions", shell]).run().exits(0).text().contains("remcache"), "{shell}");
    }
    remcache(["completions", "csh"]).run().exits(2).reports_error("zsh");
    assert!(remcache(["completions", "--help"]).run().exits(0).text().contains("~/.config/fish/completions"));
}
