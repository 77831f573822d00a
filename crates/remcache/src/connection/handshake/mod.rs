//! Opens connections: the socket, TLS, authentication, protocol negotiation.

mod negotiation;
mod probe;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use crate::address::Endpoint;
use crate::config::Config;
use crate::config::credentials::Credentials;
use crate::config::protocol::ProtocolSetting;
use crate::failure::Failure;
use crate::proto::binary::{self, Frame, Header, Opcode};
use crate::proto::{InputBuffer, Operation, Protocol, ProtocolError, Status};
use crate::reason::Reason;
use crate::time::after;
use crate::transport::Stream;

pub(crate) use negotiation::ProtocolCache;
pub(crate) use probe::Negotiated;

/// A connection that is ready for requests.
pub(crate) struct Established {
    pub(crate) stream: Box<dyn Stream>,
    /// The credentials it was authenticated with, if any were configured.
    pub(crate) credentials: Option<Credentials>,
    pub(crate) negotiated: Negotiated,
}

/// The authentication mechanism of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// The binary protocol: SASL.
    Binary,
    /// The meta and text protocols: a `set` before anything else.
    Text,
}

/// The state that is kept from one connection to a server to the next.
#[derive(Debug, Default)]
pub(crate) struct ReconnectState {
    /// The credentials that the server refused, which are not tried again.
    pub(crate) refused: Option<Refused>,
    /// The result of the last negotiation, shared by all connections to the server.
    pub(crate) protocols: Arc<ProtocolCache>,
}

/// Opens a connection, within the connect timeout.
///
/// Does not connect at all with credentials that the server has already refused.
pub(crate) async fn establish(
    endpoint: &Endpoint,
    config: &Config,
    state: &mut ReconnectState,
) -> Result<Established, Failure> {
    establish_as(endpoint, config, config.protocol, state).await
}

/// Like [`establish`], with a protocol other than the client's.
pub(crate) async fn establish_as(
    endpoint: &Endpoint,
    config: &Config,
    protocol: ProtocolSetting,
    state: &mut ReconnectState,
) -> Result<Established, Failure> {
    let limit = config.transport.connect_timeout;
    let until = after(Instant::now(), limit);
    let credentials = match &config.credentials {
        None => None,
        Some(source) => Some(within(until, source.ask(endpoint), || slow("provider of credentials", limit)).await?),
    };
    if let Some(refused) = state.refused.as_ref().filter(|refused| refused.credentials == credentials) {
        return Err(refused.failure.clone());
    }
    let opened = match protocol.forced() {
        Some(protocol) => connect_with(endpoint, config, until, protocol, credentials.as_ref()).await,
        None => negotiation::negotiate(endpoint, config, until, &state.protocols, credentials.as_ref()).await,
    };
    let (stream, negotiated) =
        opened.inspect_err(|failure| state.refused = Refused::by(failure, credentials.as_ref()))?;
    Ok(Established { stream, credentials, negotiated })
}

/// Opens the socket, and performs the TLS handshake if TLS is configured.
async fn open(endpoint: &Endpoint, config: &Config, until: Instant) -> Result<Box<dyn Stream>, Failure> {
    let limit = config.transport.connect_timeout;
    let opening = config.connector.connect(&endpoint.address, &config.transport);
    let opened = within(until, async { Ok(opening.await) }, || format!("no connection within {limit:?}")).await?;
    let stream = opened.map_err(|error| Failure::unreachable(error.to_string(), error))?;
    match &config.tls {
        None => Ok(stream),
        Some(tls) => {
            let hint = || format!("no answer to the TLS handshake within {limit:?}: is it a port for TLS?");
            within(until, tls.connect(stream, &endpoint.address), hint).await
        }
    }
}

/// Opens a connection with the configured protocol.
///
/// On the text protocol the server's version is requested, because a proxy needs other limits than memcached.
async fn connect_with(
    endpoint: &Endpoint,
    config: &Config,
    until: Instant,
    protocol: Protocol,
    credentials: Option<&Credentials>,
) -> Result<(Box<dyn Stream>, Negotiated), Failure> {
    let mut stream = open_and_auth(endpoint, config, until, protocol, credentials).await?;
    if protocol != Protocol::Text {
        return Ok((stream, Negotiated::assumed(protocol)));
    }
    let hint = || no_version_within(config.transport.connect_timeout);
    match within(until, probe::text_version(&mut *stream), hint).await? {
        Some(negotiated) => Ok((stream, negotiated)),
        None => {
            Ok((open_and_auth(endpoint, config, until, protocol, credentials).await?, Negotiated::assumed(protocol)))
        }
    }
}

/// Opens a connection and authenticates it.
async fn open_and_auth(
    endpoint: &Endpoint,
    config: &Config,
    until: Instant,
    protocol: Protocol,
    credentials: Option<&Credentials>,
) -> Result<Box<dyn Stream>, Failure> {
    let mut stream = open(endpoint, config, until).await?;
    if let Some(credentials) = credentials {
        let limit = config.transport.connect_timeout;
        let family = if protocol == Protocol::Binary { Family::Binary } else { Family::Text };
        let hint = || match family {
            Family::Binary => format!(
                "no reply to the SASL authentication within {limit:?}: a server with a password file (-Y) supports text only"
            ),
            Family::Text => format!(
                "no reply to the authentication within {limit:?}: a server with SASL (-S) supports the binary protocol only"
            ),
        };
        within(until, authenticate(&mut *stream, family, credentials), hint).await?;
    }
    Ok(stream)
}

fn no_version_within(limit: Duration) -> String {
    format!("no reply to the version request within {limit:?}")
}

/// Credentials that a server refused, and its failure.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) credentials: Option<Credentials>,
    pub(crate) failure: Failure,
}

impl Refused {
    /// Returns the refused credentials if the failure is permanent for them.
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
    timeout_at(until, step).await.unwrap_or_else(|_| Err(Failure::Unreachable(late().into())))
}

fn slow(who: &str, limit: Duration) -> String {
    format!("no answer from the {who} within {limit:?}")
}

/// Authenticates a new connection, before anything else is sent.
///
/// The reply is awaited, because after a refusal a server may merge the replies to further requests, or close the
/// connection.
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
    let frame = packet(stream, &mut input).await?;
    if input.is_empty() { sasl_outcome(&frame, credentials) } else { Err(not_asked()) }
}

/// Why a packet could not be read.
#[derive(Debug)]
enum NoPacket {
    Lost(Failure),
    Other(ProtocolError),
}

impl From<Failure> for NoPacket {
    fn from(failure: Failure) -> Self {
        Self::Lost(failure)
    }
}

impl From<NoPacket> for Failure {
    fn from(none: NoPacket) -> Self {
        match none {
            NoPacket::Lost(failure) => failure,
            NoPacket::Other(ProtocolError::WrongMagic(b'C')) => Self::Auth(
                "the server answers in text: a server with a password file (-Y) does not support authentication on the binary protocol"
                    .into(),
            ),
            NoPacket::Other(other) => Self::unreachable(other.to_string(), other),
        }
    }
}

/// Reads the next packet.
async fn packet<S: AsyncRead + Unpin + ?Sized>(stream: &mut S, input: &mut InputBuffer) -> Result<Frame, NoPacket> {
    loop {
        if let Some(frame) = binary::decode(input, LONGEST_REPLY).map_err(NoPacket::Other)? {
            return Ok(frame);
        }
        match stream.read_buf(input.spare_capacity()).await {
            Ok(0) => return Err(closed().into()),
            Ok(count) => input.record_read(count),
            Err(error) => return Err(io_failure(error).into()),
        }
    }
}

fn sasl_auth() -> Opcode {
    Opcode::of(Operation::SaslAuth, false, false)
}

fn sasl_request(credentials: &Credentials) -> Zeroizing<Vec<u8>> {
    let data = credentials.plain();
    // Neither is truncated, because the length of credentials is checked.
    let body_length = u32::try_from(MECHANISM.len().saturating_add(data.len())).unwrap_or(u32::MAX);
    let key_length = MECHANISM.len() as u16;
    let header = Header { key_length, body_length, ..Header::request(sasl_auth()) };
    let mut request = Zeroizing::new(Vec::with_capacity(Header::LEN + MECHANISM.len() + data.len()));
    request.extend_from_slice(&header.to_bytes());
    request.extend_from_slice(MECHANISM);
    request.extend_from_slice(&data);
    request
}

/// Interprets the reply to the authentication (docs/protocol.md). Its text is not included in errors: a server that has
/// received a password might repeat it.
fn sasl_outcome(frame: &Frame, credentials: &Credentials) -> Result<(), Failure> {
    if frame.opcode != sasl_auth() || frame.opaque != 0 {
        return Err(not_asked());
    }
    match frame.reply.status {
        Status::NoError => Ok(()),
        Status::UnknownCommand => not_asked_for(credentials, "-S"),
        Status::AuthError => Err(refused()),
        Status::AuthContinue => Err(Failure::Auth("the server requires more than SASL's PLAIN mechanism".into())),
        Status::Busy | Status::TemporaryFailure | Status::OutOfMemory | Status::InternalError => {
            Err(Failure::Unreachable(
                format!("the server could not process the authentication: {}", frame.reply.status).into(),
            ))
        }
        other => Err(Failure::Auth(format!("the server answered the authentication with: {other}").into())),
    }
}

// ---- Text: a password file ----

/// Authenticates with a server that has a password file.
///
/// Before authentication such a server answers any request with `unauthenticated`. Another server would store the
/// password as an item, so the kind of server is determined first.
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
    offer_token(stream, credentials).await
}

/// Sends the password to a server that requires one.
async fn offer_token<S>(stream: &mut S, credentials: &Credentials) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    send_token(stream, credentials, Expecting::Reply).await?;
    token_outcome(&line(stream).await?)
}

/// The expected replies to a password.
#[derive(Clone, Copy, Debug)]
enum Expecting {
    /// A line, also from a server that stores the password as an item.
    Reply,
    /// A line from a server that authenticates, and none from one that stores the password: the reply to the next
    /// request shows which one it is.
    AnotherReply,
}

async fn send_token<S>(stream: &mut S, credentials: &Credentials, expecting: Expecting) -> Result<(), Failure>
where
    S: AsyncWrite + Unpin + ?Sized,
{
    match credentials.token() {
        Some(token) => send(stream, &text_request(&token, expecting)).await,
        None => Err(Failure::Auth("a server with a password file does not support users with a space".into())),
    }
}

/// Interprets the reply to a password.
fn token_outcome(answer: &[u8]) -> Result<(), Failure> {
    match answer {
        b"STORED" => Ok(()),
        // If another request follows, the server sends only the second one.
        b"CLIENT_ERROR authentication failure" | b"CLIENT_ERROR unauthenticated" => Err(refused()),
        b"CLIENT_ERROR bad authentication token format" => Err(Failure::Auth(
            "the server does not accept the format of the user or password: is the password empty?".into(),
        )),
        other => Err(text_refusal(other)),
    }
}

/// Builds the `set` that authenticates. If the server stores the password as an item, it expires immediately.
fn text_request(token: &[u8], expecting: Expecting) -> Zeroizing<Vec<u8>> {
    let noreply = match expecting {
        Expecting::Reply => "",
        Expecting::AnotherReply => " noreply",
    };
    let head = format!("set auth 0 -1 {}{noreply}\r\n", token.len());
    let mut request = Zeroizing::new(Vec::with_capacity(head.len() + token.len() + 2));
    request.extend_from_slice(head.as_bytes());
    request.extend_from_slice(token);
    request.extend_from_slice(b"\r\n");
    request
}

/// Reads a line and removes its line end.
async fn line<S: AsyncRead + Unpin + ?Sized>(stream: &mut S) -> Result<Vec<u8>, Failure> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        if line.len() >= LONGEST_REPLY {
            return Err(text_refusal(&line));
        }
        // One byte at a time, because the bytes after the line belong to the connection's state machine.
        match stream.read_u8().await {
            // A peer with another protocol may never send a line end.
            Ok(byte) if line.is_empty() && !byte.is_ascii_graphic() => {
                return Err(Failure::Unreachable(ProtocolError::NotText(byte).to_string().into()));
            }
            Ok(byte) => line.push(byte),
            Err(error) => return Err(io_failure(error)),
        }
    }
    line.truncate(line.len().saturating_sub(2));
    Ok(line)
}

fn text_refusal(answer: &[u8]) -> Failure {
    if answer.starts_with(b"ERROR Too many open connections") {
        return Failure::Unreachable(ProtocolError::TooManyConnections.to_string().into());
    }
    Failure::Unreachable("unexpected reply to the authentication".into())
}

// ---- Both ----

async fn send<S: AsyncWrite + Unpin + ?Sized>(stream: &mut S, bytes: &[u8]) -> Result<(), Failure> {
    stream.write_all(bytes).await.map_err(io_failure)?;
    stream.flush().await.map_err(io_failure)
}

fn refused() -> Failure {
    Failure::Refused("the server refused the user or the password".into())
}

fn not_asked_for(credentials: &Credentials, option: &str) -> Result<(), Failure> {
    match credentials.is_optional() {
        true => Ok(()),
        false => Err(Failure::Auth(format!(
            "the server requires no password: it runs without {option}; leave the credentials out, or make them Credentials::optional"
        ).into())),
    }
}

fn not_asked() -> Failure {
    Failure::Unreachable("unexpected reply during the handshake".into())
}

fn closed() -> Failure {
    Failure::Closed("the server closed the connection during the handshake".into())
}

/// Converts an I/O error, with or without TLS.
fn io_failure(error: io::Error) -> Failure {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    if let Some(failure) = crate::transport::tls::failure(&error) {
        return failure;
    }
    match error.kind() {
        UnexpectedEof => closed(),
        ConnectionReset | ConnectionAborted | BrokenPipe => {
            Failure::Closed(Reason::with_cause(format!("during the handshake: {error}"), Arc::new(error)))
        }
        _ => Failure::unreachable(format!("during the handshake: {error}"), error),
    }
}

const MECHANISM: &[u8] = b"PLAIN";
/// The longest reply to an authentication that is read, in bytes.
const LONGEST_REPLY: usize = 1024;

#[cfg(test)]
mod tests {
    use std::fs;

    use bytes::Buf;
    use remcache_testkit::{Memcached, SASL_PASSWORD, SASL_USER, scratch};
    use tokio::io::duplex;
    use tokio::net::TcpStream;

    use super::*;
    use crate::proto::{Output, Reply};

    fn known() -> Credentials {
        Credentials::new(SASL_USER, SASL_PASSWORD)
    }

    /// Connects and authenticates.
    async fn attempt(server: &Memcached, family: Family, credentials: &Credentials) -> Result<TcpStream, Failure> {
        let mut stream = TcpStream::connect(server.addr()).await.unwrap();
        authenticate(&mut stream, family, credentials).await.map(|()| stream)
    }

    async fn ask(stream: &mut TcpStream, text: &str) -> String {
        stream.write_all(text.as_bytes()).await.unwrap();
        String::from_utf8(line(stream).await.unwrap()).unwrap()
    }

    /// Starts a server with a password file.
    fn with_password_file(lines: &str) -> (Memcached, tempfile::TempDir) {
        let dir = scratch();
        let file = dir.path().join("users");
        fs::write(&file, lines).unwrap();
        (Memcached::start(&["-Y", file.to_str().unwrap()]), dir)
    }

    #[tokio::test]
    async fn authentication_with_a_password_file_comes_first() {
        let (server, _dir) = with_password_file("bob:a:secret\n");
        let mut stream = attempt(&server, Family::Text, &Credentials::new("bob", "a:secret")).await.unwrap();
        assert_eq!(ask(&mut stream, "mn\r\n").await, "MN");
        assert_eq!(ask(&mut stream, "mg auth v\r\n").await, "EN", "nothing was stored");
    }

    #[tokio::test]
    async fn a_password_file_refuses_others() {
        let (server, _dir) = with_password_file("bob:secret\n");
        for (user, password) in [("bob", "wrong"), ("alice", "secret"), ("bob", "")] {
            let failure = attempt(&server, Family::Text, &Credentials::new(user, password)).await.unwrap_err();
            assert_eq!(failure.status(), Some(Status::AuthError), "{failure:?}");
        }
        let failure = attempt(&server, Family::Text, &Credentials::new("bob smith", "secret")).await.unwrap_err();
        assert!(failure.reason().contains("space"), "{failure:?}");
    }

    #[tokio::test]
    async fn a_text_server_without_a_password_file_receives_no_password() {
        let server = Memcached::start(&[]);
        let failure = attempt(&server, Family::Text, &known()).await.unwrap_err();
        assert!(matches!(&failure, Failure::Auth(reason) if reason.text().contains("without -Y")), "{failure:?}");
        let mut stream = attempt(&server, Family::Text, &known().optional()).await.unwrap();
        assert_eq!(ask(&mut stream, "mg auth v\r\n").await, "EN", "nothing was stored");
        assert_eq!(ask(&mut stream, "incr cmd_set 1\r\n").await, "NOT_FOUND");
    }

    #[tokio::test]
    async fn sasl_accepts_only_known_users() {
        let server = Memcached::start_sasl(&[]);
        attempt(&server, Family::Binary, &known()).await.unwrap();
        for credentials in [Credentials::new(SASL_USER, "wrong"), Credentials::new("unknown", SASL_PASSWORD)] {
            let failure = attempt(&server, Family::Binary, &credentials).await.unwrap_err();
            assert!(matches!(failure, Failure::Refused(_)), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn binary_authentication_with_a_password_file_names_the_option() {
        let (server, _dir) = with_password_file("bob:secret\n");
        // The password contains a line end, so that the text server answers.
        let failure = attempt(&server, Family::Binary, &Credentials::new("bob", "sec\nret")).await.unwrap_err();
        assert!(failure.reason().contains("-Y"), "{failure:?}");
    }

    /// Authenticates with a server that answers with these bytes.
    async fn answered(family: Family, answer: &[u8]) -> Result<(), Failure> {
        let (mut ours, mut theirs) = duplex(4096);
        theirs.write_all(answer).await.unwrap();
        theirs.shutdown().await.unwrap();
        authenticate(&mut ours, family, &known()).await
    }

    fn reply(status: Status, text: &str, opaque: u32) -> Vec<u8> {
        let mut output = Output::new();
        binary::encode_reply(&Reply::with_text(status, text.to_owned()), sasl_auth(), opaque, &mut output);
        output.copy_to_bytes(output.remaining()).to_vec()
    }

    #[tokio::test]
    async fn any_server_reply_resolves_the_request() {
        let canary = "canary";
        let text = |line: &str| format!("CLIENT_ERROR unauthenticated\r\n{line}").into_bytes();
        let cases = [
            (Family::Binary, reply(Status::AuthContinue, canary, 0), Some(Status::AuthError), "PLAIN"),
            (Family::Binary, reply(Status::InvalidArguments, canary, 0), Some(Status::AuthError), "invalid arguments"),
            (Family::Binary, reply(Status::Busy, canary, 0), None, "busy"),
            (Family::Binary, reply(Status::NoError, canary, 7), None, "unexpected reply"),
            (Family::Binary, [reply(Status::NoError, "", 0), vec![0x81]].concat(), None, "unexpected reply"),
            (Family::Binary, b"ERROR Too many open connections\r\n".to_vec(), None, "too many open connections"),
            (Family::Binary, b"HTTP/1.1 400 Bad Request\r\n".to_vec(), None, "HTTP"),
            (Family::Binary, Vec::new(), None, "closed"),
            (Family::Text, Vec::new(), None, "closed"),
            (Family::Text, b"ERROR Too many open connections\r\n".to_vec(), None, "too many open connections"),
            (Family::Text, vec![b'x'; 2000], None, "unexpected reply"),
            (Family::Text, text("canary\r\n"), None, "unexpected reply"),
            (Family::Text, text("CLIENT_ERROR bad authentication token format\r\n"), Some(Status::AuthError), "empty"),
        ];
        for (family, answer, status, word) in cases {
            let failure = answered(family, &answer).await.unwrap_err();
            assert_eq!(failure.status(), status, "{failure:?}");
            assert!(failure.reason().contains(word) && !failure.reason().contains(canary), "{failure:?}");
        }
    }
}
