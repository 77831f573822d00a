//! TLS on the server side.

use std::io;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::HandshakeKind;

use crate::state::{ServerState, add};
use crate::stream::Stream;

/// Performs the TLS handshake if the server has a TLS configuration; otherwise returns the stream unchanged.
pub(crate) async fn accept(stream: Stream, state: &ServerState) -> io::Result<Stream> {
    let Some(config) = &state.settings.tls else { return Ok(stream) };
    let stream = TlsAcceptor::from(config.clone()).accept(stream).await?;
    let is_resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
    add(&state.traffic.tls_handshakes, 1);
    add(&state.traffic.tls_resumptions, usize::from(is_resumed));
    Ok(Stream::Tls(Box::new(stream)))
}
