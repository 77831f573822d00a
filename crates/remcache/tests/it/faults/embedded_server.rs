//! Every fault of the embedded server, with every operation, on each protocol.

use std::time::Duration;

use remcache::{Client, Config, Error, UnconditionalOutcome};
use remcache_server::{Close, Fault, Server};
use tokio::time::timeout;

use crate::faults::support::known_items::{KEYS, PATIENCE, fetch_all, keys, store, wait_for_recovery};
use crate::support::{ProtocolMode, patient_config, protocol_mode_tests, wait_until};

protocol_mode_tests! {
    #[tokio::test]
    every_fault_of_the_embedded_server
}

/// The gets that fail under a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    None,
    Some,
    Total,
}

fn faults(mode: ProtocolMode) -> Vec<(Fault, Effect)> {
    // Items of a multiget have no opaque, and the high bit of a hexadecimal opaque may go unused.
    let (low, high) = match mode {
        ProtocolMode::Binary => (Effect::Total, Effect::Total),
        ProtocolMode::MetaUnbatched => (Effect::Total, Effect::Some),
        ProtocolMode::Meta | ProtocolMode::Text => (Effect::None, Effect::None),
    };
    vec![
        (Fault::Delay(Duration::from_millis(5)), Effect::None),
        (Fault::ByteByByte, Effect::None),
        (Fault::Split { seed: 7 }, Effect::None),
        (Fault::Drop, Effect::Total),
        (Fault::Disconnect { after: 0, close: Close::Fin }, Effect::Total),
        (Fault::Disconnect { after: 3_000, close: Close::Fin }, Effect::Some),
        (Fault::Disconnect { after: 3_000, close: Close::Rst }, Effect::Some),
        (Fault::Garbage { seed: 7 }, Effect::Total),
        (Fault::WrongMagic(0x80), Effect::Total),
        (Fault::WrongOpcode(0x0c), Effect::Total),
        (Fault::WrongOpaque { xor: 1 }, low),
        (Fault::WrongOpaque { xor: 1 << 31 }, high),
        (Fault::Swap, Effect::Total),
        (Fault::Duplicate, Effect::Some),
        (Fault::HugeLength, Effect::Total),
        (Fault::Throttle { bytes_per_second: 1 }, Effect::Total),
        (Fault::BlackHole, Effect::Total),
        (Fault::StopReading, Effect::Some),
        (Fault::http(), Effect::Some),
        (Fault::tls_alert(), Effect::Some),
        (Fault::too_many_connections(), Effect::Some),
        (Fault::RefuseConnections, Effect::Some),
    ]
}

/// Writes under a fault are made or fail as unavailable.
async fn write(mode: ProtocolMode, client: &Client, serial: usize) {
    let (key, counter) = (format!("changed:{serial}"), format!("counter:{serial}"));
    let increment = client.increment(&counter, 1);
    let increment = if mode == ProtocolMode::Text { increment } else { increment.initial(1) };
    let calls = async {
        expect_applied_or_unavailable(client.set(&key, "value").await);
        if let Ok(counter) = expect_unavailable_if_err(increment.await) {
            // The text protocol cannot create a counter.
            assert_eq!(counter.map(|counter| counter.value), (mode != ProtocolMode::Text).then_some(1));
        }
        let _ = expect_unavailable_if_err(client.servers()[0].stats("").collect().await);
        // It is unknown whether a failed set was executed, so any result is correct.
        let _ = expect_unavailable_if_err(client.delete(&key).await);
    };
    timeout(PATIENCE, calls).await.expect("no call hangs");
}

fn expect_applied_or_unavailable(result: Result<UnconditionalOutcome, Error>) {
    if let Ok(change) = expect_unavailable_if_err(result) {
        assert!(change.is_applied(), "{change:?}");
    }
}

fn expect_unavailable_if_err<T>(result: Result<T, Error>) -> Result<T, Error> {
    if let Err(error) = &result {
        assert!(error.is_unavailable(), "{error:?}");
    }
    result
}

async fn every_fault_of_the_embedded_server(mode: ProtocolMode) {
    for (serial, (fault, effect)) in faults(mode).into_iter().enumerate() {
        let server = Server::start().await.unwrap();
        let patient = mode.config(patient_config());
        store(&Client::with_config([server.address()], patient).unwrap()).await;
        // Faults that leave a call without an answer are to end by a timeout soon.
        let timeout = if effect == Effect::None { PATIENCE } else { Duration::from_millis(100) };
        let config = mode.config(Config::new()).timeout(timeout);
        let client = Client::with_config([server.address()], config).unwrap();
        // Some faults would affect the handshake as well.
        wait_until("the client connects", async || client.get("open").timeout(PATIENCE).await.is_ok()).await;
        server.inject(fault.clone());
        let failed = fetch_all(&client).await;
        write(mode, &client, serial).await;
        match effect {
            Effect::None => assert_eq!(failed, 0, "{fault:?}"),
            Effect::Some => {}
            Effect::Total => assert_eq!(failed, KEYS, "{fault:?}"),
        }
        server.clear_faults().unwrap();
        wait_for_recovery(|| async { fetch_all(&client).await == 0 }).await;
        let found = client.get_many(keys()).timeout(PATIENCE).await.found().count();
        assert_eq!(found, KEYS, "{fault:?}");
    }
}
