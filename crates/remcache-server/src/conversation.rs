//! What is spoken on a connection: chosen by its first byte, for good.

use remcache_proto::binary::Magic;

use crate::binary;
use crate::input::Input;
use crate::replies::Replies;
use crate::state::{State, Wires};
use crate::text;

/// What is spoken on a connection.
#[derive(Debug)]
pub(crate) enum Conversation {
    /// Nothing was said yet; this is the connection's number.
    Silent(u64),
    Binary(binary::Conversation),
    Text(Box<text::Conversation>),
}

/// Why a conversation pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// The input holds no whole request.
    NeedsInput,
    /// There are as many replies as were wanted at a time.
    Full,
    /// The connection is to be closed after what was answered.
    Closed,
}

/// What became of the request at the front of the input.
pub(crate) enum Turn {
    Done,
    /// It is not complete; this is its length as far as it is known.
    Incomplete(usize),
    Closed,
}

impl Conversation {
    /// Answers what the input holds, which is something, until there are about `limit` bytes of
    /// replies.
    #[inline]
    pub(crate) fn go_on(&mut self, input: &mut Input, state: &State, replies: &mut Replies, limit: usize) -> Pause {
        match self {
            Self::Binary(binary) => binary.go_on(input, state, replies, limit),
            Self::Text(text) => text.go_on(input, state, replies, limit),
            Self::Silent(number) => {
                *self = Self::begun(input.as_slice().first().copied(), state, *number);
                self.go_on(input, state, replies, limit)
            }
        }
    }

    fn begun(first: Option<u8>, state: &State, number: u64) -> Self {
        let binary = match state.wires() {
            Wires::Any => first == Some(Magic::Request.byte()),
            Wires::Binary => true,
            Wires::Text => false,
        };
        match binary {
            true => Self::Binary(binary::Conversation::new(state, number)),
            false => Self::Text(Box::new(text::Conversation::new(state, number))),
        }
    }

    /// How many requests were executed or refused since this was asked.
    pub(crate) fn take_requests(&mut self) -> usize {
        match self {
            Self::Silent(_) => 0,
            Self::Binary(binary) => std::mem::take(&mut binary.requests),
            Self::Text(text) => std::mem::take(&mut text.requests),
        }
    }

    /// The lines that the connection watches from now on, instead of being answered.
    pub(crate) fn take_watched(&mut self) -> Option<text::Watched> {
        match self {
            Self::Text(text) => text.take_watched(),
            _ => None,
        }
    }
}
