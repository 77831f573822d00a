//! The tests that cached has for its asynchronous store on Redis, as far as any store can pass them.
#![allow(clippy::all, reason = "the included tests follow the lints of their project")]

include!(concat!(env!("OUT_DIR"), "/cached.rs"));

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cached::{ConcurrentCachedAsync, SerializeCachedAsync};
use remcache::Client;
use remcache::value::Codec;
use remcache_cached::MemcachedCache;
use remcache_testkit::Memcached;

/// One server for all tests, which use different prefixes.
static SERVER: LazyLock<Memcached> = LazyLock::new(|| Memcached::start(&[]));

/// Has the name of the store that the tests were written for.
type AsyncRedisCache<K, V> = MemcachedCache<K, V>;

/// The constructor of that store.
trait Build: Sized {
    fn builder(prefix: String) -> Builder<Self>;
}

impl Build for MemcachedCache<u32, u32> {
    fn builder(prefix: String) -> Builder<Self> {
        let client = Client::new([SERVER.addr()]).expect("a valid address");
        // A slow machine must not lose values.
        Builder(MemcachedCache::new(&client, prefix, Codec::json()).budget(Duration::from_secs(60)))
    }
}

/// The builder of that store, with the methods that the tests call.
struct Builder<S>(S);

impl<K, V> Builder<MemcachedCache<K, V>> {
    fn ttl(self, ttl: Duration) -> Self {
        Self(self.0.ttl(ttl))
    }

    fn connection_string(self, _redis: &str) -> Self {
        self
    }

    async fn build(self) -> Result<MemcachedCache<K, V>, remcache::Error> {
        Ok(self.0)
    }
}

fn now_millis() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right").as_millis()
}

fn raw_key(prefix: &str, key: &str) -> String {
    format!("{prefix}:{key}")
}

fn plant_raw(key: &str, bytes: &[u8]) {
    let request = [format!("set {key} 0 0 {}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    assert_eq!(reply(&request), "STORED");
}

fn key_exists(key: &str) -> bool {
    reply(format!("mg {key}\r\n").as_bytes()) == "HD"
}

fn delete_key(key: &str) {
    assert_eq!(reply(format!("delete {key}\r\n").as_bytes()), "DELETED");
}

/// Sends a request on a new connection, and returns the first line of the reply.
fn reply(request: &[u8]) -> String {
    let mut stream = TcpStream::connect(SERVER.addr()).expect("the server accepts connections");
    stream.write_all(request).expect("the server reads");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("the server answers");
    line.trim_end().to_owned()
}
