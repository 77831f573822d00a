//! Gets an item many times, with an observer or without, by one caller or many: callgrind counts the instructions.
//!
//! `valgrind --tool=callgrind --callgrind-out-file=target/callgrind.out target/release/instructions none 20000 1`

use std::error::Error;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use remcache::observe::Metrics;
use remcache::{Client, Config};
use remcache_testkit::Memcached;
use tokio::task::JoinSet;

const USAGE: &str = "instructions none|metrics GETS CALLERS";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let observer = arguments.next().ok_or(USAGE)?;
    let (gets, callers) = (arguments.next().ok_or(USAGE)?.parse()?, arguments.next().ok_or(USAGE)?.parse()?);
    // Programs are slow under valgrind.
    let config = Config::new().timeout(Duration::from_secs(60));
    let config = match &*observer {
        "none" => config,
        "metrics" => {
            PrometheusBuilder::new().install_recorder()?;
            config.observer(Metrics::new())
        }
        _ => return Err(USAGE.into()),
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(get(config, gets, callers))
}

async fn get(config: Config, gets: u32, callers: u32) -> Result<(), Box<dyn Error>> {
    let server = Memcached::start(&[]);
    let client = Client::with_config([server.addr()], config)?;
    client.set("key-00042", [b'v'; 100].as_slice()).await?;
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        tasks.spawn(get_in_turn(client.clone(), gets / callers));
    }
    tasks.join_all().await.into_iter().collect::<Result<(), _>>()?;
    Ok(())
}

async fn get_in_turn(client: Client, gets: u32) -> Result<(), remcache::Error> {
    for _ in 0..gets {
        client.get("key-00042").await?;
    }
    Ok(())
}
