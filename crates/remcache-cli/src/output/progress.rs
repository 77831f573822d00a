//! A progress bar on stderr, if that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Notes;
use crate::wrap::stderr_columns;

/// The progress of a long operation.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Progress towards `end`, hidden where notes are not watched.
    pub(crate) fn new(notes: Notes, end: u64) -> Self {
        Self::drawn(notes, Some(end), bar_template())
    }

    /// Progress towards an unknown end.
    pub(crate) fn endless(notes: Notes) -> Self {
        Self::drawn(notes, None, "{wide_msg}")
    }

    fn drawn(notes: Notes, end: Option<u64>, template: &str) -> Self {
        let target = match notes.is_watched() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(end, target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        }
        Self(bar)
    }

    /// Sets the position, and the message next to the bar.
    pub(crate) fn set(&self, position: u64, message: String) {
        self.0.set_position(position);
        self.0.set_message(message);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Returns the template of the bar: on a narrow terminal the message has priority, and is cut to stay on one line.
fn bar_template() -> &'static str {
    match stderr_columns().unwrap_or(80) {
        ..40 => "{percent:>3}%  {wide_msg}",
        40..80 => "{bar:10.cyan} {percent:>3}%  {wide_msg}",
        _ => "{bar:30.cyan} {percent:>3}%  {wide_msg}",
    }
}
