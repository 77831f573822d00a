//! Profiles of managed services, and their restrictions.

/// A managed service that the server emulates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// A plain memcached without restrictions.
    #[default]
    Memcached,
    /// Amazon ElastiCache Serverless for Memcached.
    ///
    /// It speaks TLS only, so [`Builder::tls`](crate::Builder) is required, and closes connections that speak the
    /// binary protocol. Of the administrative commands only `stats` and `stats reset` exist, and of the meta commands
    /// all but `me`. The line of a `get` is limited to 16 KiB, and `flush_all` cannot be delayed.
    ///
    /// The texts of its errors are not documented by the service. Tests should not depend on them.
    ElastiCacheServerless,
}

/// The restrictions of a service, compared with memcached.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Restrictions {
    pub(crate) requires_tls: bool,
    /// Connections that start like the binary protocol are closed.
    pub(crate) closes_binary: bool,
    /// The longest line of a `get`, if it is shorter than the server's own limit.
    pub(crate) max_fetch_line: Option<usize>,
    pub(crate) no_meta_debug: bool,
    pub(crate) no_delayed_flush: bool,
    /// Whether `stats` and `stats reset` are the only administrative commands.
    pub(crate) stats_only: bool,
}

impl Profile {
    /// Returns the version that the service reports.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Memcached => "1.6.18",
            Self::ElastiCacheServerless => "1.6.22",
        }
    }

    pub(crate) fn restrictions(self) -> Restrictions {
        match self {
            Self::Memcached => Restrictions::default(),
            Self::ElastiCacheServerless => Restrictions {
                requires_tls: true,
                closes_binary: true,
                max_fetch_line: Some(16 * 1024),
                no_meta_debug: true,
                no_delayed_flush: true,
                stats_only: true,
            },
        }
    }
}
