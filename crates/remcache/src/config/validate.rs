//! Checks of the settings when a client is created.

use std::time::Duration;

use super::Config;
use crate::config::credentials::CredentialsSource;
use crate::error::Error;
use crate::policy::Failover;
use crate::transport::tls::Tls;

impl Config {
    fn check_policies(&self) -> Result<(), Error> {
        let copies = self.replicas;
        let problem = match (&self.failover, self.hedge, self.retries.attempt_timeout) {
            (Failover::Gutter { servers, .. }, ..) if servers.is_empty() => {
                "failover to a gutter pool without servers: name them, in a URL by gutter=host,host"
            }
            (failover, ..) if failover.cap().is_some_and(|cap| cap < Duration::from_secs(1)) => {
                "failover's max_ttl is below 1 s, which is the shortest time to live"
            }
            (_, Some(hedge), _) if hedge.delay.is_zero() => "hedge's delay is zero: give it a duration such as 10ms",
            (_, Some(_), _) if copies < 2 => "hedge needs a second copy to ask: set replicas to 2 or more",
            (_, _, Some(timeout)) if timeout.is_zero() => {
                "retries' attempt_timeout is zero: give it a duration such as 100ms"
            }
            _ if self.preference.is_some() && copies < 2 => {
                "prefer needs a choice of copies: set replicas to 2 or more"
            }
            _ if copies == 0 => "replicas is zero: it must be at least 1",
            _ => return Ok(()),
        };
        Err(Error::config(problem))
    }

    /// Checks the settings.
    pub(crate) fn check(self) -> Result<Self, Error> {
        self.check_policies()?;
        let durations = [
            ("timeout", self.timeout),
            ("connect_timeout", self.transport.connect_timeout),
            ("keepalive's interval", self.limits.keepalive_interval),
            ("keepalive's timeout", self.limits.keepalive_timeout),
            ("reconnect_delay's first", self.reconnect.first),
            ("reconnect_delay's cap", self.reconnect.cap),
        ];
        for (name, duration) in durations {
            if duration.is_zero() {
                return Err(Error::config(format!("{name} is zero: give it a duration such as 1s")));
            }
        }
        if self.reconnect.first > self.reconnect.cap {
            return Err(Error::config("reconnect_delay's first wait is longer than its cap"));
        }
        let counts = [
            ("connections", self.connections),
            ("max_value_size", self.limits.max_value_size),
            ("max_in_flight", self.limits.max_in_flight),
            ("max_output", self.limits.max_output),
            ("max_keys_per_multiget", self.max_keys_per_multiget),
        ];
        if self.journal.path.is_some() && self.journal.capacity == 0 {
            return Err(Error::config("delete_journal_file needs a number of keys: set delete_journal, too"));
        }
        for (name, count) in counts {
            if count == 0 {
                return Err(Error::config(format!("{name} is zero: it must be at least 1")));
            }
        }
        if let Some(Err(what)) = self.tls.as_ref().map(Tls::check) {
            return Err(Error::config(what));
        }
        if let Some(CredentialsSource::Fixed(credentials)) = &self.credentials {
            credentials.check().map_err(Error::config)?;
        }
        if self.namespace.len() >= crate::proto::Key::MAX_LEN {
            return Err(Error::config("the namespace leaves no room for a key: a key has at most 250 bytes"));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Hedge, Retries};

    #[test]
    fn invalid_settings_are_refused_by_name() {
        let cases = [
            (Config::new().timeout(Duration::ZERO), "timeout"),
            (Config::new().connections(0), "connections"),
            (Config::new().max_value_size(0), "max_value_size"),
            (Config::new().max_keys_per_multiget(0), "max_keys_per_multiget"),
            (Config::new().namespace("x".repeat(250)), "namespace"),
            (Config::new().replicas(0), "replicas"),
            (Config::new().hedge(Hedge::after(Duration::from_millis(1))), "replicas"),
            (Config::new().replicas(2).hedge(Hedge::after(Duration::ZERO)), "hedge"),
            (Config::new().failover(Failover::next().max_ttl(Duration::from_millis(999))), "max_ttl"),
            (Config::new().prefer(|_| true), "replicas"),
            (Config::new().delete_journal_file("deletes"), "delete_journal"),
            (Config::new().failover(Failover::gutter([""; 0])), "gutter"),
            (Config::new().retries(Retries::up_to(1).attempt_timeout(Duration::ZERO)), "attempt_timeout"),
        ];
        for (config, name) in cases {
            assert!(config.check().unwrap_err().to_string().contains(name), "{name}");
        }
    }
}
