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
    pub placements: &'static [Placement],
    /// Its encodings of values; empty if it leaves the flags to its user.
    pub encodings: &'static [ValueEncoding],
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
pub struct Placement {
    /// The name of remcache's distribution, which the program gets too.
    pub distribution: &'static str,
    /// Further options for the program.
    pub options: &'static str,
    /// Whether the servers have random weights.
    pub random_weights: bool,
    /// Whether each list uses another of the supported hash functions.
    pub every_hash: bool,
    /// Whether servers may have host names. Some clients resolve them before they route a key.
    pub host_names: bool,
    /// The keys that it supports.
    pub keys: KeyBytes,
}

/// An encoding of values.
#[derive(Debug)]
pub struct ValueEncoding {
    /// Options for the program.
    pub options: &'static str,
    /// The name of remcache's encoding for this client.
    pub format: &'static str,
    /// The compression that the client can read; remcache may support others in the same encoding.
    pub readable_compression: Option<Compression>,
}

/// The bytes that a client supports in a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyBytes {
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

impl Placement {
    const fn new(distribution: &'static str, keys: KeyBytes) -> Self {
        Self { distribution, options: "", random_weights: false, every_hash: false, host_names: true, keys }
    }

    const fn weighted(self) -> Self {
        Self { random_weights: true, ..self }
    }

    const fn addresses_only(self) -> Self {
        Self { host_names: false, ..self }
    }

    const fn every_hash(self) -> Self {
        Self { every_hash: true, ..self }
    }

    const fn with_options(self, options: &'static str) -> Self {
        Self { options, ..self }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.distribution)?;
        let hashes = if self.every_hash { "every hash" } else { "" };
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
use KeyBytes::{Any, Ascii, Dollarless, Line, Short, Tagged, Text, Visible};

/// All clients.
pub const PEERS: &[Peer] = &[
    Peer {
        name: "libmemcached",
        source: Source::C("libmemcached/client.c", "-lmemcached"),
        packages: &["libmemcached-dev"],
        placements: &[
            Placement::new("libmemcached", Any).with_options("binary"),
            Placement::new("libmemcached", Visible),
            Placement::new("libmemcached", Any).with_options("binary").every_hash(),
            Placement::new("libmemcached-ketama", Any).with_options("binary").every_hash(),
            Placement::new("libmemcached-ketama", Any).with_options("binary"),
            Placement::new("libmemcached-ketama", Any).with_options("binary,weights").weighted(),
            Placement::new("libmemcached-ketama-weighted", Any).with_options("binary"),
            Placement::new("libmemcached-ketama-weighted", Any).with_options("binary,weights").weighted(),
            Placement::new("libmemcached-spy", Any).with_options("binary"),
            Placement::new("libmemcached-spy-weighted", Any).with_options("binary,weights").weighted(),
        ],
        encodings: &[],
    },
    Peer {
        name: "pylibmc",
        source: Source::Script("/usr/bin/python3", "pylibmc/client.py"),
        packages: &["python3-pylibmc"],
        placements: &[
            Placement::new("pylibmc", Visible),
            Placement::new("pylibmc", Any).with_options("binary"),
            Placement::new("pylibmc-ketama", Any).with_options("binary"),
            Placement::new("pylibmc-ketama-weighted", Any).with_options("binary").weighted(),
        ],
        encodings: &[written_and_read("pylibmc", "", Zlib), written_and_read("pylibmc", "min_compress_len=100", Zlib)],
    },
    Peer {
        name: "php-memcached",
        source: Source::Script("php", "php-memcached/client.php"),
        packages: &["php-cli", "php-memcached"],
        placements: &[
            Placement::new("php-memcached", Ascii),
            Placement::new("php-memcached", Line).with_options("binary"),
            Placement::new("php-memcached-consistent", Line).with_options("binary"),
            Placement::new("php-memcached-ketama", Line).with_options("binary").weighted(),
        ],
        encodings: &[
            written_and_read("php-memcached", "", Zlib),
            written_and_read("php-memcached", "compression=zlib", Zlib),
            written_and_read("php-memcached", "compression=off", Zlib),
            written_and_read("php-memcached", "serializer=igbinary", Zlib),
            written_and_read("php-memcached", "serializer=json", Zlib),
            written_and_read("php-memcached", "serializer=msgpack", Zlib),
        ],
    },
    Peer {
        name: "dalli",
        source: Source::Script("ruby", "dalli/client.rb"),
        packages: &["ruby", "ruby-dalli"],
        placements: &[Placement::new("dalli", Text).weighted()],
        encodings: &[
            written_and_read("dalli", "", Zlib),
            written_and_read("dalli", "compress=off", Zlib),
            written("dalli", "compressor=gzip"),
            written_and_read("dalli", "raw", Zlib),
        ],
    },
    Peer {
        name: "nutcracker",
        source: Source::Script("python3", "nutcracker/client.py"),
        packages: &["nutcracker"],
        placements: &[
            Placement::new("twemproxy", Visible).weighted(),
            Placement::new("twemproxy", Visible).weighted().every_hash(),
            Placement::new("twemproxy", Tagged).with_options(HASH_TAG),
            Placement::new("twemproxy-modula", Visible).weighted(),
            Placement::new("twemproxy-modula", Visible).every_hash(),
        ],
        encodings: &[],
    },
    Peer {
        name: "pymemcache",
        source: Source::PyPi("pymemcache", "4.0.0", "pymemcache/client.py"),
        packages: &["python3-venv"],
        placements: &[Placement::new("pymemcache", Text), Placement::new("pymemcache-bytes", Visible)],
        encodings: &[
            written("gomemcache", "serde=none"),
            written("pymemcache", "serde=pickle"),
            written_and_read("pymemcache", "serde=compressed", Zlib),
        ],
    },
    Peer {
        name: "python-memcached",
        source: Source::PyPi("python-memcached", "1.62", "python-memcached/client.py"),
        packages: &["python3-venv"],
        placements: &[Placement::new("python-memcached", Text).weighted()],
        encodings: &[
            written_and_read("python-memcached", "", Zlib),
            written_and_read("python-memcached", "min_compress_len=100", Zlib),
        ],
    },
    Peer {
        name: "python-memcached-1.59",
        source: Source::PyPi("python-memcached", "1.59", "python-memcached/client.py"),
        packages: &["python3-venv"],
        placements: &[Placement::new("python-memcached-1.59", Text).weighted()],
        encodings: &[
            written_and_read("python-memcached", "", Zlib),
            written_and_read("python-memcached", "min_compress_len=100", Zlib),
        ],
    },
    Peer {
        name: "meta-memcache",
        source: Source::PyPi("meta-memcache", "4.3.0", "meta-memcache/client.py"),
        packages: &["python3-venv"],
        placements: &[Placement::new("meta-memcache", Short)],
        encodings: &[written_and_read("meta-memcache", "", Zlib)],
    },
    Peer {
        name: "memjs",
        source: Source::Npm("memjs", "1.3.2", "memjs/client.js"),
        packages: &["nodejs", "npm"],
        placements: &[Placement::new("memjs", Text).with_options("binary")],
        encodings: &[],
    },
    Peer {
        name: "node-memcached",
        source: Source::Npm("memcached", "2.2.2", "node-memcached/client.js"),
        packages: &["nodejs", "npm"],
        placements: &[Placement::new("node-memcached", Dollarless).weighted()],
        encodings: &[],
    },
    Peer {
        name: "gomemcache",
        source: Source::Go("gomemcache/main.go"),
        packages: &["golang-go", "golang-github-bradfitz-gomemcache-dev"],
        placements: &[Placement::new("gomemcache", Ascii).addresses_only()],
        encodings: &[],
    },
    Peer {
        name: "spymemcached",
        source: Source::Java("spymemcached/Program.java", "/usr/share/java/spymemcached.jar"),
        packages: &["default-jdk-headless", "libspymemcached-java"],
        placements: &[
            Placement::new("spymemcached", Text).addresses_only(),
            Placement::new("spymemcached", Text).addresses_only().every_hash(),
            Placement::new("spymemcached-ketama", Text).addresses_only(),
            Placement::new("spymemcached-ketama-weighted", Text).addresses_only().weighted(),
            Placement::new("spymemcached-ketama-libmemcached", Text).addresses_only(),
        ],
        encodings: &[written_and_read("spymemcached", "", Gzip), written_and_read("whalin", "transcoder=whalin", Gzip)],
    },
    absent("xmemcached", MAVEN),
    absent("elasticache", MAVEN),
    absent("evcache", MAVEN),
    absent("folsom", MAVEN),
    absent("mcrouter", "not in Debian or Ubuntu; its build needs folly, fizz, wangle and fbthrift"),
    absent("enyim", "needs .NET, which is not in Debian"),
];

const fn absent(name: &'static str, reason: &'static str) -> Peer {
    Peer { name, source: Source::Absent(reason), packages: &[], placements: &[], encodings: &[] }
}

const fn written(format: &'static str, options: &'static str) -> ValueEncoding {
    ValueEncoding { options, format, readable_compression: None }
}

const fn written_and_read(format: &'static str, options: &'static str, compression: Compression) -> ValueEncoding {
    ValueEncoding { options, format, readable_compression: Some(compression) }
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
        for encoding in PEERS.iter().flat_map(|peer| peer.encodings) {
            assert!(encoding.format.parse::<remcache::value::ClientFormat>().is_ok(), "{}", encoding.format);
        }
    }

    #[test]
    fn every_distribution_exists() {
        for placement in PEERS.iter().flat_map(|peer| peer.placements) {
            let parsed = placement.distribution.parse::<remcache::distribution::Distribution>();
            assert!(parsed.is_ok(), "{}: {}", placement.distribution, parsed.unwrap_err());
        }
    }
}
