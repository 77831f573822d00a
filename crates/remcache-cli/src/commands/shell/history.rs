//! The history of typed lines in a file, without secrets.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The number of lines that are kept; the file may grow to twice as many before it is cut.
const KEPT: usize = 1000;

/// A file of lines, the oldest first. Without a place for it nothing is kept.
#[derive(Debug)]
pub(super) struct History {
    path: Option<PathBuf>,
}

impl History {
    /// Returns the user's file: `$XDG_STATE_HOME/remcache/history`, else below `~/.local/state`.
    pub(super) fn of_user() -> Self {
        let directory = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = directory("XDG_STATE_HOME").or_else(|| Some(directory("HOME")?.join(".local/state")));
        Self { path: base.map(|base| base.join("remcache").join("history")) }
    }

    /// Returns the lines of earlier shells. A file that is not there, or cannot be read, has none.
    pub(super) fn lines(&self) -> Vec<String> {
        let Some(path) = &self.path else { return Vec::new() };
        let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        if lines.len() > 2 * KEPT {
            lines.drain(..lines.len() - KEPT);
            // A file that stays too long for once is no loss.
            let _ = rewrite(path, &lines);
        }
        lines
    }

    /// Adds a line, unless it may hold a secret.
    pub(super) fn add(&self, line: &str) -> io::Result<()> {
        let Some(path) = self.path.as_ref().filter(|_| !is_secret(line)) else { return Ok(()) };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        // In one write, so that lines of two shells do not mix.
        open(File::options().append(true).create(true), path)?.write_all(format!("{line}\n").as_bytes())
    }
}

/// Returns whether a line may contain a secret, or begins with a blank so that it is not kept.
pub(super) fn is_secret(line: &str) -> bool {
    line.starts_with(' ') || line.split("://").skip(1).any(has_password) || line.contains("password=")
}

/// Returns whether a URL's part behind its scheme has a user and a password.
fn has_password(rest: &str) -> bool {
    let authority = rest.split(['/', ' ']).next().unwrap_or_default();
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

fn rewrite(path: &Path, lines: &[String]) -> io::Result<()> {
    let unfinished = path.with_extension(std::process::id().to_string());
    let text = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>();
    open(File::options().write(true).create(true).truncate(true), &unfinished)?.write_all(text.as_bytes())?;
    fs::rename(&unfinished, path)
}

/// Opens a file that only the user may read.
fn open(options: &mut fs::OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> (tempfile::TempDir, History) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/history");
        (directory, History { path: Some(path) })
    }

    #[test]
    fn lines_outlive_the_shell_and_secrets_do_not() {
        let (_directory, history) = history();
        assert!(history.lines().is_empty());
        let secret = [
            "version -s memcached://me:secret@cache1",
            "version -s 'memcached://me:p@ss@cache1/ns'",
            "version -s memcached://cache1/?password=secret",
            " set k secret",
        ];
        let harmless = ["get user:1", "version -s memcached://me@cache1", "set mail a:b@c"];
        for line in secret.iter().chain(&harmless) {
            history.add(line).unwrap();
        }
        assert_eq!(history.lines(), harmless);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(history.path.as_ref().unwrap()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn the_file_is_cut_when_it_is_long() {
        let (_directory, history) = history();
        history.add("first").unwrap();
        let long: String = (0..2 * KEPT).map(|number| format!("get {number}\n")).collect();
        fs::write(history.path.as_ref().unwrap(), format!("first\n{long}")).unwrap();
        assert_eq!(history.lines().len(), KEPT);
        let text = fs::read_to_string(history.path.as_ref().unwrap()).unwrap();
        assert!(text.lines().count() == KEPT && text.ends_with(&format!("get {}\n", 2 * KEPT - 1)));
    }

    #[test]
    fn without_a_place_nothing_is_kept() {
        let history = History { path: None };
        history.add("get k").unwrap();
        assert!(history.lines().is_empty());
    }
}
