//! Sends lines of the protocol to the servers and prints the replies.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use remcache::Client;
use remcache::ServerHandle;
use remcache::transport::Stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::protocol::{Meaning, Next, Sent};
use crate::commands::get;
use crate::exit::{Exit, Failure, Outcome};
use crate::item_limit::MAX_VALUE_SIZE;
use crate::output::{TextStyle, text};
use crate::session::Session;
use crate::tally::Tally;

/// Connections on the text protocol, kept over lines; those of lines that went wrong are not.
#[derive(Default)]
pub(super) struct Protocols(HashMap<String, Protocol>);

struct Protocol {
    stream: Box<dyn Stream>,
    /// Received data that is not parsed yet.
    input: Vec<u8>,
    silence: Duration,
}

/// A line of an answer is no longer than this.
const LONGEST_LINE: usize = 1 << 20;

impl Protocols {
    /// Sends a line with its data to the server of its key, or to all, and prints the answers.
    pub(super) async fn send(&mut self, sent: &Sent<'_>, request: &[u8], session: &mut Session) -> Outcome {
        let client = session.client()?;
        let servers = match sent.key() {
            Some(key) => vec![home(key, sent, &client)?],
            None => client.servers(),
        };
        let (mut tally, mut is_refused) = (Tally::default(), false);
        for server in &servers {
            if servers.len() > 1 {
                let name = session.output.paint().apply(TextStyle::Title, server.name());
                session.output.line(name)?;
            }
            match self.ask(server, sent, request, session).await {
                Ok(Meaning::Error) => is_refused = true,
                Ok(meaning) => tally.answer(meaning == Meaning::Yes),
                Err(Failure::Library(error)) => tally.error(&error),
                Err(Failure::Io(_, error)) => {
                    tally.failures(&format!("{}: {error}", server.name()), Exit::Unreachable, 1);
                }
                Err(failure) => return Err(failure),
            }
        }
        tally.complain("servers", &mut session.output)?;
        Ok(if is_refused && tally.failed() == 0 { Exit::Server } else { tally.exit_of_servers() })
    }

    async fn ask(
        &mut self,
        server: &ServerHandle,
        sent: &Sent<'_>,
        request: &[u8],
        session: &mut Session,
    ) -> Result<Meaning, Failure> {
        // A protocol whose line is dropped in the middle is not put back.
        let mut kept = self.0.remove(server.name());
        if let Some(protocol) = &mut kept
            && !protocol.is_quiet().await
        {
            kept = None;
        }
        let mut protocol = match kept {
            Some(protocol) => protocol,
            None => Protocol {
                stream: server.open_text_connection().await?,
                input: Vec::new(),
                silence: session.options.timeout,
            },
        };
        let meaning = protocol.converse(sent, request, session).await?;
        if meaning != Meaning::Error && !sent.is_last() {
            self.0.insert(server.name().to_owned(), protocol);
        }
        Ok(meaning)
    }
}

/// The server that holds a key which is written as servers see it.
fn home(key: &[u8], sent: &Sent<'_>, client: &Client) -> Result<ServerHandle, Failure> {
    let decoded = sent.is_base64().then(|| STANDARD.decode(key).ok()).flatten();
    let key = decoded.as_deref().unwrap_or(key);
    let name = client.locate(key.strip_prefix(client.namespace()).unwrap_or(key))?;
    let name = name.map(|server| server.name().to_owned());
    let server = client.servers().into_iter().find(|server| Some(server.name()) == name.as_deref());
    server.ok_or_else(|| Failure::usage("there is no server"))
}

impl Protocol {
    /// Whether the connection is open and has no unexpected data.
    async fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        self.input.is_empty() && timeout(Duration::ZERO, self.stream.read(&mut byte)).await.is_err()
    }

    /// Sends a request and prints the reply; returns the most severe meaning of its lines.
    async fn converse(&mut self, sent: &Sent<'_>, request: &[u8], session: &mut Session) -> Result<Meaning, Failure> {
        let fail = |error| Failure::Io(String::new(), error);
        self.stream.write_all(request).await.map_err(fail)?;
        if sent.is_quiet() {
            // The reply to this ends a sequence of quiet requests.
            self.stream.write_all(b"mn\r\n").await.map_err(fail)?;
        }
        self.stream.flush().await.map_err(fail)?;
        let mut meaning = Meaning::Yes;
        let mut has_value = false;
        loop {
            if !self.input.contains(&b'\n') {
                session.output.flush()?;
            }
            let line = match self.line().await {
                Err(error) if sent.is_last() && error.kind() == io::ErrorKind::UnexpectedEof => return Ok(meaning),
                line => line.map_err(fail)?,
            };
            meaning = match Meaning::of(&line) {
                Meaning::Yes => meaning,
                graver => graver,
            };
            let next = Next::after(&line, sent);
            if !(sent.is_quiet() && line == b"MN") {
                session.output.line(text::escaped(&line))?;
            }
            match next {
                Next::Line => {}
                Next::End if line == b"END" && sent.key().is_some() && !has_value => return Ok(Meaning::No),
                Next::End => return Ok(meaning),
                Next::Data { length, goes_on } => {
                    has_value = true;
                    let value = self.value(length).await.map_err(fail)?;
                    show(&value, session)?;
                    if !goes_on {
                        return Ok(meaning);
                    }
                }
            }
        }
    }

    /// The next line, without its end.
    async fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut seen = 0;
        let end = loop {
            if let Some(at) = self.input[seen..].iter().position(|&byte| byte == b'\n') {
                break seen + at;
            }
            seen = self.input.len();
            if seen > LONGEST_LINE {
                return Err(io::Error::other("it answers with a line that has no end"));
            }
            self.fill().await?;
        };
        let mut line: Vec<u8> = self.input.drain(..=end).collect();
        line.pop();
        line.pop_if(|byte| *byte == b'\r');
        Ok(line)
    }

    /// The next `count` bytes and the line end after them.
    async fn value(&mut self, length: usize) -> io::Result<Vec<u8>> {
        if length > MAX_VALUE_SIZE {
            return Err(io::Error::other(format!("it announces a value of {length} bytes")));
        }
        while self.input.len() < length + 2 {
            self.fill().await?;
        }
        let value = self.input.drain(..length).collect();
        self.input.drain(..2);
        Ok(value)
    }

    async fn fill(&mut self) -> io::Result<()> {
        let read = timeout(self.silence, self.stream.read_buf(&mut self.input)).await;
        match read
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {:?}", self.silence)))??
        {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            _ => Ok(()),
        }
    }
}

/// Prints a value of an answer on lines of its own.
fn show(value: &[u8], session: &mut Session) -> Result<(), Failure> {
    get::print(value, false, &mut session.output)?;
    Ok(session.output.end_line()?)
}
