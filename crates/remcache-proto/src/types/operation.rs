//! The operations and their properties.

/// The operation of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Fetch an item.
    Get,
    /// Fetch an item and set its TTL.
    GetAndTouch,
    /// Store an item.
    Set,
    /// Store an item if the key is absent.
    Add,
    /// Store an item if the key is present.
    Replace,
    /// Append bytes to a value.
    Append,
    /// Prepend bytes to a value.
    Prepend,
    /// Delete an item.
    Delete,
    /// Increment a counter, which wraps at 2^64.
    Increment,
    /// Decrement a counter, which stops at 0.
    Decrement,
    /// Set the TTL of an item.
    Touch,
    /// Remove all items.
    Flush,
    /// Do nothing, but send a reply.
    NoOp,
    /// Return the server's version.
    Version,
    /// Set the server's log level.
    Verbosity,
    /// Return statistics, in several replies.
    Stat,
    /// Close the connection.
    Quit,
    /// List the authentication mechanisms.
    SaslList,
    /// Start authentication.
    SaslAuth,
    /// Continue authentication.
    SaslStep,
    /// Authenticate on a text protocol, against the server's password file.
    Authenticate,
    /// Return an item's metadata as a line of text.
    Debug,
    /// List all items with their metadata, in several replies.
    Metadump,
    /// List the keys of all items, in several replies.
    Mgdump,
    /// Stream the server's log, in several replies.
    Watch,
    /// Set the server's memory limit.
    MemoryLimit,
    /// Configure the server's slab classes.
    Slabs,
    /// Configure the server's LRU.
    Lru,
    /// Control the server's LRU crawler.
    LruCrawler,
    /// Return the nodes of a managed cluster.
    ClusterConfig,
    /// Shut the server down.
    Shutdown,
}

impl Operation {
    /// Returns whether the operation has a key, which determines its server.
    #[inline]
    pub fn has_key(self) -> bool {
        matches!(
            self,
            Self::Get
                | Self::GetAndTouch
                | Self::Set
                | Self::Add
                | Self::Replace
                | Self::Append
                | Self::Prepend
                | Self::Delete
                | Self::Increment
                | Self::Decrement
                | Self::Touch
                | Self::Debug
        )
    }

    /// Returns whether the request includes a value.
    #[inline]
    pub(crate) fn has_value(self) -> bool {
        matches!(self, Self::Set | Self::Add | Self::Replace | Self::Append | Self::Prepend | Self::Authenticate)
    }

    /// Returns whether the operation needs an exclusive connection.
    #[inline]
    pub(crate) fn is_exclusive(self) -> bool {
        matches!(self, Self::Metadump | Self::Mgdump | Self::Watch)
    }

    /// Returns whether it is a fetch, whose usual outcome, without a reply if it is quiet, is a miss.
    #[inline]
    pub fn is_fetch(self) -> bool {
        matches!(self, Self::Get | Self::GetAndTouch)
    }

    /// Returns whether a successful reply has data: an item, a number, or text.
    #[inline]
    pub fn returns_data(self) -> bool {
        !matches!(
            self,
            Self::Set
                | Self::Add
                | Self::Replace
                | Self::Append
                | Self::Prepend
                | Self::Delete
                | Self::Touch
                | Self::Flush
        )
    }
}
