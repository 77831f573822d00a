//! Opening sockets: the one place that does.

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

/// What concerns the socket.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TransportSettings {
    /// How long connecting may take, name resolution included.
    pub connect_timeout: Duration,
    /// How long sent bytes may stay unacknowledged (Linux's `TCP_USER_TIMEOUT`).
    pub user_timeout: Duration,
    /// The socket's buffers in bytes; `None` leaves them to the system.
    pub socket_buffers: Option<usize>,
}

/// A connection's two directions of bytes.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// The address of the other side; `None` unless the stream is a TCP connection that this crate opened.
    fn peer_addr(&self) -> Option<SocketAddr>;

    /// The certificate that the other side presented, in DER; `None` unless this crate agreed on TLS.
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

/// The future of a connection that is being opened.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// What opens connections.
///
/// The default opens TCP and Unix sockets; tests put simulated networks here.
pub trait Connect: fmt::Debug + Send + Sync + 'static {
    /// Opens a connection to a server. The caller limits how long it may take.
    ///
    /// # Cancellation
    /// Dropping the future gives the attempt up.
    fn connect<'a>(&'a self, address: &'a Address, settings: &'a TransportSettings) -> Connecting<'a>;
}

/// Opens TCP and Unix sockets.
#[derive(Debug)]
pub(crate) struct SocketConnector;

impl Connect for SocketConnector {
    fn connect<'a>(&'a self, address: &'a Address, settings: &'a TransportSettings) -> Connecting<'a> {
        Box::pin(async move {
            match address {
                Address::Tcp { host, port } => Ok(EagerRead::boxed(tcp(host, *port, settings).await?)),
                #[cfg(unix)]
                Address::Unix(path) => Ok(EagerRead::boxed(UnixStream::connect(path).await?)),
                // Refused before, when the address was parsed.
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

/// Opens a socket with our settings; buffers count from the handshake on, so they are set before it.
async fn open(address: SocketAddr, settings: &TransportSettings) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(bytes) = settings.socket_buffers {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        socket.set_send_buffer_size(bytes)?;
        socket.set_recv_buffer_size(bytes)?;
    }
    let stream = socket.connect(address).await?;
    // Requests that are ready leave at once: batching is the driver's business.
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(&stream);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    // A peer that vanished in the middle of traffic is noticed by this, and not by keepalive.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(settings.user_timeout))?;
    Ok(stream)
}
