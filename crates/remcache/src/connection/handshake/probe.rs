//! Probes: what is sent on a fresh connection to find out which protocol its server supports.
//!
//! Every text server answers `version`, and its version decides (docs/protocol.md 4.7).

use super::{
    Expecting, NoPacket, line, not_asked_for, packet, sasl_outcome, sasl_request, send, send_token, text_refusal,
    token_outcome,
};
use crate::config::credentials::Credentials;
use crate::connection::shared::NO_CREDENTIALS;
use crate::failure::Failure;
use crate::proto::{InputBuffer, Operation, Output, Protocol, ProtocolError, Request, ServerVersion, Status, binary};
use crate::transport::Stream;

/// The protocol of a connection, and what is known of its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Negotiated {
    pub(crate) protocol: Protocol,
    pub(crate) dialect: ServerVersion,
    /// Whether it may be a proxy, one of whose servers can be down alone.
    pub(crate) may_be_proxy: bool,
}

impl Negotiated {
    /// What is assumed of a server that was not asked.
    pub(super) fn assumed(protocol: Protocol) -> Self {
        Self { protocol, dialect: ServerVersion::default(), may_be_proxy: protocol == Protocol::Text }
    }
}

/// What is sent first on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Probe {
    /// `version` and meta no-ops.
    #[default]
    Text,
    /// `version` alone, for proxies that close at a meta no-op.
    VersionOnly,
    /// The password in text, then `version`.
    Password,
    /// Version and no-op in binary, after the authentication.
    Binary,
    /// Nothing: the server is assumed to be a proxy that closes at `version` too.
    AssumeText,
}

/// The result of a probe.
#[derive(Clone, Copy, Debug)]
pub(super) enum ProbeResult {
    /// The connection can be used.
    Supported {
        negotiated: Negotiated,
        /// Whether a server that answered in binary has said that it supports the other protocols too.
        also_text: bool,
    },
    /// The server asks for another probe, on another connection.
    Try(Probe),
    /// The connection was closed without a reply.
    Closed,
    /// The connection was closed after the reply to `version`.
    ClosedAfterVersion,
}

impl ProbeResult {
    fn supported(negotiated: Negotiated) -> Self {
        Self::Supported { negotiated, also_text: false }
    }
}

/// Sends a probe on a fresh connection, with the authentication.
pub(super) async fn run(
    stream: &mut dyn Stream,
    probe: Probe,
    credentials: Option<&Credentials>,
) -> Result<ProbeResult, Failure> {
    match probe {
        Probe::Text => text(stream, credentials).await,
        Probe::VersionOnly => version_only(stream, credentials).await,
        Probe::Password => password(stream, credentials).await,
        Probe::Binary => binary(stream, credentials).await,
        Probe::AssumeText => assume_text(credentials),
    }
}

fn assume_text(credentials: Option<&Credentials>) -> Result<ProbeResult, Failure> {
    match credentials {
        Some(credentials) if !credentials.is_optional() => Err(Failure::Closed(
            "the server closes each connection before it answers, without asking for a password".into(),
        )),
        _ => Ok(ProbeResult::supported(Negotiated::assumed(Protocol::Text))),
    }
}

async fn text(stream: &mut dyn Stream, credentials: Option<&Credentials>) -> Result<ProbeResult, Failure> {
    let version = match ask(stream, QUESTION).await {
        Ok(answer) => answer,
        Err(Failure::Closed(_)) => return Ok(ProbeResult::Closed),
        Err(failure) => return Err(failure),
    };
    if version == UNAUTHENTICATED {
        // The number of these lines varies, so the password is sent on another connection.
        return match credentials {
            Some(_) => Ok(ProbeResult::Try(Probe::Password)),
            None => Err(Failure::Refused(NO_CREDENTIALS.to_owned())),
        };
    }
    let by_version = read_version(&version)?;
    let knows_meta = match rest(stream, &version).await {
        Ok(knows_meta) => knows_meta,
        Err(Failure::Closed(_)) => return Ok(closed_after(&by_version)),
        Err(failure) => return Err(failure),
    };
    let negotiated = match by_version {
        ProbeResult::Supported { negotiated, .. } => negotiated,
        other => return Ok(other),
    };
    if let Some(credentials) = credentials {
        not_asked_for(credentials, "-S and -Y")?;
    }
    // A proxy may return the version of a server behind it, without knowing meta commands itself.
    Ok(ProbeResult::supported(match negotiated {
        Negotiated { protocol: Protocol::Meta, dialect, .. } if !knows_meta => {
            Negotiated { protocol: Protocol::Text, dialect, may_be_proxy: true }
        }
        negotiated => negotiated,
    }))
}

/// The result of a probe that was closed after the reply to `version`.
fn closed_after(by_version: &ProbeResult) -> ProbeResult {
    match by_version {
        ProbeResult::Supported { negotiated: Negotiated { protocol: Protocol::Text, .. }, .. } => {
            ProbeResult::Try(Probe::VersionOnly)
        }
        _ => ProbeResult::ClosedAfterVersion,
    }
}

/// Asks a proxy that has closed at a meta no-op for its version alone.
async fn version_only(stream: &mut dyn Stream, credentials: Option<&Credentials>) -> Result<ProbeResult, Failure> {
    match text_version(stream).await? {
        Some(negotiated) if negotiated.may_be_proxy => {
            if let Some(credentials) = credentials {
                not_asked_for(credentials, "-S and -Y")?;
            }
            Ok(ProbeResult::supported(negotiated))
        }
        // It was replaced by a memcached.
        _ => Ok(ProbeResult::Try(Probe::Text)),
    }
}

/// Sends a question and returns the first line of the answer.
async fn ask(stream: &mut dyn Stream, question: &[u8]) -> Result<Vec<u8>, Failure> {
    send(stream, question).await?;
    line(stream).await
}

/// Reads the rest of the answer; returns whether the server knows meta no-ops.
async fn rest(stream: &mut dyn Stream, version: &[u8]) -> Result<bool, Failure> {
    let noops = [line(stream).await?, line(stream).await?];
    if line(stream).await? != version {
        return Err(two_answers());
    }
    Ok(noops.iter().all(|answer| answer == b"MN"))
}

fn two_answers() -> Failure {
    Failure::Unreachable("the server gives two answers to the same request".into())
}

/// The reply of a server with a password file to any request before the authentication.
const UNAUTHENTICATED: &[u8] = b"CLIENT_ERROR unauthenticated";

/// All in one round trip. A server that speaks only binary reacts to no fewer than 24 bytes.
const QUESTION: &[u8] = b"version\r\nmn\r\nmn\r\nversion\r\n";

/// The protocol that the first line of an answer suggests.
fn read_version(answer: &[u8]) -> Result<ProbeResult, Failure> {
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
        true => Ok(ProbeResult::supported(Negotiated::assumed(Protocol::Text))),
        false => Err(Failure::Unreachable(format!(
            "no memcached answers there: the reply to `version` is {:?}",
            String::from_utf8_lossy(answer.get(..40).unwrap_or(answer))
        ))),
    }
}

/// Sends password and question in one round trip.
async fn password(stream: &mut dyn Stream, credentials: Option<&Credentials>) -> Result<ProbeResult, Failure> {
    let Some(credentials) = credentials else { return Err(Failure::Refused(NO_CREDENTIALS.to_owned())) };
    send_token(stream, credentials, Expecting::AnotherReply).await?;
    let answer = ask(stream, b"version\r\n").await?;
    if answer.starts_with(b"VERSION") {
        // It does not ask for a password any more: a text probe shows whether that is intended.
        return Ok(ProbeResult::Try(Probe::Text));
    }
    token_outcome(&answer)?;
    let answer = line(stream).await?;
    if !answer.starts_with(b"VERSION ") {
        return Err(text_refusal(&answer));
    }
    let negotiated = in_text(&answer);
    // A password file turns the binary protocol off.
    let protocol = if negotiated.dialect.protocol() == Protocol::Meta { Protocol::Meta } else { Protocol::Text };
    Ok(ProbeResult::supported(Negotiated { protocol, ..negotiated }))
}

/// Asks a server for its version in text; `None` if it closes the connection, as some proxies do.
pub(super) async fn text_version(stream: &mut dyn Stream) -> Result<Option<Negotiated>, Failure> {
    // Repeated until it is 24 bytes long: a server that speaks only binary reacts to no fewer.
    let answer = match ask(stream, &VERSION_REQUEST.repeat(VERSION_REQUESTS)).await {
        Ok(answer) => answer,
        Err(Failure::Closed(_)) => return Ok(None),
        Err(failure) => return Err(failure),
    };
    read_version(&answer)?;
    for _ in 1..VERSION_REQUESTS {
        if line(stream).await? != answer {
            return Err(two_answers());
        }
    }
    Ok(Some(in_text(&answer)))
}

const VERSION_REQUEST: &[u8] = b"version\r\n";
const VERSION_REQUESTS: usize = 3;

/// A text connection to the server that gave this answer to `version`.
fn in_text(answer: &[u8]) -> Negotiated {
    match answer.strip_prefix(b"VERSION ").map(String::from_utf8_lossy) {
        Some(version) => {
            let dialect = ServerVersion::from_version(&version);
            Negotiated { protocol: Protocol::Text, dialect, may_be_proxy: !is_memcached(dialect) }
        }
        None => Negotiated::assumed(Protocol::Text),
    }
}

/// Whether a version is memcached's: a proxy returns one of its own, or none.
fn is_memcached(dialect: ServerVersion) -> bool {
    dialect.version() >= [1, 4, 0]
}

/// The protocol for a server of this version, on the text connection that returned it.
fn by_version(version: &str) -> ProbeResult {
    let dialect = ServerVersion::from_version(version);
    match dialect.protocol() {
        Protocol::Meta => ProbeResult::supported(Negotiated { protocol: Protocol::Meta, dialect, may_be_proxy: false }),
        // memcached supports binary since 1.4; an older version is that of a proxy.
        _ if is_memcached(dialect) => ProbeResult::Try(Probe::Binary),
        _ => ProbeResult::supported(Negotiated { protocol: Protocol::Text, dialect, may_be_proxy: true }),
    }
}

async fn binary(stream: &mut dyn Stream, credentials: Option<&Credentials>) -> Result<ProbeResult, Failure> {
    match ask_in_binary(stream, credentials).await {
        Ok((version, also_text)) => {
            let dialect = ServerVersion::from_version(&version);
            let negotiated = Negotiated { dialect, ..Negotiated::assumed(Protocol::Binary) };
            // Where binary is the best protocol anyway, others do not matter.
            Ok(ProbeResult::Supported { negotiated, also_text: also_text && dialect.protocol() == Protocol::Meta })
        }
        Err(NoPacket::Other(ProtocolError::WrongMagic(b'A'..=b'Z'))) => Ok(ProbeResult::Try(Probe::Text)),
        Err(NoPacket::Lost(Failure::Closed(_))) => Ok(ProbeResult::Closed),
        Err(other) => Err(other.into()),
    }
}

/// Sends authentication and questions in one round trip; returns the version, and whether the server
/// supports the other protocols too.
async fn ask_in_binary(stream: &mut dyn Stream, credentials: Option<&Credentials>) -> Result<(String, bool), NoPacket> {
    if let Some(credentials) = credentials {
        send(stream, &sasl_request(credentials)).await?;
    }
    send(stream, binary_questions()?.small()).await?;
    let mut input = InputBuffer::new();
    if let Some(credentials) = credentials {
        sasl_outcome(&packet(stream, &mut input).await?, credentials)?;
    }
    let version = packet(stream, &mut input).await?;
    if (version.opcode, version.opaque) != (opcode(Operation::Version), WITH_LINE_END) {
        return Err(super::not_asked().into());
    }
    let noop = match version.reply.status {
        Status::NoError => packet(stream, &mut input).await?,
        _ => version.clone(),
    };
    match (version.reply.status, noop.reply.status) {
        (_, Status::AuthError) => return Err(Failure::Refused(NO_CREDENTIALS.to_owned()).into()),
        (Status::NoError, _) => {}
        _ => return Err(super::not_asked().into()),
    }
    let also_text = supports_every_protocol(stream, &mut input).await?;
    if !input.is_empty() {
        return Err(super::not_asked().into());
    }
    Ok((version.reply.text().into_owned(), also_text))
}

fn opcode(operation: Operation) -> binary::Opcode {
    binary::Opcode::of(operation, false, false)
}

fn binary_questions() -> Result<Output, Failure> {
    let mut output = Output::new();
    // Any client gets a version, and only an authenticated one the reply to a no-op. The settings show
    // whether binary is the only protocol: that the text probe was closed does not.
    let questions = [(Request::version(), WITH_LINE_END), (Request::noop(), 0), (Request::stat("settings"), 0)];
    for (request, opaque) in questions {
        let encoded = binary::encode(&request, opaque, &mut output);
        encoded.map_err(|invalid| Failure::Unreachable(invalid.to_string()))?;
    }
    Ok(output)
}

/// Reads the server's settings: whether it detects the protocol of each connection (no `-B`, no `-S`).
async fn supports_every_protocol(stream: &mut dyn Stream, input: &mut InputBuffer) -> Result<bool, NoPacket> {
    let mut found = false;
    for _ in 0..MAX_SETTINGS {
        let setting = packet(stream, input).await?;
        if setting.opcode != opcode(Operation::Stat) {
            break;
        }
        if setting.reply.status != Status::NoError || setting.reply.key.is_empty() {
            return Ok(found);
        }
        found |= setting.reply.key == "binding_protocol" && setting.reply.value == "auto-negotiate";
    }
    Err(super::not_asked().into())
}

/// More than any server has.
const MAX_SETTINGS: usize = 1000;

/// An opaque that ends a line, so that a text server answers what it does not understand at once,
/// instead of waiting for the rest of the line.
const WITH_LINE_END: u32 = u32::from_be_bytes(*b"\0\0\r\n");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_decides() {
        for (version, expected) in [
            ("1.6.45", Some(Protocol::Meta)),
            ("1.6.18", Some(Protocol::Meta)),
            ("1.6.17", None),
            ("1.4.33-amazon", None),
            ("0.5.0", Some(Protocol::Text)),
            ("mcrouter 41.0", Some(Protocol::Text)),
        ] {
            let found = match by_version(version) {
                ProbeResult::Supported { negotiated, .. } => Some(negotiated.protocol),
                other => {
                    assert!(matches!(other, ProbeResult::Try(Probe::Binary)), "{other:?}");
                    None
                }
            };
            assert_eq!(found, expected, "{version}");
        }
    }
}
