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

use super::protocol::{Next, ProtocolLine, ReplyKind};
use crate::commands::get;
use crate::exit::{Exit, Failure, Outcome};
use crate::item_limit::MAX_VALUE_SIZE;
use crate::outcome_counts::OutcomeCounts;
use crate::output::{TextStyle, text};
use crate::session::Session;

/// Connections that use the text protocol, kept from one line to the next unless an exchange failed.
#[derive(Default)]
pub(super) struct TextConnections(HashMap<String, TextConnection>);

struct TextConnection {
    stream: Box<dyn Stream>,
    /// Received data that is not parsed yet.
    input: Vec<u8>,
    timeout: Duration,
}

/// A line of an answer is no longer than this.
const LONGEST_LINE: usize = 1 << 20;

impl TextConnections {
    /// Sends a line with its data to the server of its key, or to all, and prints the answers.
    pub(super) async fn send(&mut self, parsed: &ProtocolLine<'_>, request: &[u8], session: &mut Session) -> Outcome {
        let client = session.client()?;
        let servers = match parsed.key() {
            Some(key) => vec![server_of_key(key, parsed, &client)?],
            None => client.servers(),
        };
        let (mut counts, mut is_refused) = (OutcomeCounts::default(), false);
        for server in &servers {
            if servers.len() > 1 {
                let name = session.output.paint().apply(TextStyle::Title, server.name());
                session.output.line(name)?;
            }
            match self.ask(server, parsed, request, session).await {
                Ok(ReplyKind::Error) => is_refused = true,
                Ok(kind) => counts.answer(kind == ReplyKind::Success),
                Err(Failure::Library(error)) => counts.error(&error),
                Err(Failure::Io(_, error)) => {
                    counts.failures(&format!("{}: {error}", server.name()), Exit::Unreachable, 1);
                }
                Err(failure) => return Err(failure),
            }
        }
        counts.report_failures("servers", &mut session.output)?;
        Ok(if is_refused && counts.failed() == 0 { Exit::Server } else { counts.exit_of_servers() })
    }

    async fn ask(
        &mut self,
        server: &ServerHandle,
        parsed: &ProtocolLine<'_>,
        request: &[u8],
        session: &mut Session,
    ) -> Result<ReplyKind, Failure> {
        // A connection whose exchange is cancelled is not put back.
        let mut idle = self.0.remove(server.name());
        if let Some(connection) = &mut idle
            && !connection.is_quiet().await
        {
            idle = None;
        }
        let mut connection = match idle {
            Some(connection) => connection,
            None => TextConnection {
                stream: server.open_text_connection().await?,
                input: Vec::new(),
                timeout: session.options.timeout,
            },
        };
        let kind = connection.exchange(parsed, request, session).await?;
        if kind != ReplyKind::Error && !parsed.closes_connection() {
            self.0.insert(server.name().to_owned(), connection);
        }
        Ok(kind)
    }
}

/// Returns the server that holds a key which is written as servers see it.
fn server_of_key(key: &[u8], parsed: &ProtocolLine<'_>, client: &Client) -> Result<ServerHandle, Failure> {
    let decoded = parsed.is_base64().then(|| STANDARD.decode(key).ok()).flatten();
    let key = decoded.as_deref().unwrap_or(key);
    let name = client.locate(key.strip_prefix(client.namespace()).unwrap_or(key))?;
    let name = name.map(|server| server.name().to_owned());
    let server = client.servers().into_iter().find(|server| Some(server.name()) == name.as_deref());
    server.ok_or_else(|| Failure::usage("there is no server"))
}

impl TextConnection {
    /// Returns whether the connection is open and has no unexpected data.
    async fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        self.input.is_empty() && timeout(Duration::ZERO, self.stream.read(&mut byte)).await.is_err()
    }

    /// Sends a request and prints the reply; returns the most severe kind of its lines.
    async fn exchange(
        &mut self,
        parsed: &ProtocolLine<'_>,
        request: &[u8],
        session: &mut Session,
    ) -> Result<ReplyKind, Failure> {
        let fail = |error| Failure::Io(String::new(), error);
        self.stream.write_all(request).await.map_err(fail)?;
        if parsed.is_quiet() {
            // The reply to this ends a sequence of quiet requests.
            self.stream.write_all(b"mn\r\n").await.map_err(fail)?;
        }
        self.stream.flush().await.map_err(fail)?;
        let mut kind = ReplyKind::Success;
        let mut has_value = false;
        loop {
            if !self.input.contains(&b'\n') {
                session.output.flush()?;
            }
            let line = match self.line().await {
                Err(error) if parsed.closes_connection() && error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(kind);
                }
                line => line.map_err(fail)?,
            };
            kind = match ReplyKind::of(&line) {
                ReplyKind::Success => kind,
                worse => worse,
            };
            let next = Next::after(&line, parsed);
            if !(parsed.is_quiet() && line == b"MN") {
                session.output.line(text::escaped(&line))?;
            }
            match next {
                Next::Line => {}
                Next::End if line == b"END" && parsed.key().is_some() && !has_value => return Ok(ReplyKind::Negative),
                Next::End => return Ok(kind),
                Next::Data { length, more_follows } => {
                    has_value = true;
                    let value = self.value(length).await.map_err(fail)?;
                    show(&value, session)?;
                    if !more_follows {
                        return Ok(kind);
                    }
                }
            }
        }
    }

    /// Returns the next line, without its end.
    async fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut seen = 0;
        let end = loop {
            if let Some(at) = self.input[seen..].iter().position(|&byte| byte == b'\n') {
                break seen + at;
            }
            seen = self.input.len();
            if seen > LONGEST_LINE {
                return Err(io::Error::other("the line of the reply is too long"));
            }
            self.fill().await?;
        };
        let mut line: Vec<u8> = self.input.drain(..=end).collect();
        line.pop();
        line.pop_if(|byte| *byte == b'\r');
        Ok(line)
    }

    /// Returns the next `count` bytes and the line end after them.
    async fn value(&mut self, length: usize) -> io::Result<Vec<u8>> {
        if length > MAX_VALUE_SIZE {
            return Err(io::Error::other(format!("the reply announces a value of {length} bytes")));
        }
        while self.input.len() < length + 2 {
            self.fill().await?;
        }
        let value = self.input.drain(..length).collect();
        self.input.drain(..2);
        Ok(value)
    }

    async fn fill(&mut self) -> io::Result<()> {
        let read = timeout(self.timeout, self.stream.read_buf(&mut self.input)).await;
        match read
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {:?}", self.timeout)))??
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
