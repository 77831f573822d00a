//! Probes: requests on a new connection that reveal which protocols the server supports.
//!
//! Every text server answers `version`, and its version determines the protocol (docs/protocol.md 4.7).

use super::auth::{ExpectedReply, check_sasl_reply, check_token_reply, no_password_required, sasl_request, send_token};
use super::messages::{PacketError, read_line, read_packet, send, unexpected_line, unexpected_reply};
use crate::config::credentials::Credentials;
use crate::connection::shared::NO_CREDENTIALS;
use crate::connection_failure::Failure;
use crate::proto::{InputBuffer, Operation, Output, Protocol, ProtocolError, Request, ServerVersion, Status, binary};
use crate::transport::Stream;

/// The negotiated protocol of a connection, and properties of its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Negotiated {
    pub(crate) protocol: Protocol,
    pub(crate) server_version: ServerVersion,
    /// Whether the server may be a proxy, whose own servers can be down individually.
    pub(crate) may_be_proxy: bool,
}

impl Negotiated {
    /// Returns the assumptions about a server without negotiation.
    pub(crate) fn assumed(protocol: Protocol) -> Self {
        Self { protocol, server_version: ServerVersion::default(), may_be_proxy: protocol == Protocol::Text }
    }
}

/// The first requests on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Probe {
    /// `version` and meta no-ops.
    #[default]
    Text,
    /// `version` only, for proxies that close the connection at a meta no-op.
    VersionOnly,
    /// The password on the text protocol, then `version`.
    Password,
    /// Authentication, version and no-op on the binary protocol.
    Binary,
    /// Nothing: the server is assumed to be a proxy that closes the connection at `version` too.
    AssumeText,
}

/// The result of a probe.
#[derive(Clone, Copy, Debug)]
pub(super) enum ProbeResult {
    /// The connection can be used.
    Supported {
        negotiated: Negotiated,
        /// Whether a server that answered in binary reports that it supports the other protocols too.
        also_text: bool,
    },
    /// Another probe has to be sent, on another connection.
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

/// Sends a probe on a new connection, including authentication.
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
    let version = match request_line(stream, TEXT_PROBE).await {
        Ok(answer) => answer,
        Err(Failure::Closed(_)) => return Ok(ProbeResult::Closed),
        Err(failure) => return Err(failure),
    };
    if version == UNAUTHENTICATED {
        // The number of error lines varies, so the password is sent on another connection.
        return match credentials {
            Some(_) => Ok(ProbeResult::Try(Probe::Password)),
            None => Err(Failure::Refused(NO_CREDENTIALS.into())),
        };
    }
    let by_version = read_version(&version)?;
    let knows_meta = match read_rest(stream, &version).await {
        Ok(knows_meta) => knows_meta,
        Err(Failure::Closed(_)) => return Ok(closed_after(&by_version)),
        Err(failure) => return Err(failure),
    };
    let negotiated = match by_version {
        ProbeResult::Supported { negotiated, .. } => negotiated,
        other => return Ok(other),
    };
    if let Some(credentials) = credentials {
        no_password_required(credentials, "-S and -Y")?;
    }
    // A proxy may return the version of one of its servers without supporting meta commands itself.
    Ok(ProbeResult::supported(match negotiated {
        Negotiated { protocol: Protocol::Meta, server_version, .. } if !knows_meta => {
            Negotiated { protocol: Protocol::Text, server_version, may_be_proxy: true }
        }
        negotiated => negotiated,
    }))
}

/// Returns the result of a probe that was closed after the reply to `version`.
fn closed_after(by_version: &ProbeResult) -> ProbeResult {
    match by_version {
        ProbeResult::Supported { negotiated: Negotiated { protocol: Protocol::Text, .. }, .. } => {
            ProbeResult::Try(Probe::VersionOnly)
        }
        _ => ProbeResult::ClosedAfterVersion,
    }
}

/// Requests only the version, from a proxy that has closed the connection at a meta no-op.
async fn version_only(stream: &mut dyn Stream, credentials: Option<&Credentials>) -> Result<ProbeResult, Failure> {
    match text_version(stream).await? {
        Some(negotiated) if negotiated.may_be_proxy => {
            if let Some(credentials) = credentials {
                no_password_required(credentials, "-S and -Y")?;
            }
            Ok(ProbeResult::supported(negotiated))
        }
        // The proxy was replaced by memcached.
        _ => Ok(ProbeResult::Try(Probe::Text)),
    }
}

/// Sends requests and returns the first line of the replies.
async fn request_line(stream: &mut dyn Stream, requests: &[u8]) -> Result<Vec<u8>, Failure> {
    send(stream, requests).await?;
    read_line(stream).await
}

/// Reads the remaining replies; returns whether the server supports meta no-ops.
async fn read_rest(stream: &mut dyn Stream, version: &[u8]) -> Result<bool, Failure> {
    let noops = [read_line(stream).await?, read_line(stream).await?];
    if read_line(stream).await? != version {
        return Err(differing_replies());
    }
    Ok(noops.iter().all(|answer| answer == b"MN"))
}

fn differing_replies() -> Failure {
    Failure::Unreachable("the server's replies to the same request differ".into())
}

/// The reply of a server with a password file to any request before authentication.
const UNAUTHENTICATED: &[u8] = b"CLIENT_ERROR unauthenticated";

/// The text probe, in one round trip. A server that supports only binary does not react to fewer than 24 bytes.
const TEXT_PROBE: &[u8] = b"version\r\nmn\r\nmn\r\nversion\r\n";

/// Determines the protocol from the first line of the replies.
fn read_version(answer: &[u8]) -> Result<ProbeResult, Failure> {
    if let Some(version) = answer.strip_prefix(b"VERSION ") {
        return Ok(by_version(&String::from_utf8_lossy(version)));
    }
    if answer.starts_with(b"ERROR Too many open connections") {
        return Err(Failure::Unreachable(ProtocolError::TooManyConnections.to_string().into()));
    }
    if answer == UNAUTHENTICATED {
        return Err(Failure::Refused(NO_CREDENTIALS.into()));
    }
    match answer.starts_with(b"ERROR") || answer.starts_with(b"CLIENT_ERROR") || answer.starts_with(b"SERVER_ERROR") {
        // A proxy that does not support the command.
        true => Ok(ProbeResult::supported(Negotiated::assumed(Protocol::Text))),
        false => Err(Failure::Unreachable(
            format!(
                "the server is not memcached: the reply to `version` is {:?}",
                String::from_utf8_lossy(answer.get(..40).unwrap_or(answer))
            )
            .into(),
        )),
    }
}

/// Sends the password and `version` in one round trip.
async fn password(stream: &mut dyn Stream, credentials: Option<&Credentials>) -> Result<ProbeResult, Failure> {
    let Some(credentials) = credentials else { return Err(Failure::Refused(NO_CREDENTIALS.into())) };
    send_token(stream, credentials, ExpectedReply::ReplyToNextRequest).await?;
    let answer = request_line(stream, b"version\r\n").await?;
    if answer.starts_with(b"VERSION") {
        // The server no longer requires a password: the text probe checks whether that is allowed.
        return Ok(ProbeResult::Try(Probe::Text));
    }
    check_token_reply(&answer)?;
    let answer = read_line(stream).await?;
    if !answer.starts_with(b"VERSION ") {
        return Err(unexpected_line(&answer));
    }
    let negotiated = in_text(&answer);
    // A password file disables the binary protocol.
    let protocol = if negotiated.server_version.protocol() == Protocol::Meta { Protocol::Meta } else { Protocol::Text };
    Ok(ProbeResult::supported(Negotiated { protocol, ..negotiated }))
}

/// Requests the server's version in text; `None` if it closes the connection, as some proxies do.
pub(super) async fn text_version(stream: &mut dyn Stream) -> Result<Option<Negotiated>, Failure> {
    // Repeated to at least 24 bytes: a server that supports only binary does not react to fewer.
    let answer = match request_line(stream, &VERSION_REQUEST.repeat(VERSION_REQUESTS)).await {
        Ok(answer) => answer,
        Err(Failure::Closed(_)) => return Ok(None),
        Err(failure) => return Err(failure),
    };
    read_version(&answer)?;
    for _ in 1..VERSION_REQUESTS {
        if read_line(stream).await? != answer {
            return Err(differing_replies());
        }
    }
    Ok(Some(in_text(&answer)))
}

const VERSION_REQUEST: &[u8] = b"version\r\n";
const VERSION_REQUESTS: usize = 3;

/// Returns the properties of a text connection, given the reply to `version`.
fn in_text(answer: &[u8]) -> Negotiated {
    match answer.strip_prefix(b"VERSION ").map(String::from_utf8_lossy) {
        Some(version) => {
            let server_version = ServerVersion::parse(&version);
            Negotiated { protocol: Protocol::Text, server_version, may_be_proxy: !is_memcached(server_version) }
        }
        None => Negotiated::assumed(Protocol::Text),
    }
}

/// Returns whether a version is memcached's: a proxy returns its own or none.
fn is_memcached(server_version: ServerVersion) -> bool {
    server_version.version() >= [1, 4, 0]
}

/// Determines the protocol from the version that a text connection returned.
fn by_version(version: &str) -> ProbeResult {
    let server_version = ServerVersion::parse(version);
    match server_version.protocol() {
        Protocol::Meta => {
            ProbeResult::supported(Negotiated { protocol: Protocol::Meta, server_version, may_be_proxy: false })
        }
        // memcached supports binary since 1.4; an older version is that of a proxy.
        _ if is_memcached(server_version) => ProbeResult::Try(Probe::Binary),
        _ => ProbeResult::supported(Negotiated { protocol: Protocol::Text, server_version, may_be_proxy: true }),
    }
}

async fn binary(stream: &mut dyn Stream, credentials: Option<&Credentials>) -> Result<ProbeResult, Failure> {
    match request_version_and_settings(stream, credentials).await {
        Ok((version, also_text)) => {
            let server_version = ServerVersion::parse(&version);
            let negotiated = Negotiated { server_version, ..Negotiated::assumed(Protocol::Binary) };
            // If binary is the best protocol of the version, others do not matter.
            Ok(ProbeResult::Supported {
                negotiated,
                also_text: also_text && server_version.protocol() == Protocol::Meta,
            })
        }
        Err(PacketError::Protocol(ProtocolError::WrongMagic(b'A'..=b'Z'))) => Ok(ProbeResult::Try(Probe::Text)),
        Err(PacketError::Connection(Failure::Closed(_))) => Ok(ProbeResult::Closed),
        Err(other) => Err(other.into()),
    }
}

/// Sends authentication and requests in one round trip; returns the version, and whether the server supports the other
/// protocols too.
async fn request_version_and_settings(
    stream: &mut dyn Stream,
    credentials: Option<&Credentials>,
) -> Result<(String, bool), PacketError> {
    if let Some(credentials) = credentials {
        send(stream, &sasl_request(credentials)).await?;
    }
    send(stream, binary_probe()?.small()).await?;
    let mut input = InputBuffer::new();
    if let Some(credentials) = credentials {
        check_sasl_reply(&read_packet(stream, &mut input).await?, credentials)?;
    }
    let version = read_packet(stream, &mut input).await?;
    if (version.opcode, version.opaque) != (opcode(Operation::Version), WITH_LINE_END) {
        return Err(unexpected_reply().into());
    }
    let noop = match version.reply.status {
        Status::NoError => read_packet(stream, &mut input).await?,
        _ => version.clone(),
    };
    match (version.reply.status, noop.reply.status) {
        (_, Status::AuthError) => return Err(Failure::Refused(NO_CREDENTIALS.into()).into()),
        (Status::NoError, _) => {}
        _ => return Err(unexpected_reply().into()),
    }
    let also_text = supports_every_protocol(stream, &mut input).await?;
    if !input.is_empty() {
        return Err(unexpected_reply().into());
    }
    Ok((version.reply.text().into_owned(), also_text))
}

fn opcode(operation: Operation) -> binary::Opcode {
    binary::Opcode::of(operation, false, false)
}

fn binary_probe() -> Result<Output, Failure> {
    let mut output = Output::new();
    // Any client receives the version, but only an authenticated one a reply to the no-op. The settings reveal whether
    // binary is the only protocol, which a closed text probe does not.
    let requests = [(Request::version(), WITH_LINE_END), (Request::noop(), 0), (Request::stat("settings"), 0)];
    for (request, opaque) in requests {
        let encoded = binary::encode(&request, opaque, &mut output);
        encoded.map_err(|invalid| Failure::Unreachable(invalid.to_string().into()))?;
    }
    Ok(output)
}

/// Reads the server's settings; returns whether it detects the protocol of each connection (no `-B`, no `-S`).
async fn supports_every_protocol(stream: &mut dyn Stream, input: &mut InputBuffer) -> Result<bool, PacketError> {
    let mut found = false;
    for _ in 0..MAX_SETTINGS {
        let setting = read_packet(stream, input).await?;
        if setting.opcode != opcode(Operation::Stat) {
            break;
        }
        if setting.reply.status != Status::NoError || setting.reply.key.is_empty() {
            return Ok(found);
        }
        found |= setting.reply.key == "binding_protocol" && setting.reply.value == "auto-negotiate";
    }
    Err(unexpected_reply().into())
}

/// The maximum number of settings that are read, which no server has.
const MAX_SETTINGS: usize = 1000;

/// An opaque that contains a line end, so that a text server answers immediately instead of waiting for the rest of a
/// line.
const WITH_LINE_END: u32 = u32::from_be_bytes(*b"\0\0\r\n");

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;
    use crate::proto::Reply;

    /// Sends a probe to a server that answers with these bytes and closes the connection.
    async fn probe(probe: Probe, answer: &[u8], credentials: Option<&Credentials>) -> Result<ProbeResult, Failure> {
        let (mut client, mut server) = duplex(4096);
        server.write_all(answer).await.unwrap();
        server.shutdown().await.unwrap();
        run(&mut client, probe, credentials).await
    }

    fn supported(result: Result<ProbeResult, Failure>) -> Negotiated {
        match result {
            Ok(ProbeResult::Supported { negotiated, .. }) => negotiated,
            other => panic!("{other:?}"),
        }
    }

    fn negotiated(protocol: Protocol, version: &str, may_be_proxy: bool) -> Negotiated {
        Negotiated { protocol, server_version: ServerVersion::parse(version), may_be_proxy }
    }

    fn credentials() -> Credentials {
        Credentials::new("user", "password")
    }

    #[tokio::test]
    async fn meta_is_used_if_the_server_and_any_proxy_support_it() {
        let memcached = probe(Probe::Text, b"VERSION 1.6.45\r\nMN\r\nMN\r\nVERSION 1.6.45\r\n", None).await;
        assert_eq!(supported(memcached), negotiated(Protocol::Meta, "1.6.45", false));
        let proxy = probe(Probe::Text, b"VERSION 1.6.45\r\nERROR\r\nERROR\r\nVERSION 1.6.45\r\n", None).await;
        assert_eq!(supported(proxy), negotiated(Protocol::Text, "1.6.45", true));
    }

    #[tokio::test]
    async fn a_server_without_the_version_command_is_assumed_to_be_a_proxy() {
        for line in ["ERROR", "CLIENT_ERROR unsupported", "SERVER_ERROR unsupported"] {
            let result = probe(Probe::Text, format!("{line}\r\n").repeat(4).as_bytes(), None).await;
            let expected = Negotiated { may_be_proxy: true, ..Negotiated::assumed(Protocol::Text) };
            assert_eq!(supported(result), expected, "{line}");
        }
        let failure = probe(Probe::Text, b"HTTP/1.1 400 Bad Request\r\n", None).await.unwrap_err();
        assert!(failure.reason().contains("not memcached"), "{failure:?}");
        assert!(!Negotiated::assumed(Protocol::Binary).may_be_proxy);
    }

    #[tokio::test]
    async fn a_proxy_that_closes_at_a_meta_command_receives_only_the_version_command() {
        let result = probe(Probe::Text, b"VERSION 0.5.0\r\n", None).await;
        assert!(matches!(result, Ok(ProbeResult::Try(Probe::VersionOnly))), "{result:?}");
        let result = probe(Probe::VersionOnly, &b"VERSION 0.5.0\r\n".repeat(3), None).await;
        assert_eq!(supported(result), negotiated(Protocol::Text, "0.5.0", true));
        let result = probe(Probe::Text, b"VERSION 1.6.45\r\n", None).await;
        assert!(matches!(result, Ok(ProbeResult::ClosedAfterVersion)), "{result:?}");
        let result = probe(Probe::VersionOnly, &b"VERSION 1.6.45\r\n".repeat(3), None).await;
        assert!(matches!(result, Ok(ProbeResult::Try(Probe::Text))), "{result:?}");
    }

    #[tokio::test]
    async fn a_server_with_a_password_file_supports_meta_or_text() {
        for (version, protocol) in [("1.6.45", Protocol::Meta), ("1.5.22", Protocol::Text)] {
            let answer = format!("STORED\r\nVERSION {version}\r\n");
            let result = probe(Probe::Password, answer.as_bytes(), Some(&credentials())).await;
            assert_eq!(supported(result), negotiated(protocol, version, false));
        }
    }

    #[tokio::test]
    async fn text_is_not_assumed_if_a_password_is_required() {
        let assumed = Negotiated::assumed(Protocol::Text);
        assert_eq!(supported(probe(Probe::AssumeText, b"", None).await), assumed);
        assert_eq!(supported(probe(Probe::AssumeText, b"", Some(&credentials().optional())).await), assumed);
        let result = probe(Probe::AssumeText, b"", Some(&credentials())).await;
        assert!(matches!(result, Err(Failure::Closed(_))), "{result:?}");
    }

    #[tokio::test]
    async fn a_binary_server_reports_its_version() {
        let mut answer = Output::new();
        for (operation, opaque, text) in
            [(Operation::Version, WITH_LINE_END, "1.4.33"), (Operation::NoOp, 0, ""), (Operation::Stat, 0, "")]
        {
            binary::encode_reply(&Reply::with_text(Status::NoError, text), opcode(operation), opaque, &mut answer);
        }
        let result = probe(Probe::Binary, answer.small(), None).await;
        assert_eq!(supported(result), negotiated(Protocol::Binary, "1.4.33", false));
    }

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
