//! Opens connections: TCP and Unix sockets, TLS, and the traits to replace them.

pub(crate) mod socket;
#[cfg(feature = "tls")]
pub(crate) mod tls;
#[cfg(not(feature = "tls"))]
#[path = "tls/absent.rs"]
pub(crate) mod tls;

#[cfg(feature = "tls")]
pub use tls::Tls;
/// The TLS library, for [`Tls::custom`].
#[cfg(feature = "tls")]
pub use tokio_rustls::rustls;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

use crate::address::Address;
use crate::transport::socket::EagerRead;

/// Socket settings.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TransportSettings {
    /// Timeout for connecting, including name resolution.
    pub connect_timeout: Duration,
    /// How long sent bytes may stay unacknowledged (Linux's `TCP_USER_TIMEOUT`).
    pub user_timeout: Duration,
    /// Size of each socket buffer in bytes; `None` for the system's default.
    pub socket_buffers: Option<usize>,
}

/// A bidirectional byte stream to a server.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Returns the peer's address; `None` unless the stream is a TCP connection that this crate opened.
    fn peer_addr(&self) -> Option<SocketAddr>;

    /// Returns the certificate that the peer presented, in DER; `None` unless this crate established TLS on the stream.
    fn peer_certificate(&self) -> Option<Vec<u8>>;
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {
    fn peer_addr(&self) -> Option<SocketAddr> {
        let stream: &dyn Any = self;
        match stream.downcast_ref::<EagerRead<TcpStream>>() {
            Some(socket) => socket.peer_addr(),
            None => tls::peer_addr(stream),
        }
    }

    fn peer_certificate(&self) -> Option<Vec<u8>> {
        tls::peer_certificate(self)
    }
}

/// The future returned by [`Connect::connect`].
pub type ConnectFuture<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// Opens connections to servers.
///
/// The default implementation opens TCP and Unix sockets; tests replace it with simulated networks.
pub trait Connect: fmt::Debug + Send + Sync + 'static {
    /// Opens a connection to a server. The caller applies the connect timeout.
    ///
    /// # Cancel safety
    /// Dropping the future aborts the attempt.
    fn connect<'a>(&'a self, address: &'a Address, settings: &'a TransportSettings) -> ConnectFuture<'a>;
}

/// Opens TCP and Unix sockets.
#[derive(Debug)]
pub(crate) struct SocketConnector;

impl Connect for SocketConnector {
    fn connect<'a>(&'a self, address: &'a Address, settings: &'a TransportSettings) -> ConnectFuture<'a> {
        Box::pin(async move {
            match address {
                Address::Tcp { host, port } => Ok(EagerRead::boxed(tcp(host, *port, settings).await?)),
                #[cfg(unix)]
                Address::Unix(path) => Ok(EagerRead::boxed(UnixStream::connect(path).await?)),
                // Not reached: parsing the address has failed before.
                #[cfg(not(unix))]
                Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
            }
        })
    }
}

/// Resolves the name again and tries each address with an equal share of the remaining time.
async fn tcp(host: &str, port: u16, settings: &TransportSettings) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> =
        lookup_host((host, port)).await.map_err(|error| unresolved(host, &error))?.collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("the name {host} has no address"));
    let share = settings.connect_timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    for address in addresses {
        match timeout(share, open(address, settings)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "no answer to the connection attempt"),
        }
    }
    Err(last)
}

fn unresolved(host: &str, error: &io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("the name {host} does not resolve: {error}"))
}

/// Opens a socket with the given settings. Buffer sizes affect the TCP handshake, so they are set before it.
async fn open(address: SocketAddr, settings: &TransportSettings) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(bytes) = settings.socket_buffers {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        socket.set_send_buffer_size(bytes)?;
        socket.set_recv_buffer_size(bytes)?;
    }
    let stream = socket.connect(address).await?;
    // The I/O loop batches requests itself, so Nagle's algorithm would only add delay.
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(&stream);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    // Keepalive does not detect a peer that vanishes while data is unacknowledged; this timeout does.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(settings.user_timeout))?;
    Ok(stream)
}
