//! The store on real memcached servers, which may be killed or stopped.

mod outage;
mod store;
mod workers;

use std::collections::HashMap;
use std::time::Duration;

use remcache::{Client, Config};
use remcache_actix_session::MemcachedSessionStore;
use remcache_testkit::Memcached;

/// Returns a client whose own timeouts are longer than any test: only the store's budget can end a call.
fn client(server: &Memcached) -> Client {
    let config = Config::new().timeout(Duration::from_secs(300)).connect_timeout(Duration::from_secs(300));
    Client::with_config([server.addr()], config).expect("a valid address")
}

/// Returns a store without a noticeable budget.
fn patient_store(server: &Memcached) -> MemcachedSessionStore {
    MemcachedSessionStore::new(&client(server)).budget(Duration::from_secs(300))
}

fn state(user: &str) -> HashMap<String, String> {
    HashMap::from([("user".to_owned(), format!("\"{user}\""))])
}
