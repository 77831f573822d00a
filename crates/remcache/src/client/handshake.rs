//! From an address to a connection that requests may use: the socket, TLS, the authentication.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::address::Endpoint;
use super::after;
use super::config::Config;
use super::credentials::Credentials;
use super::failure::Failure;
use super::transport::Stream;
use crate::proto::binary::{self, Frame, Header, Opcode};
use crate::proto::{InputBuffer, Operation, ProtocolError, Status};

/// A connection that requests may use.
pub(crate) struct Established {
    pub(crate) stream: Box<dyn Stream>,
    /// With whose credentials, if the server was given any.
    pub(crate) credentials: Option<Credentials>,
}

/// What a connection speaks, as far as its authentication goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// The binary wire: SASL.
    Binary,
    /// The meta and text wires: a `set` before anything else.
    #[cfg_attr(not(test), expect(dead_code, reason = "the client speaks the binary wire alone"))]
    Text,
}

/// Opens a connection: all of it within the connect timeout.
///
/// With credentials, or without any, that the server has refused nothing is even opened; what it
/// refuses now is remembered in `refused`.
pub(crate) async fn establish(
    endpoint: &Endpoint,
    config: &Config,
    refused: &mut Option<Refused>,
) -> Result<Established, Failure> {
    let limit = config.transport.connect_timeout;
    let until = after(Instant::now(), limit);
    let credentials = match &config.credentials {
        None => None,
        Some(source) => Some(within(until, source.ask(endpoint), || slow("provider of credentials", limit)).await?),
    };
    if let Some(refused) = refused.as_ref().filter(|refused| refused.credentials == credentials) {
        return Err(refused.failure.clone());
    }
    let opening = config.connector.connect(&endpoint.address, &config.transport);
    let opened = within(until, async { Ok(opening.await) }, || format!("no connection within {limit:?}")).await?;
    let mut stream = opened.map_err(|error| Failure::Unreachable(error.to_string()))?;
    if let Some(tls) = &config.tls {
        let hint = || format!("no answer to the TLS handshake within {limit:?}: is it a port for TLS?");
        stream = within(until, tls.connect(stream, &endpoint.address), hint).await?;
    }
    if let Some(credentials) = &credentials {
        let hint = || {
            format!("no answer to the authentication within {limit:?}: a server with a password file (-Y) speaks text only")
        };
        let known = within(until, authenticate(&mut *stream, Family::Binary, credentials), hint).await;
        known.inspect_err(|failure| *refused = Refused::by(failure, Some(credentials)))?;
    }
    Ok(Established { stream, credentials })
}

/// What a server has refused, and how.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) credentials: Option<Credentials>,
    pub(crate) failure: Failure,
}

impl Refused {
    /// What is to be remembered of a failure.
    pub(crate) fn by(failure: &Failure, credentials: Option<&Credentials>) -> Option<Self> {
        let is_final = matches!(failure, Failure::Refused(_));
        is_final.then(|| Self { credentials: credentials.cloned(), failure: failure.clone() })
    }
}

async fn within<T>(
    until: Instant,
    step: impl Future<Output = Result<T, Failure>>,
    late: impl FnOnce() -> String,
) -> Result<T, Failure> {
    timeout_at(until, step).await.unwrap_or_else(|_| Err(Failure::Unreachable(late())))
}

fn slow(who: &str, limit: Duration) -> String {
    format!("no answer of the {who} within {limit:?}")
}

/// Makes a connection known to its server, before anything else is said on it.
///
/// The reply is awaited: after a refusal a server may merge the replies to what follows, or close.
pub(crate) async fn authenticate<S>(stream: &mut S, family: Family, credentials: &Credentials) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    match family {
        Family::Binary => sasl_plain(stream, credentials).await,
        Family::Text => text(stream, credentials).await,
    }
}

// ---- Binary: SASL ----

async fn sasl_plain<S>(stream: &mut S, credentials: &Credentials) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    send(stream, &sasl_request(credentials)).await?;
    let mut input = InputBuffer::new();
    loop {
        if stream.read_buf(input.spare()).await.map_err(|error| lost(&error))? == 0 {
            return Err(closed());
        }
        match binary::decode(&mut input, LONGEST_REPLY).map_err(no_reply)? {
            None => {}
            Some(frame) if frame.opcode == sasl_auth() && frame.opaque == 0 && input.is_empty() => {
                return sasl_outcome(&frame, credentials);
            }
            Some(_) => return Err(Failure::Unreachable("the server answered what was not asked".into())),
        }
    }
}

fn sasl_auth() -> Opcode {
    Opcode::of(Operation::SaslAuth, false, false)
}

fn sasl_request(credentials: &Credentials) -> Zeroizing<Vec<u8>> {
    let data = credentials.plain();
    // Both fit: credentials are checked to be short.
    let body_length = u32::try_from(MECHANISM.len().saturating_add(data.len())).unwrap_or(u32::MAX);
    let key_length = MECHANISM.len() as u16;
    let header = Header { key_length, body_length, ..Header::request(sasl_auth()) };
    let mut request = Zeroizing::new(Vec::with_capacity(Header::LEN + MECHANISM.len() + data.len()));
    request.extend_from_slice(&header.to_bytes());
    request.extend_from_slice(MECHANISM);
    request.extend_from_slice(&data);
    request
}

/// What a reply to the authentication means (docs/protocol.md). Its text is not repeated: what a
/// server says after it was given a password is not to be trusted with a log.
fn sasl_outcome(frame: &Frame, credentials: &Credentials) -> Result<(), Failure> {
    match frame.reply.status {
        Status::NoError => Ok(()),
        Status::UnknownCommand => not_asked_for(credentials, "-S"),
        Status::AuthError => Err(refused()),
        Status::AuthContinue => Err(Failure::Auth("the server wants more than SASL's PLAIN mechanism".into())),
        Status::Busy | Status::TemporaryFailure | Status::OutOfMemory | Status::InternalError => {
            Err(Failure::Unreachable(format!("the authentication had to be put off: {}", frame.reply.status)))
        }
        other => Err(Failure::Auth(format!("the server answered the authentication with: {other}"))),
    }
}

fn no_reply(error: ProtocolError) -> Failure {
    match error {
        ProtocolError::WrongMagic(b'C') => Failure::Auth(
            "the server answers in text: one with a password file (-Y) takes no password over the binary protocol".into(),
        ),
        other => Failure::Unreachable(other.to_string()),
    }
}

// ---- Text: a password file ----

/// Before authentication such a server answers anything with `unauthenticated`. Another server
/// would store the password as an item, so what is there is found out first.
async fn text<S>(stream: &mut S, credentials: &Credentials) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    send(stream, b"version\r\n").await?;
    let answer = line(stream).await?;
    if answer.starts_with(b"VERSION") {
        return not_asked_for(credentials, "-Y");
    }
    if answer != b"CLIENT_ERROR unauthenticated" {
        return Err(text_refusal(&answer));
    }
    let Some(token) = credentials.token() else {
        return Err(Failure::Auth("a server with a password file takes no user with a space".into()));
    };
    send(stream, &text_request(&token)).await?;
    let answer = line(stream).await?;
    match &answer[..] {
        b"STORED" => Ok(()),
        b"CLIENT_ERROR authentication failure" => Err(refused()),
        b"CLIENT_ERROR bad authentication token format" => {
            Err(Failure::Auth("the server takes no such user or password: is the password empty?".into()))
        }
        other => Err(text_refusal(other)),
    }
}

/// Should the server store it all the same, it is expired at once.
fn text_request(token: &[u8]) -> Zeroizing<Vec<u8>> {
    let head = format!("set auth 0 -1 {}\r\n", token.len());
    let mut request = Zeroizing::new(Vec::with_capacity(head.len() + token.len() + 2));
    request.extend_from_slice(head.as_bytes());
    request.extend_from_slice(token);
    request.extend_from_slice(b"\r\n");
    request
}

/// A line of an answer, without its end.
async fn line<S: AsyncRead + Unpin + ?Sized>(stream: &mut S) -> Result<Vec<u8>, Failure> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        if line.len() >= LONGEST_REPLY {
            return Err(text_refusal(&line));
        }
        // One at a time: what follows the line is not ours.
        match stream.read_u8().await {
            Ok(byte) => line.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(closed()),
            Err(error) => return Err(lost(&error)),
        }
    }
    line.truncate(line.len().saturating_sub(2));
    Ok(line)
}

fn text_refusal(answer: &[u8]) -> Failure {
    if answer.starts_with(b"ERROR Too many open connections") {
        return Failure::Unreachable(ProtocolError::TooManyConnections.to_string());
    }
    Failure::Unreachable("the server answered the authentication with what is no answer to it".into())
}

// ---- Both ----

async fn send<S: AsyncWrite + Unpin + ?Sized>(stream: &mut S, bytes: &[u8]) -> Result<(), Failure> {
    stream.write_all(bytes).await.map_err(|error| lost(&error))?;
    stream.flush().await.map_err(|error| lost(&error))
}

fn refused() -> Failure {
    Failure::Refused("the server refused the user or the password".into())
}

fn not_asked_for(credentials: &Credentials, option: &str) -> Result<(), Failure> {
    match credentials.is_optional() {
        true => Ok(()),
        false => Err(Failure::Auth(format!(
            "the server asks for no password: it runs without {option}; leave the credentials out, or make them Credentials::optional"
        ))),
    }
}

fn closed() -> Failure {
    Failure::Unreachable("the server closed the connection during the authentication".into())
}

fn lost(error: &io::Error) -> Failure {
    super::tls::failure(error).unwrap_or_else(|| Failure::Unreachable(format!("during the authentication: {error}")))
}

const MECHANISM: &[u8] = b"PLAIN";
/// The longest reply to an authentication that is read, in bytes.
const LONGEST_REPLY: usize = 1024;
