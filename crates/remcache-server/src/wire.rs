//! Faults applied: from reply packets to what is done on the socket.

mod text;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use tokio::time::Instant;

use crate::fault::{Close, Everywhere, Fault};

/// The faults of one connection.
///
/// No socket and no clock: packets and the time go in, steps come out.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    faults: Vec<Active>,
    /// How many of the faults that are everywhere are known here.
    known: usize,
    clearings: u64,
    /// Whether the connection is closed by a step that was given out.
    ended: bool,
}

/// What is done on the socket, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Write these bytes, by themselves.
    Write(Bytes),
    /// Wait for this time.
    WaitUntil(Instant),
    /// Let others have their turn, so that what was written is seen by itself.
    Yield,
    /// Close the connection.
    Close(Close),
}

/// A fault at work.
#[derive(Debug)]
struct Active {
    fault: Fault,
    /// Whether it concerns one reply only.
    once: bool,
    /// How many bytes have passed.
    passed: usize,
    rng: Rng,
    /// When the next byte may leave.
    free_at: Option<Instant>,
    /// A packet that waits for the next one.
    held: Option<Bytes>,
}

impl Wire {
    /// A new connection with faults of its own.
    pub(crate) fn new(own: Vec<Fault>, clearings: u64) -> Self {
        let faults = own.into_iter().map(|fault| Active::new(fault, false)).collect();
        Self { faults, clearings, ..Self::default() }
    }

    /// Takes what is new among the faults that are everywhere, or forgets all that were cleared.
    pub(crate) fn update(&mut self, everywhere: &Everywhere<'_>) {
        if everywhere.clearings != self.clearings {
            self.clearings = everywhere.clearings;
            self.known = 0;
            self.faults.clear();
        }
        let new = everywhere.faults.iter().skip(self.known);
        self.faults.extend(new.map(|fault| Active::new(fault.clone(), false)));
        self.known = everywhere.faults.len();
    }

    pub(crate) fn has_faults(&self) -> bool {
        !self.faults.is_empty() || self.ended
    }

    pub(crate) fn stops_reading(&self) -> bool {
        self.has(&Fault::StopReading)
    }

    pub(crate) fn never_answers(&self) -> bool {
        self.has(&Fault::NeverAnswer)
    }

    /// What a new connection is greeted with.
    pub(crate) fn greeting(&self) -> Option<Bytes> {
        self.faults.iter().find_map(|active| match &active.fault {
            Fault::Greet(bytes) => Some(bytes.clone()),
            _ => None,
        })
    }

    /// What is done for a reply packet that is produced now, with the faults whose place it is.
    pub(crate) fn apply(&mut self, packet: Bytes, once: Vec<Fault>, now: Instant, steps: &mut impl Extend<Step>) {
        self.faults.extend(once.into_iter().map(|fault| Active::new(fault, true)));
        let mut packets = vec![packet];
        for active in &mut self.faults {
            packets = packets.into_iter().flat_map(|packet| active.alter(packet)).collect();
        }
        let mut planned: Vec<Step> = packets.into_iter().map(Step::Write).collect();
        for active in &mut self.faults {
            planned = planned.into_iter().flat_map(|step| active.pace(step, now)).collect();
        }
        self.faults.retain(|active| !active.is_spent());
        for step in planned {
            if !self.ended {
                self.ended = matches!(step, Step::Close(_));
                steps.extend([step]);
            }
        }
    }

    fn has(&self, fault: &Fault) -> bool {
        self.faults.iter().any(|active| active.fault == *fault)
    }
}

impl Active {
    fn new(fault: Fault, once: bool) -> Self {
        let seed = match fault {
            Fault::Split { seed } | Fault::Garbage { seed } => seed,
            _ => 0,
        };
        let rng = Rng::with_seed(seed);
        Self { fault, once, passed: 0, rng, free_at: None, held: None }
    }

    /// Whether it has nothing more to do.
    fn is_spent(&self) -> bool {
        let lasts = matches!(self.fault, Fault::StopReading | Fault::NeverAnswer);
        self.once && !lasts && self.held.is_none()
    }

    /// What a packet becomes: none, one or several.
    fn alter(&mut self, packet: Bytes) -> Vec<Bytes> {
        match self.fault {
            Fault::Drop | Fault::NeverAnswer => vec![],
            Fault::Repeat => vec![packet.clone(), packet],
            Fault::Swap => match self.held.take() {
                Some(held) => vec![packet, held],
                None => {
                    self.held = Some(packet);
                    vec![]
                }
            },
            Fault::Garbage { .. } => vec![self.garbage(&packet)],
            Fault::HugeLength if text::is_text(&packet) => vec![text::with_huge_length(packet)],
            Fault::WrongOpaque { xor } if text::is_text(&packet) => vec![text::with_wrong_opaque(packet, xor)],
            Fault::WrongMagic(byte) => vec![changed(packet, 0, |field: &mut [u8; 1]| *field = [byte])],
            Fault::WrongOpcode(byte) => vec![changed(packet, 1, |field: &mut [u8; 1]| *field = [byte])],
            Fault::HugeLength => vec![changed(packet, 8, |field: &mut [u8; 4]| *field = [0xff; 4])],
            Fault::WrongOpaque { xor } => vec![changed(packet, 12, |field: &mut [u8; 4]| {
                *field = (u32::from_be_bytes(*field) ^ xor).to_be_bytes();
            })],
            _ => vec![packet],
        }
    }

    fn garbage(&mut self, packet: &[u8]) -> Bytes {
        let mut bytes = vec![0; packet.len()];
        self.rng.fill(&mut bytes);
        // Text replies begin with a letter or a digit.
        let is_replys = |first: u8| if text::is_text(packet) { first < 0x80 } else { first == 0x81 };
        if let Some(first) = bytes.first_mut().filter(|first| is_replys(**first)) {
            *first = if *first == 0x81 { 0x18 } else { *first | 0x80 };
        }
        bytes.into()
    }

    /// How bytes leave.
    fn pace(&mut self, step: Step, now: Instant) -> Vec<Step> {
        let Step::Write(bytes) = step else { return vec![step] };
        match &self.fault {
            Fault::Delay(delay) => vec![Step::WaitUntil(after(now, *delay)), Step::Write(bytes)],
            &Fault::Cut { after, close } => self.cut(bytes, after, close),
            Fault::ByteByByte => apart(bytes, |_| 1),
            Fault::Split { .. } => apart(bytes, |left| split_length(&mut self.rng, left)),
            &Fault::Drip { bytes_per_second } => self.drip(bytes, bytes_per_second.max(1), now),
            Fault::Greet(greeting) if self.once => vec![Step::Write(greeting.clone()), Step::Close(Close::Fin)],
            _ => vec![Step::Write(bytes)],
        }
    }

    fn cut(&mut self, mut bytes: Bytes, after: usize, close: Close) -> Vec<Step> {
        let left = after.saturating_sub(self.passed);
        self.passed = self.passed.saturating_add(bytes.len());
        if bytes.len() < left {
            return vec![Step::Write(bytes)];
        }
        bytes.truncate(left);
        let last = Some(bytes).filter(|bytes| !bytes.is_empty()).map(Step::Write);
        last.into_iter().chain([Step::Close(close)]).collect()
    }

    fn drip(&mut self, bytes: Bytes, per_second: u32, now: Instant) -> Vec<Step> {
        // A hundred times a second is smooth enough; slower drips are single bytes.
        let length = (per_second / 100).max(1);
        let pause = Duration::from_secs_f64(f64::from(length) / f64::from(per_second));
        let mut steps = Vec::new();
        for piece in pieces(bytes, |_| length as usize) {
            let at = self.free_at.map_or(now, |free_at| free_at.max(now));
            self.free_at = Some(at + pause);
            steps.extend([Step::WaitUntil(at), Step::Write(piece)]);
        }
        steps
    }
}

/// The packet with a field changed; a packet that is too short for it stays as it is.
fn changed<const N: usize>(packet: Bytes, at: usize, change: impl FnOnce(&mut [u8; N])) -> Bytes {
    let mut bytes = BytesMut::from(&packet[..]);
    if let Some(field) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        change(field);
    }
    bytes.freeze()
}

/// A time so much later, or so late that nobody sees the difference.
fn after(now: Instant, delay: Duration) -> Instant {
    now.checked_add(delay).unwrap_or(now + FOREVER)
}

const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Pieces, each written by itself.
fn apart(bytes: Bytes, length: impl FnMut(usize) -> usize) -> Vec<Step> {
    pieces(bytes, length).into_iter().flat_map(|piece| [Step::Write(piece), Step::Yield]).collect()
}

/// Cuts bytes into pieces; `length` says how long the next one is when so many bytes are left.
fn pieces(mut bytes: Bytes, mut length: impl FnMut(usize) -> usize) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let length = length(bytes.len()).clamp(1, bytes.len());
        pieces.push(bytes.split_to(length));
    }
    pieces
}

/// Short pieces hit headers, long ones get a large value done.
fn split_length(rng: &mut Rng, left: usize) -> usize {
    let longest = if rng.bool() { left } else { left.min(24) };
    rng.usize(1..=longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet whose opaque is this, and whose value is one byte.
    fn packet(opaque: u8) -> Bytes {
        let mut bytes = vec![0; 25];
        bytes[0] = 0x81;
        bytes[11] = 1;
        bytes[15] = opaque;
        bytes[24] = b'v';
        bytes.into()
    }

    /// What is done for packets with the opaques 1 to `count`, in words: `w` and the opaque for a
    /// whole packet as it was, otherwise what the step is.
    fn check(faults: &[Fault], count: u8, expected: &str) {
        let mut wire = Wire::new(faults.to_vec(), 0);
        assert_eq!(told(&mut wire, (1..=count).map(|opaque| (packet(opaque), vec![]))), expected, "{faults:?}");
    }

    fn check_once(fault: Fault, expected: &str) {
        let mut wire = Wire::default();
        let mut once = vec![fault];
        let packets = (1..=3).map(|opaque| (packet(opaque), std::mem::take(&mut once)));
        assert_eq!(told(&mut wire, packets), expected);
        assert!(!wire.has_faults() || wire.ended || wire.stops_reading() || wire.never_answers());
    }

    fn told(wire: &mut Wire, packets: impl Iterator<Item = (Bytes, Vec<Fault>)>) -> String {
        let now = Instant::now();
        let mut steps = Vec::new();
        for (packet, once) in packets {
            wire.apply(packet, once, now, &mut steps);
        }
        steps.iter().map(|step| in_words(step, now)).collect::<Vec<_>>().join(" ")
    }

    fn in_words(step: &Step, now: Instant) -> String {
        match step {
            Step::Write(bytes) if bytes.len() == 25 && *bytes == packet(bytes[15]) => format!("w{}", bytes[15]),
            Step::Write(bytes) => format!("w[{}]", bytes.len()),
            Step::WaitUntil(time) => format!("+{}ms", (*time - now).as_millis()),
            Step::Yield => "y".to_owned(),
            Step::Close(close) => format!("{close:?}"),
        }
    }

    const fn cut(after: usize, close: Close) -> Fault {
        Fault::Cut { after, close }
    }

    #[test]
    fn faults_everywhere() {
        use Close::{Fin, Rst};
        check(&[], 3, "w1 w2 w3");
        check(&[Fault::Drop], 3, "");
        check(&[Fault::NeverAnswer], 3, "");
        check(&[Fault::StopReading], 2, "w1 w2");
        check(&[Fault::Repeat], 2, "w1 w1 w2 w2");
        check(&[Fault::Swap], 5, "w2 w1 w4 w3");
        check(&[Fault::Delay(Duration::from_millis(5))], 2, "+5ms w1 +5ms w2");
        check(&[Fault::Delay(Duration::MAX)], 1, "+31536000000ms w1");
        check(&[cut(30, Rst)], 3, "w1 w[5] Rst");
        check(&[cut(25, Fin)], 3, "w1 Fin");
        check(&[cut(0, Fin)], 3, "Fin");
        check(&[Fault::Greet(Bytes::from("hello"))], 2, "w1 w2");
        check(&[Fault::Drip { bytes_per_second: 1000 }], 1, "+0ms w[10] +10ms w[10] +20ms w[5]");
        check(&[Fault::Drip { bytes_per_second: 0 }], 1, &drips(1000));
        check(&[Fault::ByteByByte], 1, &["w[1] y"; 25].join(" "));
    }

    fn drips(pause: usize) -> String {
        (0..25).map(|n| format!("+{}ms w[1]", n * pause)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn faults_of_one_reply() {
        use Close::Fin;
        check_once(Fault::Drop, "w2 w3");
        check_once(Fault::Repeat, "w1 w1 w2 w3");
        check_once(Fault::Swap, "w2 w1 w3");
        check_once(Fault::Delay(Duration::from_millis(5)), "+5ms w1 w2 w3");
        check_once(cut(7, Fin), "w[7] Fin");
        check_once(Fault::NeverAnswer, "");
        check_once(Fault::StopReading, "w1 w2 w3");
        check_once(Fault::tls_alert(), "w[7] Fin");
        check_once(Fault::Drip { bytes_per_second: 2500 }, "+0ms w1 w2 w3");
    }

    #[test]
    fn faults_act_together_in_order() {
        let slow = Fault::Drip { bytes_per_second: 1000 };
        check(&[Fault::Repeat, cut(40, Close::Rst)], 2, "w1 w[15] Rst");
        check(&[cut(12, Close::Fin), slow], 1, "+0ms w[10] +10ms w[2] Fin");
        check(&[Fault::Swap, Fault::Repeat], 2, "w2 w2 w1 w1");
    }

    fn field(fault: Fault, range: std::ops::Range<usize>) -> Vec<u8> {
        let mut steps = Vec::new();
        Wire::new(vec![fault], 0).apply(packet(5), vec![], Instant::now(), &mut steps);
        let [Step::Write(bytes)] = &steps[..] else { panic!("{steps:?}") };
        let outside = |at: &usize| !range.contains(at);
        assert!((0..25).filter(outside).all(|at| bytes[at] == packet(5)[at]), "nothing else is changed");
        bytes[range].to_vec()
    }

    #[test]
    fn fields_are_changed_and_nothing_else() {
        assert_eq!(field(Fault::WrongMagic(0x80), 0..1), [0x80]);
        assert_eq!(field(Fault::WrongOpcode(0x0a), 1..2), [0x0a]);
        assert_eq!(field(Fault::HugeLength, 8..12), [0xff; 4]);
        assert_eq!(field(Fault::WrongOpaque { xor: 1 }, 12..16), [0, 0, 0, 4]);
    }

    #[test]
    fn splits_and_garbage_are_those_of_the_seed() {
        let steps = |fault: &Fault| {
            let mut steps = Vec::new();
            let mut wire = Wire::new(vec![fault.clone()], 0);
            (1..=9).for_each(|opaque| wire.apply(packet(opaque), vec![], Instant::now(), &mut steps));
            steps
        };
        let bytes = |steps: &[Step]| {
            steps
                .iter()
                .filter_map(|step| if let Step::Write(bytes) = step { Some(&bytes[..]) } else { None })
                .collect::<Vec<_>>()
                .concat()
        };
        let sent = (1..=9).map(packet).collect::<Vec<_>>().concat();
        for seed in 0..200 {
            let split = steps(&Fault::Split { seed });
            assert_eq!(bytes(&split), sent);
            assert_eq!(split, steps(&Fault::Split { seed }));
            assert!(split.len() > 18, "some packet is split");
            let garbage = steps(&Fault::Garbage { seed });
            assert_eq!(garbage, steps(&Fault::Garbage { seed }));
            assert_eq!(bytes(&garbage).len(), sent.len());
            assert!(garbage.iter().all(|step| matches!(step, Step::Write(bytes) if bytes[0] != 0x81)));
        }
        assert_ne!(steps(&Fault::Split { seed: 1 }), steps(&Fault::Split { seed: 2 }));
        assert_ne!(steps(&Fault::Garbage { seed: 1 }), steps(&Fault::Garbage { seed: 2 }));
    }

    #[test]
    fn what_is_everywhere_is_taken_once_and_forgotten_when_cleared() {
        let mut wire = Wire::new(vec![Fault::Drop], 3);
        let drop_and_repeat = [Fault::Repeat, Fault::StopReading];
        for _ in 0..2 {
            wire.update(&Everywhere { faults: &drop_and_repeat, clearings: 3 });
            assert_eq!(wire.faults.len(), 3);
        }
        assert!(wire.stops_reading());
        wire.update(&Everywhere { faults: &[Fault::Repeat], clearings: 4 });
        assert_eq!(wire.faults.len(), 1);
        assert!(!wire.stops_reading());
    }
}
