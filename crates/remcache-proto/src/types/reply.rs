//! What is answered, once, for every protocol.

use bytes::Bytes;

use crate::types::error::InvalidRequest;
use crate::types::meta_options::ItemInfo;
use crate::types::status::{Delivery, Status};

/// The answer to a [`Request`](crate::types::request::Request), whatever it is.
///
/// A reply always has a status; what else is filled depends on the operation. The text of an
/// error, the server's or ours, is in `value`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reply {
    /// The outcome of the request.
    pub status: Status,
    /// The item's flags, which the server stores and does not read.
    pub flags: u32,
    /// The item's CAS value; 0 if the server did not return one.
    pub cas: u64,
    /// The new number of an increment or decrement.
    pub number: Option<u64>,
    /// The key, where the protocol returns it: with-key forms, and the name of a statistic.
    pub key: Bytes,
    /// The value, or the text of an error.
    pub value: Bytes,
    /// Further item metadata, where [`MetaOptions`](crate::types::meta_options::MetaOptions) asked for it.
    pub info: Option<Box<ItemInfo>>,
}

impl Reply {
    /// A reply that is a status and nothing else.
    #[inline]
    pub fn new(status: Status) -> Self {
        Self { status, flags: 0, cas: 0, number: None, key: Bytes::new(), value: Bytes::new(), info: None }
    }

    /// A reply with a text that says what happened.
    pub fn with_text(status: Status, text: impl Into<Bytes>) -> Self {
        Self { value: text.into(), ..Self::new(status) }
    }

    /// A reply for a request whose connection is gone.
    pub fn disconnected(delivery: Delivery, reason: impl Into<Bytes>) -> Self {
        Self::with_text(Status::Disconnected(delivery), reason)
    }

    /// A reply for a request that cannot be sent.
    pub fn invalid(invalid: &InvalidRequest) -> Self {
        let status = match invalid {
            InvalidRequest::Key(_) => Status::InvalidKey,
            InvalidRequest::ValueTooLarge { .. } => Status::ValueTooLarge,
            InvalidRequest::Unsupported(_) => Status::Unsupported,
            _ => Status::InvalidArguments,
        };
        Self::with_text(status, invalid.to_string())
    }

    /// Whether the server did what was asked.
    pub fn is_ok(&self) -> bool {
        self.status == Status::NoError
    }

    /// The text of an error, or of anything else that is text.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_reply_fields_cost_one_word() {
        #[expect(dead_code, reason = "only its size matters")]
        struct Common(Status, u32, u64, Option<u64>, Bytes, Bytes);
        assert!(size_of::<Reply>() <= size_of::<Common>() + size_of::<usize>());
    }
}
