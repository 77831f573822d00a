//! One direction of a connection: reads at once, and forwards when and how the rule says.

use super::{Close, Direction, Rule, Shared, Splits};
use fastrand::Rng;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Pipe<'a> {
    shared: &'a Shared,
    direction: Direction,
    number: u64,
    passed: u64,
    /// Whether bytes were lost in a black hole.
    has_lost_bytes: bool,
    /// The time at which the next piece may be written, if the rate is limited.
    next_write_at: Instant,
    splitter: Option<(Splits, Rng)>,
}

/// Data of one read, with the time at which it is due.
#[derive(Debug)]
struct Chunk {
    due: Instant,
    content: Content,
    /// Released when the chunk has been forwarded.
    permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum Content {
    Bytes(Vec<u8>),
    End(Close),
}

impl<'a> Pipe<'a> {
    pub(super) fn new(shared: &'a Shared, direction: Direction, number: u64) -> Self {
        Self {
            shared,
            direction,
            number,
            passed: 0,
            has_lost_bytes: false,
            next_write_at: Instant::now(),
            splitter: None,
        }
    }

    /// Runs until the end of the stream has been forwarded. An error means that the connection must be closed in this
    /// way.
    pub(super) async fn run(self, from: ReadHalf<'_>, to: WriteHalf<'_>) -> Result<(), Close> {
        let (sender, receiver) = unbounded_channel();
        let reads = read_chunks(self.shared, self.direction, from, sender);
        let reading = async {
            reads.await;
            Ok(())
        };
        let forwarding = self.forward_chunks(receiver, to);
        tokio::try_join!(reading, forwarding).map(|_| ())
    }

    async fn forward_chunks(
        mut self,
        mut chunks: UnboundedReceiver<Chunk>,
        mut to: WriteHalf<'_>,
    ) -> Result<(), Close> {
        while let Some(Chunk { due, content, permit }) = chunks.recv().await {
            sleep_until(due).await;
            match content {
                Content::Bytes(bytes) => self.forward(&bytes, &mut to).await?,
                Content::End(_) if self.has_lost_bytes => {}
                Content::End(Close::Fin) => to.shutdown().await.map_err(|_| Close::Rst)?,
                Content::End(Close::Rst) => return Err(Close::Rst),
            }
            drop(permit);
        }
        Ok(())
    }

    async fn forward(&mut self, mut bytes: &[u8], to: &mut WriteHalf<'_>) -> Result<(), Close> {
        while !bytes.is_empty() {
            let rule = self.shared.rule(self.direction);
            self.has_lost_bytes |= rule.black_hole;
            if self.has_lost_bytes {
                return Ok(());
            }
            self.check_disconnect(&rule)?;
            let (piece, rest) = bytes.split_at(self.piece_len(&rule, bytes.len()));
            self.pace(&rule, piece.len()).await;
            self.write(piece, to).await?;
            self.check_disconnect(&rule)?;
            bytes = rest;
        }
        Ok(())
    }

    fn check_disconnect(&self, rule: &Rule) -> Result<(), Close> {
        match rule.disconnect {
            Some(disconnect) if self.passed >= disconnect.after => Err(disconnect.close),
            _ => Ok(()),
        }
    }

    fn piece_len(&mut self, rule: &Rule, available: usize) -> usize {
        let mut len = available;
        if let Some(disconnect) = rule.disconnect {
            let remaining = disconnect.after.saturating_sub(self.passed);
            len = len.min(usize::try_from(remaining).unwrap_or(usize::MAX));
        }
        if let Some(rate) = rule.bytes_per_second {
            len = len.min(rate as usize / WRITES_PER_SECOND).max(1);
        }
        if let Some(splits) = rule.splits {
            len = len.min(self.random_len(splits));
        }
        len
    }

    fn random_len(&mut self, splits: Splits) -> usize {
        if self.splitter.as_ref().is_none_or(|(of, _)| *of != splits) {
            self.splitter = None;
        }
        let stream = self.number * 2 + self.direction as u64;
        let (_, rng) = self.splitter.get_or_insert_with(|| (splits, rng(splits.seed, stream)));
        rng.usize(1..=splits.longest)
    }

    async fn pace(&mut self, rule: &Rule, len: usize) {
        if let Some(rate) = rule.bytes_per_second {
            let duration = Duration::from_secs(len as u64) / rate.max(1);
            self.next_write_at = self.next_write_at.max(Instant::now()) + duration;
            sleep_until(self.next_write_at).await;
        }
        if rule.splits.is_some() {
            // Lets the receiver read, because the pieces would otherwise be merged in its socket.
            tokio::task::yield_now().await;
        }
    }

    async fn write(&mut self, piece: &[u8], to: &mut WriteHalf<'_>) -> Result<(), Close> {
        let len = piece.len() as u64;
        // Counted before the write, so that a test that has received a byte sees it counted.
        let total = self.shared.passed(self.direction);
        total.fetch_add(len, Ordering::Relaxed);
        self.passed += len;
        to.write_all(piece).await.map_err(|_| Close::Rst)
    }
}

/// Reads chunks as long as the pipe has capacity. A delay does not reduce the bandwidth, and a receiver that does not
/// read blocks the sender.
async fn read_chunks(shared: &Shared, direction: Direction, mut from: ReadHalf<'_>, chunks: UnboundedSender<Chunk>) {
    let capacity = Arc::new(Semaphore::new(CAPACITY));
    let mut buffer = vec![0; READ_LEN];
    loop {
        let content = match from.read(&mut buffer).await {
            Ok(0) => Content::End(Close::Fin),
            Ok(len) => Content::Bytes(buffer[..len].to_vec()),
            Err(_) => Content::End(Close::Rst),
        };
        let due = Instant::now() + shared.rule(direction).delay;
        let last = matches!(content, Content::End(_));
        let chunk = Chunk { due, permit: acquire(&capacity, &content).await, content };
        // Sending fails if the connection was closed in the meantime.
        if chunks.send(chunk).is_err() || last {
            return;
        }
    }
}

async fn acquire(capacity: &Arc<Semaphore>, content: &Content) -> Option<OwnedSemaphorePermit> {
    let len = match content {
        Content::Bytes(bytes) => u32::try_from(bytes.len()).ok()?,
        Content::End(_) => return None,
    };
    Arc::clone(capacity).acquire_many_owned(len).await.ok()
}

/// Returns the generator of one direction of one connection. Each has its own.
fn rng(seed: u64, stream: u64) -> Rng {
    let base = Rng::with_seed(seed).u64(..);
    Rng::with_seed(base.wrapping_add(stream))
}

const READ_LEN: usize = 64 << 10;
// The number of bytes that may be in flight in one direction: 140 MB/s at a delay of 30 ms.
const CAPACITY: usize = 4 << 20;
const WRITES_PER_SECOND: usize = 100;
