//! Protocol negotiation: finds a protocol that the server supports, on fresh connections.
//!
//! The first bytes select the protocol of a connection, so a wrong probe costs the connection (docs/protocol.md 1.1).
//! A connection that is closed without a reply is weak evidence: a server without the protocol closes it, but so does
//! one that restarts, or a load balancer without a server. A protocol therefore counts as unsupported only after two
//! connections with its probe were closed.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::probe::{self, Negotiated, Probe, ProbeResult};
use super::{no_version_within, open, run_until};
use crate::address::Endpoint;
use crate::config::Config;
use crate::config::credentials::Credentials;
use crate::connection_failure::Failure;
use crate::transport::Stream;

/// The probe that succeeded last on any connection to a server, which the next connection tries first.
///
/// Every connection sends a probe, in the round trip that it needs anyway: if the server was replaced by one without
/// meta commands, it would read the value of a store as commands.
#[derive(Debug, Default)]
pub(crate) struct ProtocolCache(Mutex<Probe>);

impl ProtocolCache {
    fn first(&self) -> Probe {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, probe: Probe) {
        // An assumption is not evidence: the next connection probes again.
        if probe != Probe::AssumeText {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = probe;
        }
    }

    /// Forgets the probe: the server may have been replaced.
    pub(crate) fn forget(&self) {
        self.remember(Probe::default());
    }
}

/// Opens connections until one has a protocol that the server supports, usually the first.
pub(super) async fn negotiate(
    endpoint: &Endpoint,
    config: &Config,
    until: Instant,
    cache: &ProtocolCache,
    credentials: Option<&Credentials>,
) -> Result<(Box<dyn Stream>, Negotiated), Failure> {
    let mut negotiation = Negotiation::starting_with(cache.first());
    // If this negotiation fails, the next one starts from scratch.
    cache.forget();
    loop {
        let mut stream = open(endpoint, config, until).await?;
        let probe = negotiation.probe;
        let hint = || no_version_within(config.transport.connect_timeout);
        let result = run_until(until, probe::run(&mut *stream, probe, credentials), hint).await?;
        if let Some(negotiated) = negotiation.handle(result)? {
            cache.remember(probe);
            return Ok((stream, negotiated));
        }
    }
}

/// The state of a negotiation: the current probe, and the evidence so far.
#[derive(Debug)]
struct Negotiation {
    probe: Probe,
    probes: u32,
    /// The number of text probes that were closed without a reply, or after the version.
    text_closed: u32,
    binary_closed: u32,
}

impl Negotiation {
    fn starting_with(probe: Probe) -> Self {
        Self { probe, probes: 0, text_closed: 0, binary_closed: 0 }
    }

    /// Evaluates the result of the probe; `None` if another probe has to follow, on a new connection.
    fn handle(&mut self, result: ProbeResult) -> Result<Option<Negotiated>, Failure> {
        self.probes = self.probes.saturating_add(1);
        let next = match (self.probe, result) {
            // The server supports text: it was upgraded, or the text probes were closed for another reason.
            (Probe::Binary, ProbeResult::Supported { also_text: true, .. }) if self.text_closed <= CLOSED_FOR_GOOD => {
                Probe::Text
            }
            (_, ProbeResult::Supported { negotiated, .. }) => return Ok(Some(negotiated)),
            (_, ProbeResult::Try(next)) => next,
            (Probe::Text, ProbeResult::Closed) => {
                self.text_closed = self.text_closed.saturating_add(1);
                self.or_assume_text(Probe::Binary)
            }
            (Probe::Text, ProbeResult::ClosedAfterVersion) => {
                self.text_closed = self.text_closed.saturating_add(1);
                if self.text_closed >= CLOSED_FOR_GOOD { Probe::AssumeText } else { Probe::Text }
            }
            (Probe::Binary, ProbeResult::Closed) => {
                self.binary_closed = self.binary_closed.saturating_add(1);
                self.or_assume_text(Probe::Text)
            }
            _ => Probe::Text,
        };
        if self.probes >= MAX_PROBES {
            return Err(Failure::Unreachable("the server's replies differ from one connection to the next".into()));
        }
        self.probe = next;
        Ok(None)
    }

    /// Returns the next probe, unless every kind was closed often enough to assume a proxy that closes connections with
    /// commands that it does not support.
    fn or_assume_text(&self, next: Probe) -> Probe {
        let all_closed = self.text_closed.min(self.binary_closed) >= CLOSED_FOR_GOOD;
        if all_closed { Probe::AssumeText } else { next }
    }
}

/// The number of closed probes after which a server counts as not supporting them.
const CLOSED_FOR_GOOD: u32 = 2;
/// The maximum number of probes in a negotiation, which no consistent server needs.
const MAX_PROBES: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Protocol;

    fn binary(also_text: bool) -> ProbeResult {
        ProbeResult::Supported { negotiated: Negotiated::assumed(Protocol::Binary), also_text }
    }

    /// Returns the probes that a negotiation sends, given these results.
    fn probes(first: Probe, results: &[ProbeResult]) -> Vec<Probe> {
        let mut negotiation = Negotiation::starting_with(first);
        let mut probes = Vec::new();
        for result in results {
            assert!(negotiation.handle(*result).unwrap().is_none(), "the negotiation ended before {result:?}");
            probes.push(negotiation.probe);
        }
        probes
    }

    #[test]
    fn one_closed_connection_decides_nothing() {
        use Probe::{AssumeText, Binary, Text};
        use ProbeResult::{Closed, ClosedAfterVersion};
        assert_eq!(probes(Text, &[Closed, Closed, Closed, Closed]), [Binary, Text, Binary, AssumeText]);
        assert_eq!(probes(Text, &[Closed, binary(true)]), [Binary, Text]);
        assert_eq!(probes(Text, &[Closed, Closed, Closed, binary(true)]), [Binary, Text, Binary, Text]);
        assert_eq!(probes(Text, &[ClosedAfterVersion, ClosedAfterVersion]), [Text, AssumeText]);
        assert_eq!(probes(Binary, &[Closed, Closed, Closed, Closed]), [Text, Binary, Text, AssumeText]);
    }

    #[test]
    fn a_protocol_that_answers_is_used() {
        let mut negotiation = Negotiation::starting_with(Probe::Text);
        assert_eq!(negotiation.handle(ProbeResult::Closed).unwrap(), None);
        assert_eq!(negotiation.handle(binary(false)).unwrap(), Some(Negotiated::assumed(Protocol::Binary)));
        // Something closes every text probe, whatever the server supports.
        let mut negotiation = Negotiation { text_closed: 3, ..Negotiation::starting_with(Probe::Binary) };
        assert!(negotiation.handle(binary(true)).unwrap().is_some());
    }

    #[test]
    fn assumptions_are_not_remembered() {
        let cache = ProtocolCache::default();
        cache.remember(Probe::Binary);
        assert_eq!(cache.first(), Probe::Binary);
        cache.forget();
        cache.remember(Probe::AssumeText);
        assert_eq!(cache.first(), Probe::Text);
    }

    #[test]
    fn inconsistent_replies_end_the_negotiation() {
        let mut negotiation = Negotiation::starting_with(Probe::Text);
        let outcome = (0..100).find_map(|turn| {
            let next = if turn % 2 == 0 { Probe::Password } else { Probe::Text };
            negotiation.handle(ProbeResult::Try(next)).err()
        });
        assert!(matches!(outcome, Some(Failure::Unreachable(_))), "{outcome:?}");
    }
}
