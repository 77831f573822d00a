//! A fake server that serves any number of connections, over any transport.

use std::fmt::Debug;
use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use super::connect_attempts::ConnectAttempts;
use super::reply_writer::ReplyWriter;
use super::server_fault::{CloseKind, ServerFault};
use super::store::Store;
use crate::support::{ProtocolMode, RequestDecoder};

/// The server's end of a connection.
pub(crate) trait ServerStream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Closes the connection with a reset.
    fn reset(self);
}

/// A server: its protocol, its items, its fault, and a record of its connections.
#[derive(Debug)]
pub(crate) struct FakeServer {
    mode: ProtocolMode,
    store: Mutex<Store>,
    fault: Mutex<ServerFault>,
    attempts: ConnectAttempts,
    accepted: AtomicUsize,
    /// Resets the connections that are open when it is notified.
    reset: Notify,
}

impl FakeServer {
    pub(crate) fn new(mode: ProtocolMode, fault: ServerFault) -> Arc<Self> {
        Arc::new(Self {
            mode,
            store: Mutex::default(),
            fault: Mutex::new(fault),
            attempts: ConnectAttempts::default(),
            accepted: AtomicUsize::new(0),
            reset: Notify::new(),
        })
    }

    /// Returns the protocol mode of all connections.
    pub(crate) fn mode(&self) -> ProtocolMode {
        self.mode
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().expect("no server panics")
    }

    /// Sets the fault of connections that are opened from now on.
    pub(crate) fn set_fault(&self, fault: ServerFault) {
        *self.fault.lock().expect("no server panics") = fault;
    }

    pub(crate) fn fault(&self) -> ServerFault {
        self.fault.lock().expect("no server panics").clone()
    }

    /// Resets all open connections.
    pub(crate) fn reset_connections(&self) {
        self.reset.notify_waiters();
    }

    pub(crate) fn attempts(&self) -> &ConnectAttempts {
        &self.attempts
    }

    /// Returns how many connections were accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

/// Serves a connection until it closes.
pub(crate) async fn serve(mut stream: impl ServerStream, fake: Arc<FakeServer>) {
    fake.accepted.fetch_add(1, Ordering::Relaxed);
    let close = tokio::select! {
        close = serve_requests(&mut stream, &fake, fake.fault()) => close,
        () = fake.reset.notified() => CloseKind::Rst,
    };
    match close {
        CloseKind::Fin => close_gracefully(stream).await,
        CloseKind::Rst => stream.reset(),
    }
}

async fn serve_requests(stream: &mut impl ServerStream, fake: &FakeServer, fault: ServerFault) -> CloseKind {
    let is_text = fake.mode == ProtocolMode::Text;
    if is_text && fault.starts_after_version_probe() && answer_version_probe(stream).await.is_err() {
        return CloseKind::Fin;
    }
    if let ServerFault::NeverRead = fault {
        pending::<()>().await;
    }
    let mut unread = if let ServerFault::ResetAfterReading(limit) = fault { limit } else { usize::MAX };
    let mut writer = ReplyWriter::new(fake.mode.protocol(), fault);
    let mut decoder = RequestDecoder::new(fake.mode.protocol());
    while unread > 0 {
        match (&mut *stream).take(unread as u64).read_buf(decoder.spare()).await {
            Ok(0) | Err(_) => return CloseKind::Fin,
            Ok(count) => unread -= count,
        }
        let mut frames = Vec::new();
        while let Some(request) = decoder.next() {
            fake.store().execute(&request, &mut frames);
        }
        if let Err(close) = writer.write(stream, frames).await {
            return close;
        }
    }
    CloseKind::Rst
}

/// Answers the version probe of a text client: three `version` commands, before any other request.
async fn answer_version_probe(stream: &mut impl ServerStream) -> io::Result<()> {
    let mut probe = [0; 3 * b"version\r\n".len()];
    stream.read_exact(&mut probe).await?;
    stream.write_all(&b"VERSION 1.6.18\r\n".repeat(3)).await
}

/// Shuts down the sending side and reads to the end: closing a socket with unread bytes would send a reset.
async fn close_gracefully(mut stream: impl ServerStream) {
    let _ = stream.shutdown().await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}
