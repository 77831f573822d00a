//! The programs and libraries that tests and benchmarks need, and how each is installed.

mod install;

use crate::Failure;
use std::path::PathBuf;
use std::process::Stdio;

/// Installs the missing tools of these needs, or fails with the command line that installs them.
pub(crate) fn ensure(needs: &[Need]) -> Result<(), Failure> {
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    for tool in &missing {
        println!("== missing: {} ({})", tool.name, tool.reason);
    }
    install::install(&missing)?;
    let still_missing = self::missing(needs);
    if still_missing.is_empty() {
        return Ok(());
    }
    Err(install::advice(&still_missing))
}

/// Installs those of these Debian packages that are missing.
pub(crate) fn ensure_packages(packages: &[String]) -> Result<(), Failure> {
    let missing: Vec<&str> = packages.iter().map(String::as_str).filter(|it| !install::is_installed(it)).collect();
    if missing.is_empty() { Ok(()) } else { install::install_packages(&missing) }
}

/// Prints every tool, its path and why it is needed.
pub(crate) fn list() {
    for tool in TOOLS {
        let path = tool.path().map_or_else(|| "missing".to_owned(), |path| path.display().to_string());
        println!("{:<28}{path:<60}{}", tool.name, tool.reason);
    }
}

/// The purpose that a tool is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Checks of the source code.
    Checks,
    /// Tests, and everything that is built with them.
    Tests,
    /// Benchmarks.
    Bench,
}

/// A program or a file, and the packages that contain it.
#[derive(Debug)]
pub(crate) struct Tool {
    name: &'static str,
    need: Need,
    reason: &'static str,
    location: Location,
    packages: Packages,
}

impl Tool {
    /// Returns its path, or `None` if it is missing.
    fn path(&self) -> Option<PathBuf> {
        let candidates: Vec<PathBuf> = match self.location {
            Location::Program(name) => program_dirs().map(|dir| dir.join(name)).collect(),
            Location::Module(words) => {
                let works = std::process::Command::new(words[0]).args(&words[1..]).stderr(Stdio::null()).status();
                return works.is_ok_and(|status| status.success()).then(|| PathBuf::from(words[0]));
            }
            Location::File(name, dirs) => dirs
                .iter()
                .map(|dir| dir.replace("{arch}", std::env::consts::ARCH))
                .map(|dir| PathBuf::from(dir).join(name))
                .collect(),
        };
        candidates.into_iter().find(|path| path.is_file())
    }
}

/// Where a tool is searched for.
#[derive(Debug)]
enum Location {
    /// A program in the search path.
    Program(&'static str),
    /// A module of an interpreter, loaded by this command line.
    Module(&'static [&'static str]),
    /// A file in one of these directories.
    File(&'static str, &'static [&'static str]),
}

/// The package names on each system; empty if the tool comes with another package or has none.
#[derive(Debug)]
struct Packages {
    debian: &'static str,
    fedora: &'static str,
    arch: &'static str,
    homebrew: &'static str,
}

fn missing(needs: &[Need]) -> Vec<&'static Tool> {
    TOOLS.iter().filter(|tool| needs.contains(&tool.need) && tool.path().is_none()).collect()
}

/// Returns the search path and Debian's directories for administration programs.
fn program_dirs() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let administration = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    dirs.into_iter().chain(administration)
}

const INCLUDE: &[&str] = &["/usr/include", "/usr/local/include", "/opt/homebrew/include"];
// On other systems the plug-ins come with the library and have other names.
#[cfg(target_os = "linux")]
const SASL_PLUGINS: &[&str] = &["/usr/lib/{arch}-linux-gnu/sasl2", "/usr/lib64/sasl2", "/usr/lib/sasl2"];

// A C compiler is not listed: without it xtask itself could not be built.
const TOOLS: &[Tool] = &[
    Tool {
        name: "cargo fmt",
        need: Need::Checks,
        reason: "checks the format of the source code",
        location: Location::Program("cargo-fmt"),
        packages: RUSTUP,
    },
    Tool {
        name: "cargo clippy",
        need: Need::Checks,
        reason: "checks the lints",
        location: Location::Program("cargo-clippy"),
        packages: RUSTUP,
    },
    Tool {
        name: "memcached",
        need: Need::Tests,
        reason: "the client is tested against the real server",
        location: Location::Program("memcached"),
        packages: Packages { debian: "memcached", fedora: "memcached", arch: "memcached", homebrew: "memcached" },
    },
    Tool {
        name: "redis-server",
        need: Need::Tests,
        reason: "the guide for users of Redis runs both programs",
        location: Location::Program("redis-server"),
        packages: Packages { debian: "redis-server", fedora: "valkey-compat-redis", arch: "valkey", homebrew: "redis" },
    },
    Tool {
        name: "memccapable",
        need: Need::Tests,
        reason: "libmemcached's server test is run against the embedded server",
        location: Location::Program("memccapable"),
        packages: LIBMEMCACHED_TOOLS,
    },
    Tool {
        name: "libmemcached/memcached.h",
        need: Need::Tests,
        reason: "placement and speed are compared with libmemcached",
        location: Location::File("libmemcached/memcached.h", INCLUDE),
        packages: Packages {
            debian: "libmemcached-dev",
            fedora: "libmemcached-awesome-devel",
            arch: "libmemcached",
            homebrew: "libmemcached",
        },
    },
    Tool {
        name: "openssl/ssl.h",
        need: Need::Tests,
        reason: "one of the benchmarked clients uses OpenSSL",
        location: Location::File("openssl/ssl.h", INCLUDE),
        packages: Packages { debian: "libssl-dev", fedora: "openssl-devel", arch: "openssl", homebrew: "openssl@3" },
    },
    Tool {
        name: "pkg-config",
        need: Need::Tests,
        reason: "finds OpenSSL",
        location: Location::Program("pkg-config"),
        packages: Packages { debian: "pkg-config", fedora: "pkgconf", arch: "pkgconf", homebrew: "pkgconf" },
    },
    Tool {
        name: "saslpasswd2",
        need: Need::Tests,
        reason: "creates users for servers with authentication",
        location: Location::Program("saslpasswd2"),
        packages: Packages { debian: "sasl2-bin", fedora: "cyrus-sasl", arch: "cyrus-sasl", homebrew: "cyrus-sasl" },
    },
    #[cfg(target_os = "linux")]
    Tool {
        name: "libplain.so",
        need: Need::Tests,
        reason: "SASL PLAIN authentication in the server",
        location: Location::File("libplain.so", SASL_PLUGINS),
        packages: Packages { debian: "libsasl2-modules", fedora: "cyrus-sasl-plain", arch: "libsasl", homebrew: "" },
    },
    #[cfg(target_os = "linux")]
    Tool {
        name: "libcrammd5.so",
        need: Need::Tests,
        reason: "SASL CRAM-MD5 authentication in the server",
        location: Location::File("libcrammd5.so", SASL_PLUGINS),
        packages: Packages { debian: "libsasl2-modules", fedora: "cyrus-sasl-md5", arch: "libsasl", homebrew: "" },
    },
    #[cfg(target_os = "linux")]
    Tool {
        name: "libsasldb.so",
        need: Need::Tests,
        reason: "the server's user database",
        location: Location::File("libsasldb.so", SASL_PLUGINS),
        packages: Packages { debian: "libsasl2-modules-db", fedora: "cyrus-sasl-lib", arch: "libsasl", homebrew: "" },
    },
    #[cfg(target_os = "linux")]
    Tool {
        name: "pylibmc",
        need: Need::Tests,
        reason: "each of remcache and this client reads what the other stored",
        location: Location::Module(&["/usr/bin/python3", "-c", "import pylibmc"]),
        packages: Packages { debian: "python3-pylibmc", fedora: "python3-pylibmc", arch: "", homebrew: "" },
    },
    #[cfg(target_os = "linux")]
    Tool {
        name: "ruby",
        need: Need::Tests,
        reason: "runs Dalli, whose package does not depend on it",
        location: Location::Program("ruby"),
        packages: Packages { debian: "ruby", fedora: "ruby", arch: "ruby", homebrew: "" },
    },
    #[cfg(target_os = "linux")]
    Tool {
        name: "dalli",
        need: Need::Tests,
        reason: "each of remcache and this client reads what the other stored",
        location: Location::Module(&["ruby", "-e", "require 'dalli'"]),
        packages: Packages { debian: "ruby-dalli", fedora: "rubygem-dalli", arch: "", homebrew: "" },
    },
    #[cfg(target_os = "linux")]
    Tool {
        name: "nutcracker",
        need: Need::Tests,
        reason: "each of remcache and this proxy reads what the other stored",
        location: Location::Program("nutcracker"),
        packages: Packages { debian: "nutcracker", fedora: "", arch: "", homebrew: "" },
    },
    #[cfg(target_os = "linux")]
    Tool {
        name: "nft",
        need: Need::Tests,
        reason: "drops packets in a test's network namespace",
        location: Location::Program("nft"),
        packages: Packages { debian: "nftables", fedora: "nftables", arch: "nftables", homebrew: "" },
    },
    #[cfg(target_os = "linux")]
    Tool {
        name: "ip",
        need: Need::Tests,
        reason: "sets up a test's network namespace",
        location: Location::Program("ip"),
        packages: Packages { debian: "iproute2", fedora: "iproute", arch: "iproute2", homebrew: "" },
    },
    #[cfg(target_os = "linux")]
    Tool {
        name: "unshare",
        need: Need::Tests,
        reason: "creates a test's network namespace",
        location: Location::Program("unshare"),
        packages: Packages { debian: "util-linux", fedora: "util-linux", arch: "util-linux", homebrew: "" },
    },
    Tool {
        name: "prometheus",
        need: Need::Tests,
        reason: "scrapes metrics, and checks alert rules by promtool",
        location: Location::Program("prometheus"),
        packages: Packages {
            debian: "prometheus",
            fedora: "golang-github-prometheus",
            arch: "prometheus",
            homebrew: "prometheus",
        },
    },
    Tool {
        name: "zsh",
        need: Need::Tests,
        reason: "loads the tool's completions",
        location: Location::Program("zsh"),
        packages: Packages { debian: "zsh", fedora: "zsh", arch: "zsh", homebrew: "zsh" },
    },
    Tool {
        name: "fish",
        need: Need::Tests,
        reason: "loads the tool's completions",
        location: Location::Program("fish"),
        packages: Packages { debian: "fish", fedora: "fish", arch: "fish", homebrew: "fish" },
    },
    Tool {
        name: "jq",
        need: Need::Tests,
        reason: "edits a dump before it is loaded",
        location: Location::Program("jq"),
        packages: Packages { debian: "jq", fedora: "jq", arch: "jq", homebrew: "jq" },
    },
    Tool {
        name: "memcaslap",
        need: Need::Bench,
        reason: "the tool's bench is compared with it",
        location: Location::Program("memcaslap"),
        packages: LIBMEMCACHED_TOOLS,
    },
    Tool {
        name: "strace",
        need: Need::Bench,
        reason: "counts system calls",
        location: Location::Program("strace"),
        packages: Packages { debian: "strace", fedora: "strace", arch: "strace", homebrew: "" },
    },
];

/// Contain memccapable and memcaslap.
const LIBMEMCACHED_TOOLS: Packages = Packages {
    debian: "libmemcached-tools",
    fedora: "libmemcached-awesome-tools",
    arch: "libmemcached",
    homebrew: "libmemcached",
};

/// Installed by `rustup component add rustfmt clippy`.
const RUSTUP: Packages = Packages { debian: "", fedora: "", arch: "", homebrew: "" };

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn tool_names_are_unique() {
        let names: HashSet<_> = TOOLS.iter().map(|tool| tool.name).collect();
        assert_eq!(names.len(), TOOLS.len());
    }

    #[test]
    fn debian_has_a_package_for_every_tool_outside_rustup() {
        for tool in TOOLS {
            let with_rust = tool.need == Need::Checks;
            assert_eq!(tool.packages.debian.is_empty(), with_rust, "{}", tool.name);
        }
    }

    #[test]
    fn a_tool_is_found_only_if_it_exists() {
        let tool = |location| Tool { name: "", need: Need::Tests, reason: "", location, packages: RUSTUP };
        assert!(tool(Location::Program("sh")).path().is_some());
        assert!(tool(Location::Program("no-such-program")).path().is_none());
        let here = &[env!("CARGO_MANIFEST_DIR")];
        assert!(tool(Location::File("Cargo.toml", here)).path().is_some());
        assert!(tool(Location::File("nothing", here)).path().is_none());
        assert!(tool(Location::Module(&["sh", "-c", "true"])).path().is_some());
        assert!(tool(Location::Module(&["sh", "-c", "false"])).path().is_none());
        assert!(tool(Location::Module(&["no-such-program"])).path().is_none());
    }
}
