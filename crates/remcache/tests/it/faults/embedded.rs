//! The faults of the embedded server: each that it knows, with every operation, on each protocol.

use std::time::Duration;

use remcache::{Client, Config, Error, WriteOutcome};
use remcache_server::{Close, Fault, Server};
use tokio::time::timeout;

use crate::faults::support::fetch::{HANG, KEYS, fetch, keys, recover, store};
use crate::support::Speech;
use crate::support::on_each_protocol;

on_each_protocol! {
    #[tokio::test]
    every_fault_of_the_embedded_server
}

/// Whether fetches must succeed under a fault, and whether they must fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    None,
    Some,
    Total,
}

fn faults(speech: Speech) -> Vec<(Fault, Effect)> {
    // Items of a line have no opaque, and one in hexadecimal digits has no such high bit.
    let (low, high) = match speech {
        Speech::Binary => (Effect::Total, Effect::Total),
        Speech::MetaOneByOne => (Effect::Total, Effect::Some),
        Speech::Meta | Speech::Text => (Effect::None, Effect::None),
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

/// Changes under a fault are made or fail; the server never decides otherwise here.
async fn change(speech: Speech, client: &Client, serial: usize) {
    let (key, counter) = (format!("changed:{serial}"), format!("counter:{serial}"));
    let raise = client.increment(&counter, 1);
    let raise = if speech == Speech::Text { raise } else { raise.initial(1) };
    let calls = async {
        is_applied(client.set(&key, "value").await);
        if let Ok(counter) = unless_unavailable(raise.await) {
            // In text a counter starts nowhere by itself.
            assert_eq!(counter.map(|counter| counter.value), (speech != Speech::Text).then_some(1));
        }
        let _ = unless_unavailable(client.servers()[0].stats("").collect().await);
        // Whether the set was executed is not known if it failed.
        let _ = unless_unavailable(client.delete(&key).await);
    };
    timeout(HANG, calls).await.expect("no call hangs");
}

fn is_applied(outcome: Result<WriteOutcome, Error>) {
    if let Ok(change) = unless_unavailable(outcome) {
        assert!(change.is_applied(), "{change:?}");
    }
}

fn unless_unavailable<T>(outcome: Result<T, Error>) -> Result<T, Error> {
    if let Err(error) = &outcome {
        assert!(error.is_unavailable(), "{error:?}");
    }
    outcome
}

async fn every_fault_of_the_embedded_server(speech: Speech) {
    for (serial, (fault, effect)) in faults(speech).into_iter().enumerate() {
        let server = Server::start().await.unwrap();
        let deadline = if effect == Effect::None { HANG } else { Duration::from_millis(100) };
        let config = speech.config(Config::new()).timeout(deadline);
        let client = Client::with_config([server.address()], config).unwrap();
        store(&client).await;
        server.inject(fault.clone());
        let failed = fetch(&client).await;
        change(speech, &client, serial).await;
        match effect {
            Effect::None => assert_eq!(failed, 0, "{fault:?}"),
            Effect::Some => {}
            Effect::Total => assert_eq!(failed, KEYS, "{fault:?}"),
        }
        server.clear_faults().unwrap();
        recover(|| async { fetch(&client).await == 0 }).await;
        assert_eq!(client.get_many(keys()).await.found().count(), KEYS, "{fault:?}");
    }
}
