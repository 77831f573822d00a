//! Draws the dashboards with the metrics of the example service, while its servers and its database have incidents.
//!
//! `cargo xtask dashboards` builds the programs and runs it.

mod picture;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context as _, Result, bail};
use remcache_observability::{Load, hot_path, slow_path, start_service, usual_path};
use remcache_testkit::prometheus::{Dashboard, Prometheus};
use remcache_testkit::{Memcached, ServerProcess};

/// Fixed ports, so that the names of the servers do not change.
const PORTS: [u16; 3] = [11_311, 11_312, 11_313];
/// The duration of each phase.
const PHASE: Duration = Duration::from_secs(30);
/// The interval of scrapes, and of points in the pictures.
const INTERVAL: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    let paths: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [service, tool, directory] = &paths[..] else {
        bail!("usage: remcache-observability SERVICE TOOL DIRECTORY");
    };
    let mut servers = PORTS
        .into_iter()
        .map(|port| {
            let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
            Memcached::start_at(address, &[]).with_context(|| format!("port {port} is in use"))
        })
        .collect::<Result<Vec<_>>>()?;
    let addresses: Vec<_> = servers.iter().map(Memcached::addr).collect();
    let service = start_service(service, &addresses, None);
    let exporter =
        ServerProcess::start(Command::new(tool).args(["serve-metrics", "127.0.0.1:0", "-s", &addresses.join(",")]));
    let prometheus = Prometheus::start(&[service.address(), exporter.address()], INTERVAL, None);
    let start = Instant::now();
    run(&service, &mut servers);
    draw(&prometheus, directory, start.elapsed())
}

/// Runs phases with normal load, a server that is down, a hot key, and a slow loader.
fn run(service: &ServerProcess, servers: &mut [Memcached]) {
    for (title, path, is_down) in [
        ("usual load", usual_path as fn(&mut _) -> _, false),
        ("a server is down", usual_path, true),
        ("usual load", usual_path, false),
        ("a hot key", hot_path, false),
        ("a slow loader", slow_path, false),
        ("usual load", usual_path, false),
    ] {
        println!("{title}");
        if is_down {
            servers[2].kill();
        }
        let load = Load::start(service, path);
        thread::sleep(PHASE);
        drop(load);
        if is_down {
            servers[2].restart();
        }
    }
}

fn draw(prometheus: &Prometheus, directory: &Path, period: Duration) -> Result<()> {
    for name in ["grafana-client", "grafana-server"] {
        let source = directory.join(name).with_extension("json");
        let json = fs::read_to_string(&source).with_context(|| source.display().to_string())?;
        let picture = picture::draw(&Dashboard::read(&json, "10s"), prometheus, period, INTERVAL)?;
        let target = source.with_extension("svg");
        fs::write(&target, picture).with_context(|| target.display().to_string())?;
        println!("{}", target.display());
    }
    Ok(())
}
