//! Authentication of a new connection: SASL, or the password file of a text server.

use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use super::messages::{read_line, read_packet, send, unexpected_line, unexpected_reply};
use crate::config::credentials::Credentials;
use crate::connection_failure::Failure;
use crate::proto::binary::{BinaryReply, Header, Opcode};
use crate::proto::{InputBuffer, Operation, Status};

/// How a connection is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    /// SASL, on the binary protocol.
    Sasl,
    /// A password file, on the meta and text protocols: a `set` before anything else.
    PasswordFile,
}

/// Authenticates a new connection, before anything else is sent.
///
/// The reply is awaited, because after a refusal a server may merge the replies to further requests, or close the
/// connection.
pub(crate) async fn authenticate<S>(
    stream: &mut S,
    mechanism: Mechanism,
    credentials: &Credentials,
) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    match mechanism {
        Mechanism::Sasl => authenticate_with_sasl(stream, credentials).await,
        Mechanism::PasswordFile => authenticate_with_token(stream, credentials).await,
    }
}

async fn authenticate_with_sasl<S>(stream: &mut S, credentials: &Credentials) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    send(stream, &sasl_request(credentials)).await?;
    let mut input = InputBuffer::new();
    let frame = read_packet(stream, &mut input).await?;
    if input.is_empty() { check_sasl_reply(&frame, credentials) } else { Err(unexpected_reply()) }
}

fn sasl_auth_opcode() -> Opcode {
    Opcode::of(Operation::SaslAuth, false, false)
}

pub(super) fn sasl_request(credentials: &Credentials) -> Zeroizing<Vec<u8>> {
    let data = credentials.sasl_plain_message();
    // Neither is truncated, because the length of credentials is checked.
    let body_length = u32::try_from(MECHANISM.len().saturating_add(data.len())).unwrap_or(u32::MAX);
    let key_length = MECHANISM.len() as u16;
    let header = Header { key_length, body_length, ..Header::request(sasl_auth_opcode()) };
    let mut request = Zeroizing::new(Vec::with_capacity(Header::LEN + MECHANISM.len() + data.len()));
    request.extend_from_slice(&header.to_bytes());
    request.extend_from_slice(MECHANISM);
    request.extend_from_slice(&data);
    request
}

/// Interprets the reply to the authentication (docs/protocol.md). Its text is not included in errors: a server that has
/// received a password might repeat it.
pub(super) fn check_sasl_reply(frame: &BinaryReply, credentials: &Credentials) -> Result<(), Failure> {
    if frame.opcode != sasl_auth_opcode() || frame.opaque != 0 {
        return Err(unexpected_reply());
    }
    match frame.reply.status {
        Status::NoError => Ok(()),
        Status::UnknownCommand => no_password_required(credentials, "-S"),
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

/// Authenticates with a server that has a password file.
///
/// Before authentication such a server answers any request with `unauthenticated`. Another server would store the
/// password as an item, so the kind of server is determined first.
async fn authenticate_with_token<S>(stream: &mut S, credentials: &Credentials) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    send(stream, b"version\r\n").await?;
    let answer = read_line(stream).await?;
    if answer.starts_with(b"VERSION") {
        return no_password_required(credentials, "-Y");
    }
    if answer != b"CLIENT_ERROR unauthenticated" {
        return Err(unexpected_line(&answer));
    }
    send_token_and_check(stream, credentials).await
}

/// Sends the password to a server that requires one.
async fn send_token_and_check<S>(stream: &mut S, credentials: &Credentials) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    send_token(stream, credentials, ExpectedReply::Reply).await?;
    check_token_reply(&read_line(stream).await?)
}

/// The expected replies to a password.
#[derive(Clone, Copy, Debug)]
pub(super) enum ExpectedReply {
    /// A line, also from a server that stores the password as an item.
    Reply,
    /// A line from a server that authenticates, and none from one that stores the password: the reply to the next
    /// request shows which one it is.
    ReplyToNextRequest,
}

pub(super) async fn send_token<S>(
    stream: &mut S,
    credentials: &Credentials,
    expected: ExpectedReply,
) -> Result<(), Failure>
where
    S: AsyncWrite + Unpin + ?Sized,
{
    match credentials.token() {
        Some(token) => send(stream, &token_request(&token, expected)).await,
        None => Err(Failure::Auth("a server with a password file does not support users with a space".into())),
    }
}

/// Interprets the reply to a password.
pub(super) fn check_token_reply(answer: &[u8]) -> Result<(), Failure> {
    match answer {
        b"STORED" => Ok(()),
        // If another request follows, the server sends only the second one.
        b"CLIENT_ERROR authentication failure" | b"CLIENT_ERROR unauthenticated" => Err(refused()),
        b"CLIENT_ERROR bad authentication token format" => Err(Failure::Auth(
            "the server does not accept the format of the user or password: is the password empty?".into(),
        )),
        other => Err(unexpected_line(other)),
    }
}

/// Builds the `set` that authenticates. If the server stores the password as an item, it expires immediately.
fn token_request(token: &[u8], expected: ExpectedReply) -> Zeroizing<Vec<u8>> {
    let noreply = match expected {
        ExpectedReply::Reply => "",
        ExpectedReply::ReplyToNextRequest => " noreply",
    };
    let head = format!("set auth 0 -1 {}{noreply}\r\n", token.len());
    let mut request = Zeroizing::new(Vec::with_capacity(head.len() + token.len() + 2));
    request.extend_from_slice(head.as_bytes());
    request.extend_from_slice(token);
    request.extend_from_slice(b"\r\n");
    request
}

fn refused() -> Failure {
    Failure::Refused("the server refused the user or the password".into())
}

pub(super) fn no_password_required(credentials: &Credentials, option: &str) -> Result<(), Failure> {
    match credentials.is_optional() {
        true => Ok(()),
        false => Err(Failure::Auth(format!(
            "the server requires no password: it runs without {option}; leave the credentials out, or make them Credentials::optional"
        ).into())),
    }
}

const MECHANISM: &[u8] = b"PLAIN";

#[cfg(test)]
mod tests {
    use std::fs;

    use bytes::Buf;
    use remcache_testkit::{Memcached, SASL_PASSWORD, SASL_USER, scratch};
    use tokio::io::{AsyncWriteExt as _, duplex};
    use tokio::net::TcpStream;

    use super::*;
    use crate::proto::{Output, Reply, binary};

    fn known() -> Credentials {
        Credentials::new(SASL_USER, SASL_PASSWORD)
    }

    /// Connects and authenticates.
    async fn attempt(
        server: &Memcached,
        mechanism: Mechanism,
        credentials: &Credentials,
    ) -> Result<TcpStream, Failure> {
        let mut stream = TcpStream::connect(server.addr()).await.unwrap();
        authenticate(&mut stream, mechanism, credentials).await.map(|()| stream)
    }

    async fn ask(stream: &mut TcpStream, text: &str) -> String {
        stream.write_all(text.as_bytes()).await.unwrap();
        String::from_utf8(read_line(stream).await.unwrap()).unwrap()
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
        let mut stream = attempt(&server, Mechanism::PasswordFile, &Credentials::new("bob", "a:secret")).await.unwrap();
        assert_eq!(ask(&mut stream, "mn\r\n").await, "MN");
        assert_eq!(ask(&mut stream, "mg auth v\r\n").await, "EN", "nothing was stored");
    }

    #[tokio::test]
    async fn a_password_file_refuses_others() {
        let (server, _dir) = with_password_file("bob:secret\n");
        for (user, password) in [("bob", "wrong"), ("alice", "secret"), ("bob", "")] {
            let failure =
                attempt(&server, Mechanism::PasswordFile, &Credentials::new(user, password)).await.unwrap_err();
            assert_eq!(failure.status(), Some(Status::AuthError), "{failure:?}");
        }
        let failure =
            attempt(&server, Mechanism::PasswordFile, &Credentials::new("bob smith", "secret")).await.unwrap_err();
        assert!(failure.reason().contains("space"), "{failure:?}");
    }

    #[tokio::test]
    async fn a_text_server_without_a_password_file_receives_no_password() {
        let server = Memcached::start(&[]);
        let failure = attempt(&server, Mechanism::PasswordFile, &known()).await.unwrap_err();
        assert!(matches!(&failure, Failure::Auth(reason) if reason.text().contains("without -Y")), "{failure:?}");
        let mut stream = attempt(&server, Mechanism::PasswordFile, &known().optional()).await.unwrap();
        assert_eq!(ask(&mut stream, "mg auth v\r\n").await, "EN", "nothing was stored");
        assert_eq!(ask(&mut stream, "incr cmd_set 1\r\n").await, "NOT_FOUND");
    }

    #[tokio::test]
    async fn sasl_accepts_only_known_users() {
        let server = Memcached::start_sasl(&[]);
        attempt(&server, Mechanism::Sasl, &known()).await.unwrap();
        for credentials in [Credentials::new(SASL_USER, "wrong"), Credentials::new("unknown", SASL_PASSWORD)] {
            let failure = attempt(&server, Mechanism::Sasl, &credentials).await.unwrap_err();
            assert!(matches!(failure, Failure::Refused(_)), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn binary_authentication_with_a_password_file_names_the_option() {
        let (server, _dir) = with_password_file("bob:secret\n");
        // The password contains a line end, so that the text server answers.
        let failure = attempt(&server, Mechanism::Sasl, &Credentials::new("bob", "sec\nret")).await.unwrap_err();
        assert!(failure.reason().contains("-Y"), "{failure:?}");
    }

    /// Authenticates with a server that answers with these bytes.
    async fn answered(mechanism: Mechanism, answer: &[u8]) -> Result<(), Failure> {
        let (mut ours, mut theirs) = duplex(4096);
        theirs.write_all(answer).await.unwrap();
        theirs.shutdown().await.unwrap();
        authenticate(&mut ours, mechanism, &known()).await
    }

    fn reply(status: Status, text: &str, opaque: u32) -> Vec<u8> {
        let mut output = Output::new();
        binary::encode_reply(&Reply::with_text(status, text.to_owned()), sasl_auth_opcode(), opaque, &mut output);
        output.copy_to_bytes(output.remaining()).to_vec()
    }

    #[tokio::test]
    async fn any_server_reply_resolves_the_request() {
        let canary = "canary";
        let text = |line: &str| format!("CLIENT_ERROR unauthenticated\r\n{line}").into_bytes();
        let cases = [
            (Mechanism::Sasl, reply(Status::AuthContinue, canary, 0), Some(Status::AuthError), "PLAIN"),
            (Mechanism::Sasl, reply(Status::InvalidArguments, canary, 0), Some(Status::AuthError), "invalid arguments"),
            (Mechanism::Sasl, reply(Status::Busy, canary, 0), None, "busy"),
            (Mechanism::Sasl, reply(Status::NoError, canary, 7), None, "unexpected reply"),
            (Mechanism::Sasl, [reply(Status::NoError, "", 0), vec![0x81]].concat(), None, "unexpected reply"),
            (Mechanism::Sasl, b"ERROR Too many open connections\r\n".to_vec(), None, "too many open connections"),
            (Mechanism::Sasl, b"HTTP/1.1 400 Bad Request\r\n".to_vec(), None, "HTTP"),
            (Mechanism::Sasl, Vec::new(), None, "closed"),
            (Mechanism::PasswordFile, Vec::new(), None, "closed"),
            (
                Mechanism::PasswordFile,
                b"ERROR Too many open connections\r\n".to_vec(),
                None,
                "too many open connections",
            ),
            (Mechanism::PasswordFile, vec![b'x'; 2000], None, "unexpected reply"),
            (Mechanism::PasswordFile, text("canary\r\n"), None, "unexpected reply"),
            (
                Mechanism::PasswordFile,
                text("CLIENT_ERROR bad authentication token format\r\n"),
                Some(Status::AuthError),
                "empty",
            ),
        ];
        for (mechanism, answer, status, word) in cases {
            let failure = answered(mechanism, &answer).await.unwrap_err();
            assert_eq!(failure.status(), status, "{failure:?}");
            assert!(failure.reason().contains(word) && !failure.reason().contains(canary), "{failure:?}");
        }
    }
}
