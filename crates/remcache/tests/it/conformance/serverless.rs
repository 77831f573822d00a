//! The cases of the conformance suite on ElastiCache Serverless, as the embedded server emulates it, through the client.

use futures_util::StreamExt;
use remcache::Client;
use remcache::proto::{Protocol, Reply, Request, ServerVersion, Status};
use remcache_server::{Profile, Server};

use super::case::Case;
use super::cases::cases;
use crate::support::{ProtocolMode, TlsServers, patient_config};

/// The cases that do not pass, and why. All others do.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("debug: the server's description of an item", "of the meta commands, `me` does not exist"),
    ("statistics, by group", "only `stats` and `stats reset` exist"),
    ("flush, immediate and delayed", "a flush cannot be delayed"),
    ("verbosity", "no administrative command exists"),
    ("metadump: every item", "no administrative command exists"),
    ("mgdump: every key", "no administrative command exists"),
    ("memory limit, slabs, LRU, its crawler", "no administrative command exists"),
    ("quit", "the client refuses to end the connection that callers share"),
];

/// Sends a request through the client and returns all its replies.
async fn call(client: &Client, request: Request<'_>) -> Vec<Reply> {
    client.replies(request).collect().await
}

async fn run(case: &Case, client: &Client, protocol: Protocol) -> Result<(), String> {
    let mut last_cas = 0;
    for (index, step) in (case.steps)().iter().enumerate() {
        let replies = call(client, step.request(last_cas)).await;
        step.check(&replies, protocol).map_err(|what| format!("step {}: {what}", index + 1))?;
        last_cas = replies.last().map_or(0, |reply| reply.cas);
    }
    Ok(())
}

/// Checks that a request that the protocol cannot express, or the version does not know, is refused.
async fn check_refused(case: &Case, client: &Client) -> Result<(), String> {
    let step = (case.steps)().pop().ok_or("a case without steps")?;
    let found = client.call(step.request(1)).await.status;
    match found {
        Status::Unsupported | Status::InvalidKey | Status::InvalidArguments | Status::UnknownCommand => Ok(()),
        _ => Err(format!("{found:?} for an unsupported request")),
    }
}

#[tokio::test]
async fn every_case_that_the_service_supports_passes() {
    let servers = TlsServers::new();
    let mut failures = Vec::new();
    // A negotiated connection uses the meta protocol. A multiget has no metadata of stale items.
    let negotiated = patient_config().max_keys_per_multiget(1);
    let text = ProtocolMode::Text.config(patient_config());
    for (protocol, config) in [(Protocol::Meta, negotiated), (Protocol::Text, text)] {
        let server = servers.start(Server::builder().profile(Profile::ElastiCacheServerless)).await;
        let client = Client::with_config([server.address()], servers.trusted_by(config)).expect("an address");
        let version = client.servers()[0].version().await.expect("the version");
        let version = ServerVersion::parse(&version);
        for case in cases() {
            let is_expressible =
                case.protocols.contains(&protocol) && case.since.is_none_or(|feature| version.has(feature));
            if !is_expressible {
                failures.extend(check_refused(&case, &client).await.err().map(|what| (protocol, case.name, what)));
                continue;
            }
            let reason = UNSUPPORTED.iter().find(|(name, _)| *name == case.name).map(|(_, reason)| *reason);
            match (run(&case, &client, protocol).await, reason) {
                (Err(what), None) => failures.push((protocol, case.name, what)),
                (Ok(()), Some(reason)) => failures.push((protocol, case.name, format!("passes, although {reason}"))),
                _ => {}
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn every_unsupported_case_exists() {
    let cases = cases();
    for (name, _) in UNSUPPORTED {
        assert!(cases.iter().any(|case| case.name == *name), "{name}");
    }
}
