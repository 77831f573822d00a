//! Settings under which no request times out on a slow machine.

use std::time::Duration;

use remcache::Config;

/// Returns the default settings with timeouts that only a request that hangs can exceed.
pub(crate) fn patient_config() -> Config {
    Config::new().timeout(Duration::from_secs(300)).connect_timeout(Duration::from_secs(60))
}
