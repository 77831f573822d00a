//! What a server speaks, found out on a fresh connection.
//!
//! The first byte fixes the protocol of a connection, so a wrong guess costs the connection
//! (docs/protocol.md 1.1). `version` is answered by every text server; what it says decides
//! (docs/protocol.md 4.7).

use std::sync::{Mutex, PoisonError};

use super::{
    Expecting, NoPacket, closed_silently, line, not_asked_for, packet, sasl_outcome, sasl_request, send, send_token,
    text_refusal, token_outcome,
};
use crate::config::credentials::Credentials;
use crate::connection::failure::Failure;
use crate::connection::shared::NO_CREDENTIALS;
use crate::proto::{Dialect, InputBuffer, Operation, Output, ProtocolError, Request, Status, Wire, binary};
use crate::transport::Stream;

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spoken {
    pub(crate) wire: Wire,
    pub(crate) dialect: Dialect,
    /// Whether several servers may stand behind it, of which one can be away.
    pub(crate) may_be_proxy: bool,
}

impl Spoken {
    /// What a server is taken to speak that was not asked.
    pub(crate) fn given(wire: Wire) -> Self {
        Self { wire, dialect: Dialect::default(), may_be_proxy: wire == Wire::Text }
    }
}

/// What a guess came to.
#[derive(Debug)]
pub(crate) enum Guess {
    /// The connection speaks this, and may be used.
    Right(Spoken),
    /// It has to be another connection, with this guess.
    Next(Attempt),
}

/// What was right when a server was last asked: what its next connection tries first.
///
/// It is a guess and no fact: each connection asks again, in the round trip that it needs anyhow. To a
/// server that was exchanged for one without meta commands the value of a store would be commands.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<Attempt>);

impl Known {
    pub(crate) fn first(&self) -> Attempt {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn remember(&self, attempt: Attempt) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = attempt;
    }

    /// Forgets what was right: the server may be another one.
    pub(crate) fn forget(&self) {
        self.remember(Attempt::default());
    }
}

/// What to try on a fresh connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// To ask for the version in text.
    #[default]
    Text,
    /// To tell the password in text, and then to ask for the version.
    Password,
    /// To ask for the version in binary.
    Binary,
    /// To speak text without asking: what answers neither is a proxy that knows a few commands.
    Blind,
}

/// Tries a guess on a fresh connection, the authentication included.
pub(crate) async fn attempt(
    stream: &mut dyn Stream,
    attempt: Attempt,
    credentials: Option<&Credentials>,
) -> Result<Guess, Failure> {
    match attempt {
        Attempt::Text => text(stream, credentials).await,
        Attempt::Password => password(stream, credentials).await,
        Attempt::Binary => binary(stream, credentials).await,
        Attempt::Blind => blind(credentials),
    }
}

fn blind(credentials: Option<&Credentials>) -> Result<Guess, Failure> {
    match credentials {
        Some(credentials) if !credentials.is_optional() => {
            Err(Failure::Unreachable("the server closes what asks for its version, and takes no password".to_owned()))
        }
        _ => Ok(Guess::Right(Spoken::given(Wire::Text))),
    }
}

async fn text(stream: &mut dyn Stream, credentials: Option<&Credentials>) -> Result<Guess, Failure> {
    send(stream, QUESTION).await?;
    let answer = match line(stream).await {
        Ok(answer) => answer,
        // A server of the binary wire alone closes without a byte.
        Err(failure) if closed_silently(&failure) => return Ok(Guess::Next(Attempt::Binary)),
        Err(failure) => return Err(failure),
    };
    if answer == UNAUTHENTICATED {
        // How many such lines there are is not certain: on a connection of its own nothing is.
        return match credentials {
            Some(_) => Ok(Guess::Next(Attempt::Password)),
            None => Err(Failure::Refused(NO_CREDENTIALS.to_owned())),
        };
    }
    let spoken = told(&answer)?;
    let spoken = match (rest(stream, &answer).await, &spoken) {
        (Ok(true), _) => spoken,
        // A proxy may tell the version of a server behind it, and knows no meta command itself.
        (Ok(false), Guess::Right(Spoken { wire: Wire::Meta, dialect, .. })) => {
            Guess::Right(Spoken { wire: Wire::Text, dialect: *dialect, may_be_proxy: true })
        }
        (Ok(false), _) => spoken,
        (Err(failure), _) if closed_silently(&failure) => return Ok(Guess::Next(Attempt::Blind)),
        (Err(failure), _) => return Err(failure),
    };
    match (credentials, &spoken) {
        (Some(credentials), Guess::Right(_)) => not_asked_for(credentials, "-S and -Y").map(|()| spoken),
        _ => Ok(spoken),
    }
}

/// Reads what follows the first line of the answer; whether the no-ops of meta were known.
async fn rest(stream: &mut dyn Stream, version: &[u8]) -> Result<bool, Failure> {
    let noops = [line(stream).await?, line(stream).await?];
    if line(stream).await? != version {
        return Err(two_answers());
    }
    Ok(noops.iter().all(|answer| answer == b"MN"))
}

fn two_answers() -> Failure {
    Failure::Unreachable("the server answers the same question in different ways".into())
}

/// What a server with a password file answers to whatever a stranger says.
const UNAUTHENTICATED: &[u8] = b"CLIENT_ERROR unauthenticated";

/// All in one round trip. A server that speaks binary alone looks at nothing before it has 24 bytes.
const QUESTION: &[u8] = b"version\r\nmn\r\nmn\r\nversion\r\n";

/// What the first line of an answer tells.
fn told(answer: &[u8]) -> Result<Guess, Failure> {
    if let Some(version) = answer.strip_prefix(b"VERSION ") {
        return Ok(by_version(&String::from_utf8_lossy(version)));
    }
    if answer.starts_with(b"ERROR Too many open connections") {
        return Err(Failure::Unreachable(ProtocolError::TooManyConnections.to_string()));
    }
    if answer == UNAUTHENTICATED {
        return Err(Failure::Refused(NO_CREDENTIALS.to_owned()));
    }
    match answer.starts_with(b"ERROR") || answer.starts_with(b"CLIENT_ERROR") || answer.starts_with(b"SERVER_ERROR") {
        // A proxy that does not know the command.
        true => Ok(Guess::Right(Spoken::given(Wire::Text))),
        false => Err(Failure::Unreachable(format!(
            "what answers there is no memcached: {:?}",
            String::from_utf8_lossy(answer.get(..40).unwrap_or(answer))
        ))),
    }
}

/// Password and question in one round trip.
async fn password(stream: &mut dyn Stream, credentials: Option<&Credentials>) -> Result<Guess, Failure> {
    let Some(credentials) = credentials else { return Err(Failure::Refused(NO_CREDENTIALS.to_owned())) };
    send_token(stream, credentials, Expecting::AnotherReply).await?;
    send(stream, b"version\r\n").await?;
    let answer = line(stream).await?;
    if answer.starts_with(b"VERSION") {
        // It asks for no password any more: whether that is right is found out by asking anew.
        return Ok(Guess::Next(Attempt::Text));
    }
    token_outcome(&answer)?;
    let answer = line(stream).await?;
    if !answer.starts_with(b"VERSION ") {
        return Err(text_refusal(&answer));
    }
    let spoken = in_text(&answer);
    // The binary wire is closed there.
    let wire = if spoken.dialect.wire() == Wire::Meta { Wire::Meta } else { Wire::Text };
    Ok(Guess::Right(Spoken { wire, ..spoken }))
}

/// Asks a server that is to be spoken to in text who it is; `None` if it hangs up at the question, as
/// some proxies do.
pub(crate) async fn who_is_there(stream: &mut dyn Stream) -> Result<Option<Spoken>, Failure> {
    // So often that a server of the binary wire alone, which looks at nothing before it has 24 bytes,
    // looks at it.
    send(stream, &QUESTION_IN_TEXT.repeat(QUESTIONS)).await?;
    let answer = match line(stream).await {
        Ok(answer) => answer,
        Err(failure) if closed_silently(&failure) => return Ok(None),
        Err(failure) => return Err(failure),
    };
    told(&answer)?;
    for _ in 1..QUESTIONS {
        if line(stream).await? != answer {
            return Err(two_answers());
        }
    }
    Ok(Some(in_text(&answer)))
}

const QUESTION_IN_TEXT: &[u8] = b"version\r\n";
const QUESTIONS: usize = 3;

/// What the answer to the question for the version tells of a server that is spoken to in text.
fn in_text(answer: &[u8]) -> Spoken {
    match answer.strip_prefix(b"VERSION ").map(String::from_utf8_lossy) {
        Some(version) => {
            let dialect = Dialect::from_version(&version);
            Spoken { wire: Wire::Text, dialect, may_be_proxy: !is_memcached(dialect) }
        }
        None => Spoken::given(Wire::Text),
    }
}

/// A proxy tells a version of its own, or none.
fn is_memcached(dialect: Dialect) -> bool {
    dialect.version() >= [1, 4, 0]
}

/// The wire of a server that tells its version in text, on the connection that it told it on.
fn by_version(version: &str) -> Guess {
    let dialect = Dialect::from_version(version);
    match dialect.wire() {
        Wire::Meta => Guess::Right(Spoken { wire: Wire::Meta, dialect, may_be_proxy: false }),
        // memcached has the binary wire since 1.4; what tells less is a proxy with a version of its own.
        _ if is_memcached(dialect) => Guess::Next(Attempt::Binary),
        _ => Guess::Right(Spoken { wire: Wire::Text, dialect, may_be_proxy: true }),
    }
}

async fn binary(stream: &mut dyn Stream, credentials: Option<&Credentials>) -> Result<Guess, Failure> {
    match ask_in_binary(stream, credentials).await {
        Ok(version) => {
            Ok(Guess::Right(Spoken { dialect: Dialect::from_version(&version), ..Spoken::given(Wire::Binary) }))
        }
        Err(NoPacket::Other(ProtocolError::WrongMagic(b'A'..=b'Z'))) => Ok(Guess::Next(Attempt::Text)),
        Err(NoPacket::Lost(failure)) if closed_silently(&failure) => Ok(Guess::Next(Attempt::Text)),
        Err(other) => Err(other.into()),
    }
}

/// Authentication and question in one round trip.
async fn ask_in_binary(stream: &mut dyn Stream, credentials: Option<&Credentials>) -> Result<String, NoPacket> {
    if let Some(credentials) = credentials {
        send(stream, &sasl_request(credentials)).await?;
    }
    let mut question = Output::new();
    // A version is told to everybody, a no-op answered only to those who may ask for more.
    for (request, opaque) in [(Request::version(), WITH_LINE_END), (Request::noop(), 0)] {
        let encoded = binary::encode(&request, opaque, &mut question);
        encoded.map_err(|invalid| Failure::Unreachable(invalid.to_string()))?;
    }
    send(stream, question.small()).await?;
    let mut input = InputBuffer::new();
    if let Some(credentials) = credentials {
        sasl_outcome(&packet(stream, &mut input).await?, credentials)?;
    }
    let frame = packet(stream, &mut input).await?;
    let noop = match frame.reply.status {
        Status::NoError => packet(stream, &mut input).await?,
        _ => frame.clone(),
    };
    let version = binary::Opcode::of(Operation::Version, false, false);
    let are_answers = (frame.opcode, frame.opaque) == (version, WITH_LINE_END) && input.is_empty();
    match (frame.reply.status, noop.reply.status, are_answers) {
        (_, Status::AuthError, true) => Err(Failure::Refused(NO_CREDENTIALS.to_owned()).into()),
        (Status::NoError, _, true) => Ok(frame.reply.text().into_owned()),
        _ => Err(super::not_asked().into()),
    }
}

/// An opaque that is the end of a line, so that a server of text answers at once what it does not
/// understand, and does not wait for more.
const WITH_LINE_END: u32 = u32::from_be_bytes(*b"\0\0\r\n");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_decides() {
        for (version, expected) in [
            ("1.6.45", Some(Wire::Meta)),
            ("1.6.18", Some(Wire::Meta)),
            ("1.6.17", None),
            ("1.4.33-amazon", None),
            ("0.5.0", Some(Wire::Text)),
            ("mcrouter 41.0", Some(Wire::Text)),
        ] {
            let found = match by_version(version) {
                Guess::Right(spoken) => Some(spoken.wire),
                Guess::Next(attempt) => {
                    assert_eq!(attempt, Attempt::Binary);
                    None
                }
            };
            assert_eq!(found, expected, "{version}");
        }
    }
}
