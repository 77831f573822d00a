//! Opens connections: the socket, TLS, authentication, protocol negotiation.

mod auth;
mod messages;
mod negotiation;
mod probe;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::address::Endpoint;
use crate::config::Config;
use crate::config::credentials::Credentials;
use crate::config::protocol::ProtocolSetting;
use crate::connection_failure::Failure;
use crate::proto::Protocol;
use crate::time::after;
use crate::transport::Stream;

use auth::{Mechanism, authenticate};

pub(crate) use negotiation::ProtocolCache;
pub(crate) use probe::Negotiated;

/// A connection that is ready for requests.
pub(crate) struct ReadyConnection {
    pub(crate) stream: Box<dyn Stream>,
    /// The credentials it was authenticated with, if any were configured.
    pub(crate) credentials: Option<Credentials>,
    pub(crate) negotiated: Negotiated,
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
) -> Result<ReadyConnection, Failure> {
    establish_with_protocol(endpoint, config, config.protocol, state).await
}

/// Like [`establish`], with a protocol other than the client's.
pub(crate) async fn establish_with_protocol(
    endpoint: &Endpoint,
    config: &Config,
    protocol: ProtocolSetting,
    state: &mut ReconnectState,
) -> Result<ReadyConnection, Failure> {
    let limit = config.transport.connect_timeout;
    let until = after(Instant::now(), limit);
    let credentials = match &config.credentials {
        None => None,
        Some(source) => {
            let hint = || format!("no answer from the provider of credentials within {limit:?}");
            Some(run_until(until, source.get(endpoint), hint).await?)
        }
    };
    if let Some(refused) = state.refused.as_ref().filter(|refused| refused.credentials == credentials) {
        return Err(refused.failure.clone());
    }
    let opened = match protocol.forced() {
        Some(protocol) => connect_with(endpoint, config, until, protocol, credentials.as_ref()).await,
        None => negotiation::negotiate(endpoint, config, until, &state.protocols, credentials.as_ref()).await,
    };
    let (stream, negotiated) =
        opened.inspect_err(|failure| state.refused = Refused::from_failure(failure, credentials.as_ref()))?;
    Ok(ReadyConnection { stream, credentials, negotiated })
}

/// Opens the socket, and performs the TLS handshake if TLS is configured.
async fn open(endpoint: &Endpoint, config: &Config, until: Instant) -> Result<Box<dyn Stream>, Failure> {
    let limit = config.transport.connect_timeout;
    let opening = config.connector.connect(&endpoint.address, &config.transport);
    let opened = run_until(until, async { Ok(opening.await) }, || format!("no connection within {limit:?}")).await?;
    let stream = opened.map_err(|error| Failure::unreachable(error.to_string(), error))?;
    match &config.tls {
        None => Ok(stream),
        Some(tls) => {
            let hint = || format!("no answer to the TLS handshake within {limit:?}: is it a port for TLS?");
            run_until(until, tls.connect(stream, &endpoint.address), hint).await
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
    match run_until(until, probe::text_version(&mut *stream), hint).await? {
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
        let mechanism = if protocol == Protocol::Binary { Mechanism::Sasl } else { Mechanism::PasswordFile };
        let hint = || match mechanism {
            Mechanism::Sasl => format!(
                "no reply to the SASL authentication within {limit:?}: a server with a password file (-Y) supports text only"
            ),
            Mechanism::PasswordFile => format!(
                "no reply to the authentication within {limit:?}: a server with SASL (-S) supports the binary protocol only"
            ),
        };
        run_until(until, authenticate(&mut *stream, mechanism, credentials), hint).await?;
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
    pub(crate) fn from_failure(failure: &Failure, credentials: Option<&Credentials>) -> Option<Self> {
        let is_final = matches!(failure, Failure::Refused(_));
        is_final.then(|| Self { credentials: credentials.cloned(), failure: failure.clone() })
    }
}

async fn run_until<T>(
    until: Instant,
    step: impl Future<Output = Result<T, Failure>>,
    on_timeout: impl FnOnce() -> String,
) -> Result<T, Failure> {
    timeout_at(until, step).await.unwrap_or_else(|_| Err(Failure::Unreachable(on_timeout().into())))
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;
    use crate::address::Address;
    use crate::config::credentials::ProviderError;
    use crate::transport::{Connect, ConnectFuture, TransportSettings};

    /// Opens connections to a server that never answers; the server's ends are kept, so that they stay open.
    #[derive(Debug, Default)]
    struct UnresponsiveServer(std::sync::Mutex<Vec<DuplexStream>>);

    impl Connect for UnresponsiveServer {
        fn connect<'a>(&'a self, _: &'a Address, _: &'a TransportSettings) -> ConnectFuture<'a> {
            let (client, server) = duplex(1024);
            self.0.lock().unwrap().push(server);
            Box::pin(async { Ok(Box::new(client) as Box<dyn Stream>) })
        }
    }

    /// Returns why no connection is established within three seconds.
    async fn failure(config: Config) -> String {
        let config = config.connect_timeout(Duration::from_secs(3));
        let endpoint = Endpoint::parse("localhost").unwrap();
        match establish(&endpoint, &config, &mut ReconnectState::default()).await {
            Ok(_) => panic!("the server does not answer"),
            Err(failure) => failure.reason().to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_step_is_subject_to_the_connect_timeout() {
        let provider = || std::future::pending::<Result<Credentials, ProviderError>>();
        let config = Config::new().connector(UnresponsiveServer::default());
        for (config, expected) in [
            (config.clone().credentials_provider(provider), "no answer from the provider of credentials within 3s"),
            (config.clone(), "no reply to the version request within 3s"),
            (config.protocol(ProtocolSetting::Text), "no reply to the version request within 3s"),
        ] {
            assert_eq!(failure(config).await, expected);
        }
    }
}
