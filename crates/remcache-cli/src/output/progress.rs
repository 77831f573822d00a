//! A progress bar on stderr, if somebody looks at it.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Notes;

/// Something that takes a while.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Progress towards `end`, for whoever hears the notes.
    pub(crate) fn new(notes: Notes, end: u64) -> Self {
        Self::drawn(notes, Some(end), bar_template())
    }

    /// Progress towards an end that is not known.
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

    /// How far it is, and what to say beside the bar.
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

/// The message is what a narrow terminal has room for; what does not fit is cut, so that a line stays
/// one.
fn bar_template() -> &'static str {
    let columns = ratatui::crossterm::terminal::size().map_or(80, |(columns, _)| columns);
    match columns {
        ..40 => "{percent:>3}%  {wide_msg}",
        40..80 => "{bar:10.cyan} {percent:>3}%  {wide_msg}",
        _ => "{bar:30.cyan} {percent:>3}%  {wide_msg}",
    }
}
