//! Functions that the macro of cached memoizes.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use cached::macros::concurrent_cached;
use remcache::value::Codec;
use remcache_cached::{Error, MemcachedCache};
use remcache_testkit::Memcached;
use serde::{Deserialize, Serialize};

use crate::client;

static SERVER: LazyLock<Memcached> = LazyLock::new(|| Memcached::start(&[]));
static CALLS: AtomicU32 = AtomicU32::new(0);

/// A value that cannot be cloned.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
struct User {
    name: String,
}

fn store() -> MemcachedCache<String, User> {
    MemcachedCache::new(&client(&SERVER), "users", Codec::json()).budget(std::time::Duration::from_secs(300))
}

#[concurrent_cached(
    map_error = r#"|error| error"#,
    ty = "MemcachedCache<String, User>",
    create = r#"{ store() }"#,
    key = "String",
    convert = r#"{ format!("{first} {last}") }"#
)]
async fn user(first: &str, last: &str) -> Result<User, Error> {
    CALLS.fetch_add(1, Ordering::SeqCst);
    Ok(User { name: format!("{first} {last}") })
}

#[tokio::test]
async fn a_function_is_called_once_for_the_same_arguments() {
    for _ in 0..3 {
        assert_eq!(user("Ada", "Lovelace").await.unwrap().name, "Ada Lovelace");
    }
    assert_eq!(CALLS.load(Ordering::SeqCst), 1);
    assert_eq!(user("Alan", "Turing").await.unwrap().name, "Alan Turing");
    assert_eq!(CALLS.load(Ordering::SeqCst), 2);
}
