//! A progress bar on stderr, if somebody looks at it.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Notes;

/// Something that takes a while.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Progress towards `end`, for whoever hears the notes.
    pub(crate) fn new(notes: Notes, end: u64) -> Self {
        let target = match notes.is_watched() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(end), target);
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
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

const TEMPLATE: &str = "{bar:30.cyan} {percent:>3}%  {msg}";
