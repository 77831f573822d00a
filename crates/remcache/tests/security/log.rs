//! The log of all tests of this binary, at every level.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock};

/// The log since [`Log::start`].
pub(crate) struct Log {
    text: Text,
    from: usize,
}

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

/// One for all threads, because `tracing` caches the interest of call sites for the whole process.
static TEXT: OnceLock<Text> = OnceLock::new();

impl Log {
    /// Records log lines from now on.
    pub(crate) fn start() -> Self {
        let text = TEXT.get_or_init(subscribe).clone();
        let from = text.0.lock().unwrap().len();
        Self { text, from }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.text.0.lock().unwrap()[self.from..].to_vec()).unwrap()
    }

    /// Returns the warnings about this server.
    pub(crate) fn warnings(&self, server: &str) -> Vec<String> {
        let server = format!("server={server} ");
        let text = self.text();
        text.lines().filter(|line| line.contains(" WARN ") && line.contains(&server)).map(str::to_owned).collect()
    }
}

fn subscribe() -> Text {
    let text = Text::default();
    let writer = text.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).expect("no other subscriber is set");
    text
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
