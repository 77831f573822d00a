//! A server on one connection, whatever carries it, and what all its connections share.

use std::fmt::Debug;
use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use super::attempts::Attempts;
use super::conduct::{Conduct, Ending, Speaker};
use super::store::Store;
use crate::support::Ear;
use crate::support::Speech;

/// The server's end of a connection.
pub(crate) trait Peer: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Closes it by a reset.
    fn reset(self);
}

/// A server: what it speaks, its items, its conduct, and who connected.
#[derive(Debug)]
pub(crate) struct World {
    speech: Speech,
    store: Mutex<Store>,
    conduct: Mutex<Conduct>,
    attempts: Attempts,
    accepted: AtomicUsize,
    /// Ends the connections that are open when it is called.
    crash: Notify,
}

impl World {
    pub(crate) fn new(speech: Speech, conduct: Conduct) -> Arc<Self> {
        Arc::new(Self {
            speech,
            store: Mutex::default(),
            conduct: Mutex::new(conduct),
            attempts: Attempts::default(),
            accepted: AtomicUsize::new(0),
            crash: Notify::new(),
        })
    }

    /// What is spoken on all connections.
    pub(crate) fn speech(&self) -> Speech {
        self.speech
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().expect("no server panics")
    }

    /// Changes how connections are treated from now on; those of now stay as they are.
    pub(crate) fn change(&self, conduct: Conduct) {
        *self.conduct.lock().expect("no server panics") = conduct;
    }

    pub(crate) fn conduct(&self) -> Conduct {
        self.conduct.lock().expect("no server panics").clone()
    }

    /// Resets the connections of now.
    pub(crate) fn crash(&self) {
        self.crash.notify_waiters();
    }

    pub(crate) fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// How many connections there were.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve(mut stream: impl Peer, world: Arc<World>) {
    world.accepted.fetch_add(1, Ordering::Relaxed);
    let ending = tokio::select! {
        ending = converse(&mut stream, &world, world.conduct()) => ending,
        () = world.crash.notified() => Ending::Rst,
    };
    match ending {
        Ending::Fin => finish(stream).await,
        Ending::Rst => stream.reset(),
    }
}

async fn converse(stream: &mut impl Peer, world: &World, conduct: Conduct) -> Ending {
    if world.speech == Speech::Text && conduct.begins_after_the_greeting() && greet(stream).await.is_err() {
        return Ending::Fin;
    }
    if let Conduct::Deaf = conduct {
        pending::<()>().await;
    }
    let mut unheard = if let Conduct::Hears(bytes) = conduct { bytes } else { usize::MAX };
    let mut speaker = Speaker::new(world.speech.protocol(), conduct);
    let mut ear = Ear::new(world.speech.protocol());
    while unheard > 0 {
        match (&mut *stream).take(unheard as u64).read_buf(ear.spare()).await {
            Ok(0) | Err(_) => return Ending::Fin,
            Ok(count) => unheard -= count,
        }
        let mut frames = Vec::new();
        while let Some(request) = ear.next() {
            world.store().execute(&request, &mut frames);
        }
        if let Err(ending) = speaker.speak(stream, frames).await {
            return ending;
        }
    }
    Ending::Rst
}

/// Tells its version to a client that asks for it three times, and for nothing else before it has it.
async fn greet(stream: &mut impl Peer) -> io::Result<()> {
    let mut questions = [0; 3 * b"version\r\n".len()];
    stream.read_exact(&mut questions).await?;
    stream.write_all(&b"VERSION 1.6.18\r\n".repeat(3)).await
}

/// Says that nothing more will come, and reads to the end: closing with unread bytes would be a
/// reset.
async fn finish(mut stream: impl Peer) {
    let _ = stream.shutdown().await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}
