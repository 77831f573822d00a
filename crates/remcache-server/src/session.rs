//! The protocol session of one connection. The first byte selects the protocol for the connection's lifetime.

use remcache_proto::binary::Magic;

use crate::binary::BinarySession;
use crate::buffers::Buffers;
use crate::settings::BindingProtocol;
use crate::state::ServerState;
use crate::step::YieldReason;
use crate::text::TextSession;
use crate::watch::WatchStream;

/// The protocol session of one connection.
#[derive(Debug)]
pub(crate) enum Session {
    /// The client has sent nothing yet. Holds the connection number.
    Undetermined(u64),
    Binary(BinarySession),
    Text(Box<TextSession>),
}

impl Session {
    /// Processes the requests in the buffer, which must not be empty, until the limit of pending replies is
    /// reached.
    #[inline]
    pub(crate) fn process(&mut self, buffers: Buffers<'_>, state: &ServerState) -> YieldReason {
        match self {
            Self::Binary(binary) => binary.process(buffers, state),
            Self::Text(text) => text.process(buffers, state),
            Self::Undetermined(number) => {
                let is_binary = buffers.input.as_slice().first() == Some(&Magic::Request.byte());
                if is_binary && state.settings.restrictions.closes_binary {
                    return YieldReason::Close;
                }
                *self = Self::new(is_binary, state, *number);
                self.process(buffers, state)
            }
        }
    }

    fn new(starts_binary: bool, state: &ServerState, number: u64) -> Self {
        let is_binary = match state.settings.binding_protocol() {
            BindingProtocol::Auto => starts_binary,
            BindingProtocol::Binary => true,
            BindingProtocol::Text => false,
        };
        match is_binary {
            true => Self::Binary(BinarySession::new(state, number)),
            false => Self::Text(Box::new(TextSession::new(state, number))),
        }
    }

    /// Returns the number of requests that were executed or refused since the last call.
    pub(crate) fn take_request_count(&mut self) -> usize {
        match self {
            Self::Undetermined(_) => 0,
            Self::Binary(binary) => binary.take_request_count(),
            Self::Text(text) => text.take_request_count(),
        }
    }

    /// Returns the stream of log lines if the last command was a successful `watch`. The connection then carries
    /// these lines only.
    pub(crate) fn take_watch_stream(&mut self) -> Option<WatchStream> {
        match self {
            Self::Text(text) => text.take_watch_stream(),
            _ => None,
        }
    }
}
