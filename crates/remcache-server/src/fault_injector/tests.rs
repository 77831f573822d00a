//! Tests of each fault, on packets in memory.

use super::*;

/// Returns a packet with this opaque and a value of one byte.
fn packet(opaque: u8) -> Bytes {
    let mut bytes = vec![0; 25];
    bytes[0] = 0x81;
    bytes[11] = 1;
    bytes[15] = opaque;
    bytes[24] = b'v';
    bytes.into()
}

/// Checks the operations for packets with the opaques 1 to `count`, in the notation of [`describe`].
fn check(faults: &[Fault], count: u8, expected: &str) {
    let mut injector = FaultInjector::new(faults.to_vec(), 0);
    let packets = (1..=count).map(|opaque| (packet(opaque), vec![]));
    assert_eq!(apply_all(&mut injector, packets), expected, "{faults:?}");
}

fn check_once(fault: Fault, expected: &str) {
    let mut injector = FaultInjector::default();
    let mut once = vec![fault];
    let packets = (1..=3).map(|opaque| (packet(opaque), std::mem::take(&mut once)));
    assert_eq!(apply_all(&mut injector, packets), expected);
    let lasts = injector.closed || injector.stops_reading() || injector.is_black_hole();
    assert!(!injector.is_active() || lasts);
}

fn apply_all(injector: &mut FaultInjector, packets: impl Iterator<Item = (Bytes, Vec<Fault>)>) -> String {
    let now = Instant::now();
    let mut ops = Vec::new();
    for (packet, once) in packets {
        injector.apply(packet, once, now, &mut ops);
    }
    ops.iter().map(|op| describe(op, now)).collect::<Vec<_>>().join(" ")
}

/// Describes an operation: `w` and the opaque for a whole, unchanged packet, `w` and the length for other bytes, the
/// delay for a wait, `y` for a yield.
fn describe(op: &SocketOp, now: Instant) -> String {
    match op {
        SocketOp::Write(bytes) if bytes.len() == 25 && *bytes == packet(bytes[15]) => format!("w{}", bytes[15]),
        SocketOp::Write(bytes) => format!("w[{}]", bytes.len()),
        SocketOp::WaitUntil(time) => format!("+{}ms", (*time - now).as_millis()),
        SocketOp::Yield => "y".to_owned(),
        SocketOp::Close(close) => format!("{close:?}"),
    }
}

const fn disconnect(after: usize, close: Close) -> Fault {
    Fault::Disconnect { after, close }
}

#[test]
fn faults_on_all_replies() {
    use Close::{Fin, Rst};
    check(&[], 3, "w1 w2 w3");
    check(&[Fault::Drop], 3, "");
    check(&[Fault::BlackHole], 3, "");
    check(&[Fault::StopReading], 2, "w1 w2");
    check(&[Fault::Duplicate], 2, "w1 w1 w2 w2");
    check(&[Fault::Swap], 5, "w2 w1 w4 w3");
    check(&[Fault::Delay(Duration::from_millis(5))], 2, "+5ms w1 +5ms w2");
    check(&[Fault::Delay(Duration::MAX)], 1, "+31536000000ms w1");
    check(&[disconnect(30, Rst)], 3, "w1 w[5] Rst");
    check(&[disconnect(25, Fin)], 3, "w1 Fin");
    check(&[disconnect(0, Fin)], 3, "Fin");
    check(&[Fault::SendAndClose(Bytes::from("hello"))], 2, "w1 w2");
    check(&[Fault::Throttle { bytes_per_second: 1000 }], 1, "+0ms w[10] +10ms w[10] +20ms w[5]");
    check(&[Fault::Throttle { bytes_per_second: 0 }], 1, &single_bytes(1000));
    check(&[Fault::ByteByByte], 1, &["w[1] y"; 25].join(" "));
}

fn single_bytes(pause: usize) -> String {
    (0..25).map(|n| format!("+{}ms w[1]", n * pause)).collect::<Vec<_>>().join(" ")
}

#[test]
fn faults_on_one_reply() {
    use Close::Fin;
    check_once(Fault::Drop, "w2 w3");
    check_once(Fault::Duplicate, "w1 w1 w2 w3");
    check_once(Fault::Swap, "w2 w1 w3");
    check_once(Fault::Delay(Duration::from_millis(5)), "+5ms w1 w2 w3");
    check_once(disconnect(7, Fin), "w[7] Fin");
    check_once(Fault::BlackHole, "");
    check_once(Fault::StopReading, "w1 w2 w3");
    check_once(Fault::tls_alert(), "w[7] Fin");
    check_once(Fault::Throttle { bytes_per_second: 2500 }, "+0ms w1 w2 w3");
}

#[test]
fn faults_combine_in_the_order_of_injection() {
    let slow = Fault::Throttle { bytes_per_second: 1000 };
    check(&[Fault::Duplicate, disconnect(40, Close::Rst)], 2, "w1 w[15] Rst");
    check(&[disconnect(12, Close::Fin), slow], 1, "+0ms w[10] +10ms w[2] Fin");
    check(&[Fault::Swap, Fault::Duplicate], 2, "w2 w2 w1 w1");
}

fn changed_field(fault: Fault, range: std::ops::Range<usize>) -> Vec<u8> {
    let mut ops = Vec::new();
    FaultInjector::new(vec![fault], 0).apply(packet(5), vec![], Instant::now(), &mut ops);
    let [SocketOp::Write(bytes)] = &ops[..] else { panic!("{ops:?}") };
    let outside = |at: &usize| !range.contains(at);
    assert!((0..25).filter(outside).all(|at| bytes[at] == packet(5)[at]), "nothing else is changed");
    bytes[range].to_vec()
}

#[test]
fn wrong_fields_change_nothing_else() {
    assert_eq!(changed_field(Fault::WrongMagic(0x80), 0..1), [0x80]);
    assert_eq!(changed_field(Fault::WrongOpcode(0x0a), 1..2), [0x0a]);
    assert_eq!(changed_field(Fault::HugeLength, 8..12), [0xff; 4]);
    assert_eq!(changed_field(Fault::WrongOpaque { xor: 1 }, 12..16), [0, 0, 0, 4]);
}

#[test]
fn the_seed_determines_splits_and_garbage() {
    let ops = |fault: &Fault| {
        let mut ops = Vec::new();
        let mut injector = FaultInjector::new(vec![fault.clone()], 0);
        (1..=9).for_each(|opaque| injector.apply(packet(opaque), vec![], Instant::now(), &mut ops));
        ops
    };
    let bytes = |ops: &[SocketOp]| {
        ops.iter()
            .filter_map(|op| if let SocketOp::Write(bytes) = op { Some(&bytes[..]) } else { None })
            .collect::<Vec<_>>()
            .concat()
    };
    let sent = (1..=9).map(packet).collect::<Vec<_>>().concat();
    for seed in 0..200 {
        let split = ops(&Fault::Split { seed });
        assert_eq!(bytes(&split), sent);
        assert_eq!(split, ops(&Fault::Split { seed }));
        assert!(split.len() > 18, "some packet is split");
        let garbage = ops(&Fault::Garbage { seed });
        assert_eq!(garbage, ops(&Fault::Garbage { seed }));
        assert_eq!(bytes(&garbage).len(), sent.len());
        assert!(garbage.iter().all(|op| matches!(op, SocketOp::Write(bytes) if bytes[0] != 0x81)));
    }
    assert_ne!(ops(&Fault::Split { seed: 1 }), ops(&Fault::Split { seed: 2 }));
    assert_ne!(ops(&Fault::Garbage { seed: 1 }), ops(&Fault::Garbage { seed: 2 }));
}

#[test]
fn global_faults_are_added_once_and_removed_when_cleared() {
    let mut injector = FaultInjector::new(vec![Fault::Drop], 3);
    let global = [Fault::Duplicate, Fault::StopReading];
    for _ in 0..2 {
        injector.update(&GlobalFaults { faults: &global, generation: 3 });
        assert_eq!(injector.faults.len(), 3);
    }
    assert!(injector.stops_reading());
    injector.update(&GlobalFaults { faults: &[Fault::Duplicate], generation: 4 });
    assert_eq!(injector.faults.len(), 1);
    assert!(!injector.stops_reading());
}
