//! A file with one address a line, as a source.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::{Discover, Failure};

/// A file with one address a line; `#` begins a comment, blank lines count for nothing.
///
/// The file is read every second and compared with what it was: a few kilobytes from the system's
/// memory. Watching it by events of the system would cost a dependency, and miss what happens on
/// network file systems and behind the symbolic links by which Kubernetes replaces its files.
///
/// A file that is being written is not taken for a list: it has to be the same when it is read again
/// after 100 ms, and its last line has to end. Whoever writes in pieces with longer pauses should write
/// another file and rename it, which is seen as one change. While the file is absent, too long (1 MiB)
/// or wrong anywhere, the last good list stays in use.
#[derive(Clone, Debug)]
pub struct WatchedFile {
    path: PathBuf,
    interval: Duration,
    /// What the file held when it was last read, and held still.
    settled: Option<String>,
}

impl WatchedFile {
    /// A source of this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), interval: Duration::from_secs(1), settled: None }
    }

    /// How often the file is read (default: every second).
    #[must_use]
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    async fn read(&self) -> Result<String, Failure> {
        let path = self.path.clone();
        spawn_blocking(move || read(&path)).await?
    }
}

impl Discover for WatchedFile {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn interval(&self) -> Duration {
        self.interval.max(LEAST_INTERVAL)
    }

    async fn look(&mut self) -> Result<Option<Vec<String>>, Failure> {
        let text = self.read().await?;
        if self.settled.as_ref() != Some(&text) {
            sleep(SETTLES_IN).await;
            if self.read().await? != text {
                return Err("it is being written; it is read when it holds still".into());
            }
        }
        let addresses = parse(&text)?;
        self.settled = Some(text);
        Ok(Some(addresses))
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    // To open a named pipe would wait for a writer, for ever.
    if !path.metadata()?.is_file() {
        return Err("it is no regular file".into());
    }
    let mut text = String::new();
    File::open(path)?.take(LONGEST + 1).read_to_string(&mut text)?;
    match text.len() as u64 > LONGEST {
        true => Err(format!("it is longer than {LONGEST} bytes").into()),
        false => Ok(text),
    }
}

fn parse(text: &str) -> Result<Vec<String>, Failure> {
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("its last line does not end: it is being written, or a line end is missing".into());
    }
    let lines = text.lines().map(|line| without_comment(line).trim());
    Ok(lines.filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// The path of a Unix socket may have a `#`, so a comment begins a line or follows a space.
fn without_comment(line: &str) -> &str {
    let begins = |(at, _): &(usize, &str)| *at == 0 || line[..*at].ends_with(char::is_whitespace);
    line.match_indices('#').find(begins).map_or(line, |(at, _)| &line[..at])
}

const LONGEST: u64 = 1 << 20;
const SETTLES_IN: Duration = Duration::from_millis(100);
/// Below this the file would be read all the time.
const LEAST_INTERVAL: Duration = Duration::from_millis(10);

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
        // `cache1:1121` would be another server than the one that is being written.
        assert!(parse("cache0:11211\ncache1:1121").unwrap_err().to_string().contains("does not end"));
    }
}
