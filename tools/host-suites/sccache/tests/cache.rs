//! Compilations through sccache, whose cache is a memcached server.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use remcache_testkit::{Authority, Dates, Memcached};
use serde_json::Value;
use tempfile::TempDir;

/// An sccache server, with a directory to compile in.
struct Sccache {
    directory: TempDir,
    port: String,
    endpoint: String,
    /// The file with the trusted certificate authorities (`SSL_CERT_FILE`).
    authorities: String,
}

impl Sccache {
    fn start(endpoint: &str, authorities: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port().to_string();
        let directory = tempfile::tempdir().expect("a directory");
        let lines: Vec<String> = (0..2000).map(|n| format!("pub fn f{n}(x: u64) -> u64 {{ x * {n} }}")).collect();
        fs::write(directory.path().join("lib.rs"), lines.join("\n")).expect("the directory is writable");
        Self { directory, port, endpoint: endpoint.to_owned(), authorities: authorities.to_owned() }
    }

    fn run(&self, args: &[&str]) -> Output {
        let output = Command::new(env!("CARGO_BIN_EXE_sccache"))
            .args(args)
            .current_dir(self.directory.path())
            .env("SCCACHE_SERVER_PORT", &self.port)
            .env("SCCACHE_MEMCACHED_ENDPOINT", &self.endpoint)
            .env("SCCACHE_CONF", self.directory.path().join("no-file"))
            .env("SSL_CERT_FILE", &self.authorities)
            .env_remove("RUSTC_WRAPPER")
            .output()
            .expect("sccache runs");
        assert!(output.status.success(), "{args:?}: {output:?}");
        output
    }

    /// Compiles the crate and returns the library.
    fn compile(&self) -> Vec<u8> {
        let library = self.directory.path().join("out/libexample.rlib");
        let _ = fs::remove_dir_all(library.parent().unwrap_or(Path::new("")));
        fs::create_dir(self.directory.path().join("out")).expect("the directory is writable");
        let crate_type = ["--crate-type", "lib", "--emit", "dep-info,metadata,link"];
        let output = ["--out-dir", "out", "lib.rs"];
        self.run(&[&["rustc", "--crate-name", "example"][..], &crate_type, &output].concat());
        fs::read(library).expect("a library")
    }

    /// Returns a number of the statistics, summed over languages.
    fn count(&self, name: &str) -> u64 {
        let output = self.run(&["--show-stats", "--stats-format", "json"]);
        let stats: Value = serde_json::from_slice(&output.stdout).expect("statistics in JSON");
        match &stats["stats"][name] {
            Value::Number(number) => number.as_u64().expect("a number"),
            by_language => {
                let counts = by_language["counts"].as_object().unwrap_or_else(|| panic!("{name} in {stats}"));
                counts.values().filter_map(Value::as_u64).sum()
            }
        }
    }

    /// Ends the server; the next command starts another.
    fn stop(&self) {
        self.run(&["--stop-server"]);
    }
}

impl Drop for Sccache {
    fn drop(&mut self) {
        let stop = Command::new(env!("CARGO_BIN_EXE_sccache"))
            .arg("--stop-server")
            .env("SCCACHE_SERVER_PORT", &self.port)
            .output();
        let _ = stop;
    }
}

fn check_compiled_once(sccache: &Sccache) {
    let compiled = sccache.compile();
    while sccache.count("cache_writes") == 0 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!((sccache.count("cache_hits"), sccache.count("cache_misses")), (0, 1));
    // Another server process has nothing in its memory.
    sccache.stop();
    assert!(sccache.compile() == compiled);
    assert_eq!((sccache.count("cache_hits"), sccache.count("cache_misses")), (1, 0));
    assert_eq!((sccache.count("cache_read_errors"), sccache.count("cache_write_errors")), (0, 0));
}

#[test]
fn a_library_is_compiled_once() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let endpoint = format!("memcached://{},{}/?timeout=20s", servers[0].addr(), servers[1].addr());
    check_compiled_once(&Sccache::start(&endpoint, ""));
}

#[test]
fn a_library_is_compiled_once_over_tls() {
    let authority = Authority::new("test authority");
    let certificate = authority.certify(&["127.0.0.1"], Dates::Now);
    let server = Memcached::start_tls(&certificate, &[]);
    let endpoint = format!("memcacheds://{}/?timeout=20s", server.addr());
    check_compiled_once(&Sccache::start(&endpoint, &authority.file().display().to_string()));
}

#[test]
fn compilations_succeed_while_the_cache_is_unavailable() {
    for interrupt in [Memcached::kill, |server: &mut Memcached| server.stop()] {
        let mut server = Memcached::start(&[]);
        let sccache = Sccache::start(&format!("memcached://{}/?timeout=500ms", server.addr()), "");
        let compiled = sccache.compile();
        interrupt(&mut server);
        assert!(sccache.compile() == compiled);
    }
}
