//! A case of the conformance suite: what is asked, what must be answered, and on which protocols it can be said.

use bytes::Bytes;
use remcache::proto::{Feature, ItemInfo, Protocol, Reply, Request, Status};

/// A case: steps that see what the earlier ones did, on keys that no other case has.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The protocols that can say it: on the others the last step is refused before it is sent.
    pub(crate) protocols: &'static [Protocol],
    /// What a server must know for it; where it does not, the last step is refused.
    pub(crate) since: Option<Feature>,
    pub(crate) steps: fn() -> Vec<Step>,
}

/// A request and what must be answered.
pub(crate) struct Step {
    asked: Asked,
    status: Status,
    checks: Vec<Check>,
}

enum Asked {
    Plain(Request<'static>),
    /// With the CAS value returned last.
    WithCas(fn(u64) -> Request<'static>),
}

enum Check {
    Value(Bytes),
    Number(u64),
    Key(Bytes),
    Flags(u32),
    /// Only these protocols return a CAS value.
    Cas(&'static [Protocol]),
    Info(fn(&ItemInfo) -> bool),
    NoInfo,
    /// At least this many replies, each with a key.
    Listed(usize),
}

pub(crate) fn case(name: &'static str, protocols: &'static [Protocol], steps: fn() -> Vec<Step>) -> Case {
    Case { name, protocols, since: None, steps }
}

impl Case {
    pub(crate) fn since(self, feature: Feature) -> Self {
        Self { since: Some(feature), ..self }
    }
}

pub(crate) fn step(request: Request<'static>, status: Status) -> Step {
    Step { asked: Asked::Plain(request), status, checks: Vec::new() }
}

/// A request that succeeds.
pub(crate) fn done(request: Request<'static>) -> Step {
    step(request, Status::NoError)
}

/// A request that finds nothing.
pub(crate) fn absent(request: Request<'static>) -> Step {
    step(request, Status::KeyNotFound)
}

/// A request with the CAS value returned last.
pub(crate) fn with_cas(request: fn(u64) -> Request<'static>, status: Status) -> Step {
    Step { asked: Asked::WithCas(request), status, checks: Vec::new() }
}

impl Step {
    fn and(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    pub(crate) fn value(self, value: impl Into<Bytes>) -> Self {
        self.and(Check::Value(value.into()))
    }

    pub(crate) fn number(self, number: u64) -> Self {
        self.and(Check::Number(number))
    }

    pub(crate) fn key(self, key: impl Into<Bytes>) -> Self {
        self.and(Check::Key(key.into()))
    }

    pub(crate) fn flags(self, flags: u32) -> Self {
        self.and(Check::Flags(flags))
    }

    pub(crate) fn tells_cas_on(self, protocols: &'static [Protocol]) -> Self {
        self.and(Check::Cas(protocols))
    }

    pub(crate) fn info(self, fits: fn(&ItemInfo) -> bool) -> Self {
        self.and(Check::Info(fits))
    }

    pub(crate) fn no_info(self) -> Self {
        self.and(Check::NoInfo)
    }

    pub(crate) fn listed(self, at_least: usize) -> Self {
        self.and(Check::Listed(at_least))
    }

    pub(crate) fn request(&self, last_cas: u64) -> Request<'static> {
        match &self.asked {
            Asked::Plain(request) => request.clone(),
            Asked::WithCas(request) => request(last_cas),
        }
    }

    /// What is wrong with the answer, if anything is.
    pub(crate) fn judge(&self, replies: &[Reply], protocol: Protocol) -> Result<(), String> {
        let last = replies.last().ok_or("no reply")?;
        if last.status != self.status {
            return Err(format!("{:?} instead of {:?}: {}", last.status, self.status, last.text()));
        }
        let wrong = self.checks.iter().find(|check| !check.holds(replies, last, protocol));
        wrong.map_or(Ok(()), |wrong| Err(format!("{} does not hold: {last:?}", wrong.name())))
    }
}

impl Check {
    fn holds(&self, replies: &[Reply], last: &Reply, protocol: Protocol) -> bool {
        match self {
            Self::Value(value) => last.value == value,
            Self::Number(number) => last.number == Some(*number),
            Self::Key(key) => last.key == key,
            Self::Flags(flags) => last.flags == *flags,
            Self::Cas(protocols) => (last.cas != 0) == protocols.contains(&protocol),
            Self::Info(fits) => last.info.as_deref().is_some_and(fits),
            Self::NoInfo => last.info.is_none(),
            Self::Listed(at_least) => {
                replies.iter().filter(|reply| reply.is_ok() && !reply.key.is_empty()).count() >= *at_least
            }
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Value(_) => "the value",
            Self::Number(_) => "the number",
            Self::Key(_) => "the key",
            Self::Flags(_) => "the flags",
            Self::Cas(_) => "which protocols return the CAS value",
            Self::Info(_) | Self::NoInfo => "further metadata",
            Self::Listed(_) => "the list",
        }
    }
}
