//! The table of scenarios: the operations that the clients are measured with.

/// The kind of a caller's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// One get of one key.
    Get,
    /// One get of several keys.
    GetMany,
    /// One set of one key.
    Set,
}

impl Verb {
    /// Returns the name on a child's command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::GetMany => "get_many",
            Self::Set => "set",
        }
    }

    /// Returns the server's counter of these operations.
    pub(crate) fn server_counter(self) -> &'static str {
        match self {
            Self::Get | Self::GetMany => "get_hits",
            Self::Set => "cmd_set",
        }
    }
}

/// A scenario. An operation is one key: a call for 100 keys counts as 100.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// The name for `--only`, in JSON and in the targets.
    pub(crate) id: &'static str,
    /// The heading of its table.
    pub(crate) title: &'static str,
    pub(crate) verb: Verb,
    /// The number of concurrent callers.
    pub(crate) callers: usize,
    /// The number of keys per call.
    pub(crate) batch: usize,
    /// The number of different keys.
    pub(crate) keys: usize,
    pub(crate) value_len: usize,
    pub(crate) servers: usize,
    /// Whether the connections use TLS.
    pub(crate) tls: bool,
}

impl Scenario {
    /// Returns the scenario with this name.
    pub(crate) fn by_id(id: &str) -> Option<&'static Self> {
        SCENARIOS.iter().chain([&IDLE, &RING]).find(|scenario| scenario.id == id)
    }

    /// Returns the number of keys in flight when every caller waits, which is the depth of the lockstep pipeline.
    pub(crate) fn depth(&self) -> usize {
        self.callers * self.batch
    }
}

/// The values that most scenarios share: gets of 100 bytes from one server.
const GET: Scenario = Scenario {
    id: "",
    title: "",
    verb: Verb::Get,
    callers: 1,
    batch: 1,
    keys: 10_000,
    value_len: 100,
    servers: 1,
    tls: false,
};

/// All timed scenarios, in the order in which they run.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { id: "get-1", title: "gets, 1 caller, 100 B", ..GET },
    Scenario { id: "get-16", title: "gets, 16 callers, 100 B", callers: 16, ..GET },
    Scenario { id: "get-64", title: "gets, 64 callers, 100 B", callers: 64, ..GET },
    Scenario { id: "get-512", title: "gets, 512 callers, 100 B", callers: 512, ..GET },
    Scenario { id: "get-4096", title: "gets, 4,096 callers, 100 B", callers: 4096, ..GET },
    Scenario { id: "get-10000", title: "gets, 10,000 callers, 100 B", callers: 10_000, ..GET },
    Scenario { id: "many-100", title: "get_many of 100 keys, 1 caller, 100 B", verb: Verb::GetMany, batch: 100, ..GET },
    Scenario { id: "set-64", title: "sets, 64 callers, 100 B", verb: Verb::Set, callers: 64, ..GET },
    Scenario { id: "get-10k", title: "gets, 64 callers, 10 kB", callers: 64, value_len: 10_000, ..GET },
    Scenario { id: "get-1m-1", title: "gets, 1 caller, 1 MB", keys: 100, value_len: 1_000_000, ..GET },
    Scenario { id: "get-1m-4", title: "gets, 4 callers, 1 MB", callers: 4, keys: 100, value_len: 1_000_000, ..GET },
    Scenario { id: "three-64", title: "gets, 64 callers, 100 B, three servers", callers: 64, servers: 3, ..GET },
    Scenario { id: "ten-64", title: "gets, 64 callers, 100 B, ten servers", callers: 64, servers: 10, ..GET },
    Scenario { id: "tls-64", title: "gets, 64 callers, 100 B, over TLS", callers: 64, tls: true, ..GET },
    Scenario {
        id: "tls-ten-64",
        title: "gets, 64 callers, 100 B, ten servers, over TLS",
        callers: 64,
        servers: 10,
        tls: true,
        ..GET
    },
];

/// The memory of idle connections: one connection per caller, and one get on each. Not timed.
pub(crate) static IDLE: Scenario =
    Scenario { id: "idle-1000", title: "memory of 1,000 idle connections", callers: 1_000, keys: 1_000, ..GET };

/// The CPU time of key placement for every distribution. Runs without servers.
pub(crate) static RING: Scenario = Scenario { id: "ring", title: "placing a key", ..GET };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenario_names_are_unique() {
        let all: Vec<_> = SCENARIOS.iter().chain([&IDLE, &RING]).collect();
        for (index, scenario) in all.iter().enumerate() {
            assert!(!scenario.id.is_empty() && !scenario.title.is_empty(), "scenario {index}");
            let others = &all[index + 1..];
            assert!(others.iter().all(|other| other.id != scenario.id), "{}", scenario.id);
        }
    }

    #[test]
    fn only_a_get_many_has_a_batch() {
        for scenario in SCENARIOS {
            let batched = scenario.batch > 1;
            assert_eq!(batched, scenario.verb == Verb::GetMany, "{}", scenario.id);
        }
    }

    #[test]
    fn no_call_has_more_keys_than_the_scenario() {
        for scenario in SCENARIOS {
            assert!(scenario.depth() <= scenario.keys, "{}", scenario.id);
            assert!(scenario.keys <= 100_000, "{}: a key has five digits", scenario.id);
        }
    }
}
