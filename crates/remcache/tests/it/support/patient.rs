//! Settings under which a slow machine makes no request time out.

use std::time::Duration;

use remcache::Config;

/// The defaults with a deadline that only a request meets which hangs.
pub(crate) fn patient() -> Config {
    Config::new().timeout(Duration::from_secs(60)).connect_timeout(Duration::from_secs(30))
}
