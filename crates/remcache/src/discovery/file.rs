//! Source that polls a file with one address per line.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::{Discover, DiscoverError};

/// Source that reads a file with one address per line; `#` starts a comment, and blank lines are ignored.
///
/// The file is read every second and compared with its previous contents: a few kilobytes from the page
/// cache. File system notifications would add a dependency, and miss changes on network file systems and
/// behind the symbolic links by which Kubernetes replaces its files.
///
/// A partially written file is not used: it has to be unchanged when it is read again after 100 ms, and
/// its last line must end with a newline. Programs that write it with longer pauses should write a temporary file
/// and rename it, which is atomic. While the file is missing, too long (1 MiB) or invalid anywhere, the
/// last valid list stays in use.
#[derive(Clone, Debug)]
pub struct WatchedFile {
    path: PathBuf,
    interval: Duration,
    /// Contents of the file when it was last read unchanged.
    settled: Option<String>,
}

impl WatchedFile {
    /// Creates a source for this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), interval: Duration::from_secs(1), settled: None }
    }

    /// Sets the polling interval (default: 1 s).
    #[must_use]
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    async fn read(&self) -> Result<String, DiscoverError> {
        let path = self.path.clone();
        spawn_blocking(move || read(&path)).await?
    }
}

impl Discover for WatchedFile {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn interval(&self) -> Duration {
        self.interval.max(MIN_INTERVAL)
    }

    async fn fetch_servers(&mut self) -> Result<Option<Vec<String>>, DiscoverError> {
        let text = self.read().await?;
        if self.settled.as_ref() != Some(&text) {
            sleep(SETTLES_IN).await;
            if self.read().await? != text {
                return Err("the file is being written; it is read again once it is unchanged".into());
            }
        }
        let addresses = parse(&text)?;
        self.settled = Some(text);
        Ok(Some(addresses))
    }
}

fn read(path: &Path) -> Result<String, DiscoverError> {
    // Opening a named pipe would block until it has a writer.
    if !path.metadata()?.is_file() {
        return Err("not a regular file".into());
    }
    let mut text = String::new();
    File::open(path)?.take(MAX_LEN + 1).read_to_string(&mut text)?;
    match text.len() as u64 > MAX_LEN {
        true => Err(format!("longer than {MAX_LEN} bytes").into()),
        false => Ok(text),
    }
}

fn parse(text: &str) -> Result<Vec<String>, DiscoverError> {
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line does not end with a newline: the file is incomplete".into());
    }
    let lines = text.lines().map(|line| without_comment(line).trim());
    Ok(lines.filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// The path of a Unix socket may have a `#`, so a comment begins a line or follows a space.
fn without_comment(line: &str) -> &str {
    let begins = |(at, _): &(usize, &str)| *at == 0 || line[..*at].ends_with(char::is_whitespace);
    line.match_indices('#').find(begins).map_or(line, |(at, _)| &line[..at])
}

const MAX_LEN: u64 = 1 << 20;
const SETTLES_IN: Duration = Duration::from_millis(100);
/// Minimum polling interval.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_comments_and_blanks() {
        let text = "# the caches\na:1\n\n  b:2:3 \t# heavy\r\n/run/x#1.sock\n   # nothing\n";
        assert_eq!(parse(text).unwrap(), ["a:1", "b:2:3", "/run/x#1.sock"]);
        assert!(parse("").unwrap().is_empty());
        assert!(parse("# none yet\n").unwrap().is_empty());
    }

    #[test]
    fn a_last_line_without_its_end_is_not_read() {
        // `cache1:1121` would be a different server than the one being written.
        assert!(parse("cache0:11211\ncache1:1121").unwrap_err().to_string().contains("does not end"));
    }
}
