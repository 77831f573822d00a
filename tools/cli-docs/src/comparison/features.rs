//! The compared features: each cell is a shell command that exits with 0 if the tool supports the feature.

use super::Tool::{self, Exporter, Libmemcached, Mc, Mtop, Remcache, Script};

/// A feature.
pub(crate) struct Feature {
    pub(crate) title: &'static str,
    pub(crate) servers: CheckServers,
    /// The tools that have a command for it.
    pub(crate) cells: &'static [Cell],
}

/// The check of one tool.
pub(crate) struct Cell {
    pub(crate) tool: Tool,
    /// The program, if the tool is a collection of programs.
    pub(crate) program: &'static str,
    /// A script for `sh`: exit code 0 is yes, 1 is no, and others are failed checks.
    pub(crate) script: &'static str,
}

/// The servers of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckServers {
    /// Two empty servers, and an address without a server.
    Empty,
    /// Like `Empty`, with 200,001 keys on the first server.
    Many,
    /// A server with SASL authentication.
    Sasl,
    /// A server with TLS.
    Tls,
    /// A server on a Unix socket.
    Socket,
}

const fn cell(tool: Tool, script: &'static str) -> Cell {
    Cell { tool, program: "", script }
}

const fn lib(program: &'static str, script: &'static str) -> Cell {
    Cell { tool: Libmemcached, program, script }
}

/// Every feature, in the order of the rows.
pub(crate) const FEATURES: &[Feature] = &[
    Feature {
        title: "binary values are printed unchanged",
        servers: CheckServers::Empty,
        cells: &[
            cell(Remcache, r#"printf 'a\0\377' > in; remcache set k @in && remcache get k | cmp - in"#),
            lib("memccat", r#"printf 'a\0\377' > in; remcache set k @in; memccat --servers=$LIVE k | cmp - in"#),
            cell(Mc, r#"printf 'a\0\377' > in; remcache set k @in; mc --host $LIVE get k | cmp - in"#),
        ],
    },
    Feature {
        title: "values are read from standard input",
        servers: CheckServers::Empty,
        cells: &[
            cell(Remcache, "printf v | remcache set k - && test \"$(remcache get k)\" = v"),
            lib(
                "memccp",
                "printf v | memccp --servers=$LIVE -; remcache keys -f ndjson | grep -q . && test \"$(remcache get -)\" = v",
            ),
            cell(Mc, "printf v | mc --host $LIVE set k 60; test \"$(remcache get k)\" = v"),
        ],
    },
    Feature {
        title: "the exit code shows a miss",
        servers: CheckServers::Empty,
        cells: &[
            cell(Remcache, "remcache get absent; test $? -eq 1"),
            lib("memccat", "! memccat --servers=$LIVE absent"),
            cell(Mc, "! mc --host $LIVE get absent"),
        ],
    },
    Feature {
        title: "increments print the new number",
        servers: CheckServers::Empty,
        cells: &[
            cell(Remcache, "remcache set n 41 && test \"$(remcache incr n)\" = 42"),
            cell(Mc, "remcache set n 41; mc --host $LIVE incr n 1 | grep -q 42"),
        ],
    },
    Feature {
        title: "the flags of an item are printed",
        servers: CheckServers::Empty,
        cells: &[
            cell(Remcache, "remcache set k v --flags 77; remcache get k --meta -f json | grep -q 77"),
            lib("memccat", "remcache set k v --flags 77; memccat --servers=$LIVE --flags k | grep -q 77"),
            cell(Script, "remcache set k v --flags 77; memcached-tool $LIVE dump | grep -q '^add k 77 '"),
        ],
    },
    Feature {
        title: "the expiry of an item is printed",
        servers: CheckServers::Empty,
        cells: &[
            cell(Remcache, "remcache set k v --ttl 1h; remcache keys -f ndjson | grep -q '\"expires\"'"),
            cell(Script, "remcache set k v --ttl 1h; memcached-tool $LIVE dump | grep -Eq '^add k 0 [0-9]{10} '"),
            cell(Mc, "remcache set k v --ttl 1h; mc --host $LIVE keys --details | grep -Eq '[0-9]{10}'"),
        ],
    },
    Feature {
        title: "all of 200,001 keys are listed, five times after they were stored",
        servers: CheckServers::Many,
        cells: &[
            cell(Remcache, "for i in 1 2 3 4 5; do test $(remcache keys -f ndjson | wc -l) -eq 200001 || exit 1; done"),
            lib(
                "memcdump",
                "for i in 1 2 3 4 5; do test $(memcdump --servers=$LIVE | wc -l) -eq 200001 || exit 1; done",
            ),
            cell(
                Script,
                "for i in 1 2 3 4 5; do test $(memcached-tool $LIVE keys | grep -c key-) -eq 200001 || exit 1; done",
            ),
            cell(Mc, "for i in 1 2 3 4 5; do test $(mc --host $LIVE keys | wc -l) -eq 200001 || exit 1; done"),
        ],
    },
    Feature {
        title: "listed keys are not encoded (`a%b`)",
        servers: CheckServers::Empty,
        cells: &[
            cell(Remcache, "remcache set a%b v; remcache keys -f ndjson | grep -q 'a%b'"),
            lib("memcdump", "remcache set a%b v; memcdump --servers=$LIVE | grep -q 'a%b'"),
            cell(Script, "remcache set a%b v; memcached-tool $LIVE keys | grep -q 'a%b'"),
            cell(Mc, "remcache set a%b v; mc --host $LIVE keys | grep -q 'a%b'"),
        ],
    },
    Feature {
        title: "statistics of the other servers if one is down",
        servers: CheckServers::Empty,
        cells: &[
            cell(
                Remcache,
                "remcache -s $LIST stats > out; test $? -eq 3 && grep -q $LIVE out && grep -q $OTHER out && grep -q DOWN out",
            ),
            lib("memcstat", "memcstat --servers=$LIST > out; grep -q curr_items out"),
        ],
    },
    Feature {
        title: "the exit code shows that one of several servers is down",
        servers: CheckServers::Empty,
        cells: &[
            cell(Remcache, "remcache -s $LIST ping -n 2; test $? -eq 3"),
            lib("memcping", "! memcping --servers=$LIST"),
        ],
    },
    Feature {
        title: "connect and response times are measured",
        servers: CheckServers::Empty,
        cells: &[
            cell(Remcache, "remcache ping -n 5 | grep -q P50"),
            lib("memcping", "memcping --servers=$LIVE --verbose 2>&1 | grep -Eq '[0-9]+(ms|us|µs)'"),
            cell(Mc, "mc --host $LIVE check --time 1s 2>&1 | grep -q 'connection.*get'"),
        ],
    },
    Feature {
        title: "removing all items needs a confirmation",
        servers: CheckServers::Empty,
        cells: &[
            cell(Remcache, "remcache set k v; remcache flush < /dev/null; remcache exists k"),
            lib("memcflush", "remcache set k v; memcflush --servers=$LIVE < /dev/null; remcache exists k"),
            cell(Mc, "remcache set k v; mc --host $LIVE flush-all < /dev/null; remcache exists k"),
        ],
    },
    Feature {
        title: "no colour codes in a pipe",
        servers: CheckServers::Empty,
        cells: &[
            cell(
                Remcache,
                "remcache -s $LIST stats > out 2>&1; remcache get absent >> out 2>&1; ! grep -q \"$(printf '\\033')\" out",
            ),
            lib("memccat", "memccat --servers=$LIST absent > out 2>&1; ! grep -q \"$(printf '\\033')\" out"),
            cell(Script, "memcached-tool $LIVE > out 2>&1; ! grep -q \"$(printf '\\033')\" out"),
            cell(
                Mc,
                "mc --host $LIVE get absent > out 2>&1; mc --host $DEAD get k >> out 2>&1; ! grep -q \"$(printf '\\033')\" out",
            ),
        ],
    },
    Feature {
        title: "output as JSON",
        servers: CheckServers::Empty,
        cells: &[cell(Remcache, "remcache stats -f json | python3 -m json.tool > /dev/null")],
    },
    Feature {
        title: "the server of a key, with other clients' placement",
        servers: CheckServers::Empty,
        cells: &[cell(Remcache, "remcache -s a,b,c locate k --like dalli | grep -q 11211")],
    },
    Feature {
        title: "the keys that move if the list of servers changes",
        servers: CheckServers::Empty,
        cells: &[cell(Remcache, "remcache -s a,b,c ring balance --remove c --sample 10k | grep -q 'keys move'")],
    },
    Feature {
        title: "items are dumped and restored with flags",
        servers: CheckServers::Empty,
        cells: &[
            cell(
                Remcache,
                "remcache set k v --flags 7; remcache dump out && remcache flush --yes && remcache load out && remcache get k --meta -f json | grep -q 7",
            ),
            cell(
                Script,
                "remcache set k v --flags 7 --ttl 1h; memcached-tool $LIVE dump 2> /dev/null > out; grep -q '^add k 7 ' out",
            ),
        ],
    },
    Feature {
        title: "items are copied between servers without overwriting newer ones",
        servers: CheckServers::Empty,
        cells: &[cell(
            Remcache,
            "for k in a b c; do remcache set $k old --ttl 1h; done; remcache -s $OTHER set b new; remcache copy --from $LIVE --to $OTHER; test \"$(remcache -s $OTHER get a)$(remcache -s $OTHER get b)\" = oldnew",
        )],
    },
    Feature {
        title: "keys that match a pattern are counted and removed",
        servers: CheckServers::Empty,
        cells: &[cell(
            Remcache,
            "remcache set user:1 v; remcache set other v; remcache delete-matching 'user:*' --dry-run && remcache exists user:1 && remcache delete-matching 'user:*' --yes && remcache exists other && ! remcache exists user:1",
        )],
    },
    Feature {
        title: "keys, bytes and ages are summed by prefix",
        servers: CheckServers::Empty,
        cells: &[cell(Remcache, "remcache set user:1 v; remcache keys --tree : | grep -q 'user:'")],
    },
    Feature {
        title: "a load of gets with latencies up to p99.99",
        servers: CheckServers::Empty,
        cells: &[
            cell(Remcache, "remcache bench --time 1s --keys 1k | grep -q p99.99"),
            lib(
                "memcslap",
                "memcslap --servers=$LIVE --concurrency=4 --execute-number=100 2>&1 | grep -Eqi 'p99|percentile'",
            ),
            lib("memcaslap", "memcaslap -s $LIVE -T 1 -c 16 -t 2s -w 1k -S 1s 2>&1 | grep -Eqi 'p99|percentile'"),
            cell(Mc, "mc --host $LIVE bench --time 2s 2>&1 | grep -Eqi 'p99|percentile'"),
        ],
    },
    Feature {
        title: "a load at a given rate",
        servers: CheckServers::Empty,
        cells: &[
            cell(
                Remcache,
                "remcache bench --time 2s --keys 1k --rate 2k -f json | grep -Eq '\"reached_per_second\":(1[89]|20)[0-9][0-9]'",
            ),
            lib(
                "memcaslap",
                "memcaslap -s $LIVE -T 1 -c 16 -t 4s -w 1k -P 2k 2>&1 | grep -Eq 'TPS: (1[6-9]|2[0-4])[0-9][0-9] '",
            ),
            cell(Mc, "mc --host $LIVE bench --time 2s 2>&1 | grep -Eq 'gets=(19|2[01])000 '"),
        ],
    },
    Feature {
        title: "latencies include the waiting time during a server stall",
        servers: CheckServers::Empty,
        cells: &[cell(
            Remcache,
            "remcache bench --time 4s --keys 10 --rate 500 --timeout 30s -f json > out & sleep 2; kill -STOP $PID; sleep 1; kill -CONT $PID; wait; grep -Eq '\"p99\":[0-9]{6}' out",
        )],
    },
    Feature {
        title: "a live screen of several servers",
        servers: CheckServers::Empty,
        cells: &[
            cell(Remcache, "screen \"remcache -s $LIVE,$OTHER top\" q; grep -q 2/2 out"),
            cell(Mtop, "screen \"mtop $LIVE $OTHER\" q; grep -aqi memory out"),
        ],
    },
    Feature {
        title: "the live screen starts if a server is down",
        servers: CheckServers::Empty,
        cells: &[
            cell(Remcache, "screen \"remcache -s $LIST top\" q; grep -q 2/3 out"),
            cell(Mtop, "screen \"mtop $LIVE $DEAD\" q; grep -aqi memory out || { cat out; false; }"),
        ],
    },
    Feature {
        title: "events of a server",
        servers: CheckServers::Empty,
        cells: &[cell(
            Remcache,
            "remcache watch mutations --for 2s > out & sleep 1; remcache set seen v; wait; grep -q seen out",
        )],
    },
    Feature {
        title: "the most fetched keys",
        servers: CheckServers::Empty,
        cells: &[cell(
            Remcache,
            "remcache set hot v; remcache hotkeys --for 3s > out & sleep 1; for i in 1 2 3; do remcache get hot; done; wait; grep -q hot out",
        )],
    },
    Feature {
        title: "metrics for Prometheus",
        servers: CheckServers::Empty,
        cells: &[
            cell(Remcache, "remcache stats -f prometheus | grep -q '^memcached_up'"),
            cell(
                Exporter,
                "memcached_exporter --memcached.address=$LIVE --web.listen-address=127.0.0.1:$FREE & trap \"kill $!\" EXIT; sleep 1; python3 -c \"import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:$FREE/metrics').read().decode())\" | grep -q '^memcached_up 1'",
            ),
        ],
    },
    Feature {
        title: "thresholds for monitoring plugins",
        servers: CheckServers::Empty,
        cells: &[cell(Remcache, "remcache check -f nagios --fail-if 'uptime<1d'; test $? -eq 2")],
    },
    Feature {
        title: "authentication with user and password",
        servers: CheckServers::Sasl,
        cells: &[
            cell(
                Remcache,
                "printf %s \"$PASSWORD\" > password; remcache --user $LOGIN --password-file password set k v",
            ),
            lib("memccp", "echo v > k; memccp --servers=$LIVE --binary --username=$LOGIN --password=$PASSWORD k"),
        ],
    },
    Feature {
        title: "TLS",
        servers: CheckServers::Tls,
        cells: &[
            cell(Remcache, "remcache --tls --tls-ca $CA set k v"),
            cell(Mc, "printf v | mc --tls-enabled --tls-ca $CA --host $LIVE set k 60"),
            cell(Mtop, "screen \"mtop --tls-enabled --tls-ca $CA $LIVE\" q; grep -aqi memory out"),
        ],
    },
    Feature {
        title: "Unix sockets",
        servers: CheckServers::Socket,
        cells: &[
            cell(Remcache, "remcache set k v"),
            lib("memccp", "echo v > k; memccp --servers=$LIVE k"),
            cell(Script, "memcached-tool $LIVE stats | grep -q pid"),
            cell(Mc, "printf v | mc --host $LIVE set k 60"),
            cell(Mtop, "screen \"mtop $LIVE\" q; grep -aqi memory out"),
        ],
    },
];
