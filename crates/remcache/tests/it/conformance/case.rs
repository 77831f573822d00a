//! A case of the conformance suite: requests, their expected replies, and the protocols that support them.

use bytes::Bytes;
use remcache::proto::{Feature, ItemInfo, Protocol, Reply, Request, Status};

/// A test case: steps that are executed in order, on keys that no other case uses.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The protocols that support the case: on the others the last step is refused before it is sent.
    pub(crate) protocols: &'static [Protocol],
    /// The server feature that the case needs; without it the last step is refused.
    pub(crate) since: Option<Feature>,
    pub(crate) steps: fn() -> Vec<Step>,
}

/// A request and its expected reply.
pub(crate) struct Step {
    request: StepRequest,
    status: Status,
    checks: Vec<Check>,
}

enum StepRequest {
    Plain(Request<'static>),
    /// With the CAS value of the last reply.
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
    /// At least this number of replies with a key.
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
    Step { request: StepRequest::Plain(request), status, checks: Vec::new() }
}

/// Returns a step whose request succeeds.
pub(crate) fn done(request: Request<'static>) -> Step {
    step(request, Status::NoError)
}

/// Returns a step whose request does not find the key.
pub(crate) fn absent(request: Request<'static>) -> Step {
    step(request, Status::KeyNotFound)
}

/// Returns a step whose request has the CAS value of the last reply.
pub(crate) fn with_cas(request: fn(u64) -> Request<'static>, status: Status) -> Step {
    Step { request: StepRequest::WithCas(request), status, checks: Vec::new() }
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

    pub(crate) fn returns_cas_on(self, protocols: &'static [Protocol]) -> Self {
        self.and(Check::Cas(protocols))
    }

    pub(crate) fn info(self, is_expected: fn(&ItemInfo) -> bool) -> Self {
        self.and(Check::Info(is_expected))
    }

    pub(crate) fn no_info(self) -> Self {
        self.and(Check::NoInfo)
    }

    pub(crate) fn listed(self, at_least: usize) -> Self {
        self.and(Check::Listed(at_least))
    }

    pub(crate) fn request(&self, last_cas: u64) -> Request<'static> {
        match &self.request {
            StepRequest::Plain(request) => request.clone(),
            StepRequest::WithCas(request) => request(last_cas),
        }
    }

    /// Checks the replies; the error describes the difference.
    pub(crate) fn check(&self, replies: &[Reply], protocol: Protocol) -> Result<(), String> {
        let last = replies.last().ok_or("no reply")?;
        if last.status != self.status {
            return Err(format!("{:?} instead of {:?}: {}", last.status, self.status, last.text()));
        }
        let wrong = self.checks.iter().find(|check| !check.is_satisfied_by(replies, last, protocol));
        wrong.map_or(Ok(()), |wrong| Err(format!("{} is not as expected: {last:?}", wrong.name())))
    }
}

impl Check {
    fn is_satisfied_by(&self, replies: &[Reply], last: &Reply, protocol: Protocol) -> bool {
        match self {
            Self::Value(value) => last.value == value,
            Self::Number(number) => last.number == Some(*number),
            Self::Key(key) => last.key == key,
            Self::Flags(flags) => last.flags == *flags,
            Self::Cas(protocols) => (last.cas != 0) == protocols.contains(&protocol),
            Self::Info(is_expected) => last.info.as_deref().is_some_and(is_expected),
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
            Self::Cas(_) => "the CAS value",
            Self::Info(_) | Self::NoInfo => "the metadata",
            Self::Listed(_) => "the number of listed keys",
        }
    }
}
