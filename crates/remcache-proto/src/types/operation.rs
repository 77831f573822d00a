//! The operations, and what each is: about a key, with a value, a question.

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Fetch an item.
    Get,
    /// Fetch an item and give it a new time to live.
    GetAndTouch,
    /// Store an item.
    Set,
    /// Store an item if the key is absent.
    Add,
    /// Store an item if the key is present.
    Replace,
    /// Put bytes behind a value.
    Append,
    /// Put bytes before a value.
    Prepend,
    /// Remove an item.
    Delete,
    /// Raise a counter; it wraps at 2^64.
    Increment,
    /// Lower a counter; it stops at 0.
    Decrement,
    /// Give an item a new time to live.
    Touch,
    /// Remove all items.
    Flush,
    /// Do nothing, and answer.
    NoOp,
    /// Returns the server's version.
    Version,
    /// Set how much the server logs.
    Verbosity,
    /// Returns statistics, in many replies.
    Stat,
    /// Close the connection.
    Quit,
    /// List the authentication mechanisms.
    SaslList,
    /// Begin an authentication.
    SaslAuth,
    /// Go on with an authentication.
    SaslStep,
    /// Authenticate on a text protocol, by the server's list of users.
    Authenticate,
    /// Returns what the server knows about an item, as a readable line.
    Debug,
    /// List all items with what is known about them, in many replies.
    Metadump,
    /// List the keys of all items, in many replies.
    Mgdump,
    /// Streams the server's log, in many replies.
    Watch,
    /// Set how much memory the server may use.
    MemoryLimit,
    /// Command the server's slab classes.
    Slabs,
    /// Set how the server's LRU works.
    Lru,
    /// Command the server's LRU crawler.
    LruCrawler,
    /// Returns the nodes of a managed cluster.
    ClusterConfig,
    /// End the server.
    Shutdown,
}

impl Operation {
    /// Whether the operation is about a key, and so about one server of several.
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

    /// Whether the bytes of a value belong to the request.
    #[inline]
    pub(crate) fn has_value(self) -> bool {
        matches!(self, Self::Set | Self::Add | Self::Replace | Self::Append | Self::Prepend | Self::Authenticate)
    }

    /// Whether the operation needs a connection to itself.
    #[inline]
    pub(crate) fn is_exclusive(self) -> bool {
        matches!(self, Self::Metadump | Self::Mgdump | Self::Watch)
    }

    /// Whether the usual outcome, about which a quiet request is silent, is a miss.
    #[inline]
    pub fn is_fetch(self) -> bool {
        matches!(self, Self::Get | Self::GetAndTouch)
    }

    /// Whether the usual reply carries data: an item, a number, a text.
    #[inline]
    pub fn is_question(self) -> bool {
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
