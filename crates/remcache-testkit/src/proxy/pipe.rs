//! One direction of a connection: reads at once, passes on when and how the rule says.

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

/// The state of a direction of one connection.
#[derive(Debug)]
pub(super) struct Pipe<'a> {
    shared: &'a Shared,
    direction: Direction,
    number: u64,
    passed: u64,
    swallowed: bool,
    next_drip: Instant,
    splitter: Option<(Splits, Rng)>,
}

/// What was read at once, and when it has to arrive.
#[derive(Debug)]
struct Parcel {
    due: Instant,
    content: Content,
    /// Given back when the parcel has been passed on.
    room: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum Content {
    Bytes(Vec<u8>),
    End(Close),
}

impl<'a> Pipe<'a> {
    pub(super) fn new(shared: &'a Shared, direction: Direction, number: u64) -> Self {
        Self { shared, direction, number, passed: 0, swallowed: false, next_drip: Instant::now(), splitter: None }
    }

    /// Runs until the sender's end has been passed on; an error is a close of the connection.
    pub(super) async fn run(self, from: ReadHalf<'_>, to: WriteHalf<'_>) -> Result<(), Close> {
        let (sender, receiver) = unbounded_channel();
        let reads = read_parcels(self.shared, self.direction, from, sender);
        let reading = async {
            reads.await;
            Ok(())
        };
        let passing = self.pass_parcels(receiver, to);
        tokio::try_join!(reading, passing).map(|_| ())
    }

    async fn pass_parcels(
        mut self,
        mut parcels: UnboundedReceiver<Parcel>,
        mut to: WriteHalf<'_>,
    ) -> Result<(), Close> {
        while let Some(Parcel { due, content, room }) = parcels.recv().await {
            sleep_until(due).await;
            match content {
                Content::Bytes(bytes) => self.pass(&bytes, &mut to).await?,
                Content::End(_) if self.swallowed => {}
                Content::End(Close::Fin) => to.shutdown().await.map_err(|_| Close::Rst)?,
                Content::End(Close::Rst) => return Err(Close::Rst),
            }
            drop(room);
        }
        Ok(())
    }

    async fn pass(&mut self, mut bytes: &[u8], to: &mut WriteHalf<'_>) -> Result<(), Close> {
        while !bytes.is_empty() {
            let rule = self.shared.rule(self.direction);
            self.swallowed |= rule.black_hole;
            if self.swallowed {
                return Ok(());
            }
            self.check_cut(&rule)?;
            let (piece, rest) = bytes.split_at(self.piece_len(&rule, bytes.len()));
            self.pace(&rule, piece.len()).await;
            self.write(piece, to).await?;
            self.check_cut(&rule)?;
            bytes = rest;
        }
        Ok(())
    }

    fn check_cut(&self, rule: &Rule) -> Result<(), Close> {
        match rule.cut {
            Some(cut) if self.passed >= cut.after => Err(cut.how),
            _ => Ok(()),
        }
    }

    fn piece_len(&mut self, rule: &Rule, available: usize) -> usize {
        let mut len = available;
        if let Some(cut) = rule.cut {
            let left = cut.after.saturating_sub(self.passed);
            len = len.min(usize::try_from(left).unwrap_or(usize::MAX));
        }
        if let Some(rate) = rule.bytes_per_second {
            len = len.min(rate as usize / DRIPS_PER_SECOND).max(1);
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
            let takes = Duration::from_secs(len as u64) / rate.max(1);
            self.next_drip = self.next_drip.max(Instant::now()) + takes;
            sleep_until(self.next_drip).await;
        }
        if rule.splits.is_some() {
            // Gives the receiver a turn: else the pieces would meet again in its socket.
            tokio::task::yield_now().await;
        }
    }

    async fn write(&mut self, piece: &[u8], to: &mut WriteHalf<'_>) -> Result<(), Close> {
        let len = piece.len() as u64;
        // Counted first: who has seen a byte finds it counted.
        let total = self.shared.passed(self.direction);
        total.fetch_add(len, Ordering::Relaxed);
        self.passed += len;
        to.write_all(piece).await.map_err(|_| Close::Rst)
    }
}

/// Reads as long as there is room in the pipe: a delay costs no bandwidth, and a receiver that
/// does not read is felt by the sender.
async fn read_parcels(shared: &Shared, direction: Direction, mut from: ReadHalf<'_>, parcels: UnboundedSender<Parcel>) {
    let room = Arc::new(Semaphore::new(ROOM));
    let mut buffer = vec![0; READ_LEN];
    loop {
        let content = match from.read(&mut buffer).await {
            Ok(0) => Content::End(Close::Fin),
            Ok(len) => Content::Bytes(buffer[..len].to_vec()),
            Err(_) => Content::End(Close::Rst),
        };
        let due = Instant::now() + shared.rule(direction).delay;
        let last = matches!(content, Content::End(_));
        let parcel = Parcel { due, room: take_room(&room, &content).await, content };
        // Nobody takes it when the connection has been ended meanwhile.
        if parcels.send(parcel).is_err() || last {
            return;
        }
    }
}

async fn take_room(room: &Arc<Semaphore>, content: &Content) -> Option<OwnedSemaphorePermit> {
    let len = match content {
        Content::Bytes(bytes) => u32::try_from(bytes.len()).ok()?,
        Content::End(_) => return None,
    };
    Arc::clone(room).acquire_many_owned(len).await.ok()
}

/// The generator of one direction of one connection: another one for each of them.
fn rng(seed: u64, stream: u64) -> Rng {
    let base = Rng::with_seed(seed).u64(..);
    Rng::with_seed(base.wrapping_add(stream))
}

const READ_LEN: usize = 64 << 10;
// What may be on its way in one direction: 140 MB a second at a delay of 30 ms.
const ROOM: usize = 4 << 20;
const DRIPS_PER_SECOND: usize = 100;
