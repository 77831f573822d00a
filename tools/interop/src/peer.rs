//! The table of clients: how each is installed, built and run, and which of its placements are compared.

use std::fmt;

use remcache::value::Compression;

use crate::program::HASH_TAG;

/// A client that remcache is compared with.
#[derive(Debug)]
pub struct Peer {
    /// The name for `--only`.
    pub name: &'static str,
    /// How its program in `clients/` is built and run.
    pub source: Source,
    /// Its packages in Debian and Ubuntu.
    pub packages: &'static [&'static str],
    /// Its placements of keys.
    pub setups: &'static [Setup],
    /// Its encodings of values; empty if it leaves the flags to its user.
    pub values: &'static [Writing],
}

/// The source of a program, which determines how it is built and run.
#[derive(Debug)]
pub enum Source {
    /// An interpreter and a script.
    Script(&'static str, &'static str),
    /// A Python script, with a package and its version in a virtual environment.
    PyPi(&'static str, &'static str, &'static str),
    /// A Node.js script, with a package and its version.
    Npm(&'static str, &'static str, &'static str),
    /// A C program and a library.
    C(&'static str, &'static str),
    /// A Go program, with Debian's packages.
    Go(&'static str),
    /// A Java program, with a library archive.
    Java(&'static str, &'static str),
    /// The client cannot be run, for this reason.
    Absent(&'static str),
}

/// A placement of keys.
#[derive(Debug)]
pub struct Setup {
    /// The name of remcache's distribution, which the program gets too.
    pub profile: &'static str,
    /// Further options for the program.
    pub options: &'static str,
    /// Whether the servers have random weights.
    pub weights: bool,
    /// Whether each list uses another of the supported hash functions.
    pub hashes: bool,
    /// Whether servers may have host names. Some clients resolve them before they route a key.
    pub names: bool,
    /// The keys that it supports.
    pub keys: Keys,
}

/// An encoding of values.
#[derive(Debug)]
pub struct Writing {
    /// Options for the program.
    pub options: &'static str,
    /// The name of remcache's encoding for this client.
    pub format: &'static str,
    /// The compression that the client reads; remcache may support others in the same encoding.
    pub reads: Option<Compression>,
}

/// The bytes that a client supports in a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// All bytes.
    Any,
    /// All bytes except line ends.
    Line,
    /// All bytes except spaces and control characters.
    Visible,
    /// Like `Visible`, with matching and unmatched braces in most keys.
    Tagged,
    /// Text in UTF-8 without spaces and control characters.
    Text,
    /// Like `Text`, without dollar signs: node-memcached replaces `$&` and similar sequences.
    Dollarless,
    /// Text in ASCII without spaces and control characters.
    Ascii,
    /// Like `Ascii`, of at most 186 bytes: meta-memcache hashes longer keys.
    Short,
}

impl Peer {
    /// Returns the command line that installs the client, or the reason why it cannot be installed.
    #[must_use]
    pub fn needs(&self) -> String {
        match self.source {
            Source::Absent(reason) => reason.to_owned(),
            Source::PyPi(package, version, _) => {
                format!("apt-get install -y {}; pip install {package}=={version}", self.packages.join(" "))
            }
            Source::Npm(package, version, _) => {
                format!("apt-get install -y {}; npm install {package}@{version}", self.packages.join(" "))
            }
            _ => format!("apt-get install -y {}", self.packages.join(" ")),
        }
    }
}

impl Setup {
    const fn new(profile: &'static str, keys: Keys) -> Self {
        Self { profile, options: "", weights: false, hashes: false, names: true, keys }
    }

    const fn weighted(self) -> Self {
        Self { weights: true, ..self }
    }

    const fn numbered(self) -> Self {
        Self { names: false, ..self }
    }

    const fn every_hash(self) -> Self {
        Self { hashes: true, ..self }
    }

    const fn with(self, options: &'static str) -> Self {
        Self { options, ..self }
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.profile)?;
        let hashes = if self.hashes { "every hash" } else { "" };
        let details: Vec<&str> = [self.options, hashes].into_iter().filter(|it| !it.is_empty()).collect();
        match details.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", details.join(",")),
        }
    }
}

/// Returns the client with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Peer> {
    PEERS.iter().find(|peer| peer.name == name)
}

use Compression::{Gzip, Zlib};
use Keys::{Any, Ascii, Dollarless, Line, Short, Tagged, Text, Visible};

/// All clients.
pub const PEERS: &[Peer] = &[
    Peer {
        name: "libmemcached",
        source: Source::C("libmemcached/client.c", "-lmemcached"),
        packages: &["libmemcached-dev"],
        setups: &[
            Setup::new("libmemcached", Any).with("binary"),
            Setup::new("libmemcached", Visible),
            Setup::new("libmemcached", Any).with("binary").every_hash(),
            Setup::new("libmemcached-ketama", Any).with("binary").every_hash(),
            Setup::new("libmemcached-ketama", Any).with("binary"),
            Setup::new("libmemcached-ketama", Any).with("binary,weights").weighted(),
            Setup::new("libmemcached-ketama-weighted", Any).with("binary"),
            Setup::new("libmemcached-ketama-weighted", Any).with("binary,weights").weighted(),
            Setup::new("libmemcached-spy", Any).with("binary"),
            Setup::new("libmemcached-spy-weighted", Any).with("binary,weights").weighted(),
        ],
        values: &[],
    },
    Peer {
        name: "pylibmc",
        source: Source::Script("/usr/bin/python3", "pylibmc/client.py"),
        packages: &["python3-pylibmc"],
        setups: &[
            Setup::new("pylibmc", Visible),
            Setup::new("pylibmc", Any).with("binary"),
            Setup::new("pylibmc-ketama", Any).with("binary"),
            Setup::new("pylibmc-ketama-weighted", Any).with("binary").weighted(),
        ],
        values: &[wrote_and_read("pylibmc", "", Zlib), wrote_and_read("pylibmc", "min_compress_len=100", Zlib)],
    },
    Peer {
        name: "php-memcached",
        source: Source::Script("php", "php-memcached/client.php"),
        packages: &["php-cli", "php-memcached"],
        setups: &[
            Setup::new("php-memcached", Ascii),
            Setup::new("php-memcached", Line).with("binary"),
            Setup::new("php-memcached-consistent", Line).with("binary"),
            Setup::new("php-memcached-ketama", Line).with("binary").weighted(),
        ],
        values: &[
            wrote_and_read("php-memcached", "", Zlib),
            wrote_and_read("php-memcached", "compression=zlib", Zlib),
            wrote_and_read("php-memcached", "compression=off", Zlib),
            wrote_and_read("php-memcached", "serializer=igbinary", Zlib),
            wrote_and_read("php-memcached", "serializer=json", Zlib),
            wrote_and_read("php-memcached", "serializer=msgpack", Zlib),
        ],
    },
    Peer {
        name: "dalli",
        source: Source::Script("ruby", "dalli/client.rb"),
        packages: &["ruby", "ruby-dalli"],
        setups: &[Setup::new("dalli", Text).weighted()],
        values: &[
            wrote_and_read("dalli", "", Zlib),
            wrote_and_read("dalli", "compress=off", Zlib),
            wrote("dalli", "compressor=gzip"),
            wrote_and_read("dalli", "raw", Zlib),
        ],
    },
    Peer {
        name: "nutcracker",
        source: Source::Script("python3", "nutcracker/client.py"),
        packages: &["nutcracker"],
        setups: &[
            Setup::new("twemproxy", Visible).weighted(),
            Setup::new("twemproxy", Visible).weighted().every_hash(),
            Setup::new("twemproxy", Tagged).with(HASH_TAG),
            Setup::new("twemproxy-modula", Visible).weighted(),
            Setup::new("twemproxy-modula", Visible).every_hash(),
        ],
        values: &[],
    },
    Peer {
        name: "pymemcache",
        source: Source::PyPi("pymemcache", "4.0.0", "pymemcache/client.py"),
        packages: &["python3-venv"],
        setups: &[Setup::new("pymemcache", Text), Setup::new("pymemcache-bytes", Visible)],
        values: &[
            wrote("gomemcache", "serde=none"),
            wrote("pymemcache", "serde=pickle"),
            wrote_and_read("pymemcache", "serde=compressed", Zlib),
        ],
    },
    Peer {
        name: "python-memcached",
        source: Source::PyPi("python-memcached", "1.62", "python-memcached/client.py"),
        packages: &["python3-venv"],
        setups: &[Setup::new("python-memcached", Text).weighted()],
        values: &[
            wrote_and_read("python-memcached", "", Zlib),
            wrote_and_read("python-memcached", "min_compress_len=100", Zlib),
        ],
    },
    Peer {
        name: "python-memcached-1.59",
        source: Source::PyPi("python-memcached", "1.59", "python-memcached/client.py"),
        packages: &["python3-venv"],
        setups: &[Setup::new("python-memcached-1.59", Text).weighted()],
        values: &[
            wrote_and_read("python-memcached", "", Zlib),
            wrote_and_read("python-memcached", "min_compress_len=100", Zlib),
        ],
    },
    Peer {
        name: "meta-memcache",
        source: Source::PyPi("meta-memcache", "4.3.0", "meta-memcache/client.py"),
        packages: &["python3-venv"],
        setups: &[Setup::new("meta-memcache", Short)],
        values: &[wrote_and_read("meta-memcache", "", Zlib)],
    },
    Peer {
        name: "memjs",
        source: Source::Npm("memjs", "1.3.2", "memjs/client.js"),
        packages: &["nodejs", "npm"],
        setups: &[Setup::new("memjs", Text).with("binary")],
        values: &[],
    },
    Peer {
        name: "node-memcached",
        source: Source::Npm("memcached", "2.2.2", "node-memcached/client.js"),
        packages: &["nodejs", "npm"],
        setups: &[Setup::new("node-memcached", Dollarless).weighted()],
        values: &[],
    },
    Peer {
        name: "gomemcache",
        source: Source::Go("gomemcache/main.go"),
        packages: &["golang-go", "golang-github-bradfitz-gomemcache-dev"],
        setups: &[Setup::new("gomemcache", Ascii).numbered()],
        values: &[],
    },
    Peer {
        name: "spymemcached",
        source: Source::Java("spymemcached/Program.java", "/usr/share/java/spymemcached.jar"),
        packages: &["default-jdk-headless", "libspymemcached-java"],
        setups: &[
            Setup::new("spymemcached", Text).numbered(),
            Setup::new("spymemcached", Text).numbered().every_hash(),
            Setup::new("spymemcached-ketama", Text).numbered(),
            Setup::new("spymemcached-ketama-weighted", Text).numbered().weighted(),
            Setup::new("spymemcached-ketama-libmemcached", Text).numbered(),
        ],
        values: &[wrote_and_read("spymemcached", "", Gzip), wrote_and_read("whalin", "transcoder=whalin", Gzip)],
    },
    absent("xmemcached", MAVEN),
    absent("elasticache", MAVEN),
    absent("evcache", MAVEN),
    absent("folsom", MAVEN),
    absent("mcrouter", "not in Debian or Ubuntu; its build needs folly, fizz, wangle and fbthrift"),
    absent("enyim", "needs .NET, which is not in Debian"),
];

const fn absent(name: &'static str, reason: &'static str) -> Peer {
    Peer { name, source: Source::Absent(reason), packages: &[], setups: &[], values: &[] }
}

const fn wrote(format: &'static str, options: &'static str) -> Writing {
    Writing { options, format, reads: None }
}

const fn wrote_and_read(format: &'static str, options: &'static str, compression: Compression) -> Writing {
    Writing { options, format, reads: Some(compression) }
}

const MAVEN: &str = "not in Debian, only in Maven Central";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn client_names_are_unique() {
        let names: HashSet<_> = PEERS.iter().map(|peer| peer.name).collect();
        assert_eq!(names.len(), PEERS.len());
    }

    #[test]
    fn every_format_exists() {
        for writing in PEERS.iter().flat_map(|peer| peer.values) {
            assert!(writing.format.parse::<remcache::value::ClientFormat>().is_ok(), "{}", writing.format);
        }
    }

    #[test]
    fn every_profile_is_a_distribution() {
        for setup in PEERS.iter().flat_map(|peer| peer.setups) {
            let parsed = setup.profile.parse::<remcache::distribution::Distribution>();
            assert!(parsed.is_ok(), "{}: {}", setup.profile, parsed.unwrap_err());
        }
    }
}
