//! Replies, the same for every protocol.

use bytes::Bytes;

use crate::types::error::InvalidRequest;
use crate::types::meta_options::ItemInfo;
use crate::types::status::{Delivery, Status};

/// The reply to a [`Request`](crate::types::request::Request), including errors.
///
/// A reply always has a status; the other fields depend on the operation. The text of an error is in `value`, whether
/// it comes from the server or the client.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reply {
    /// The outcome of the request.
    pub status: Status,
    /// The item's flags, which the server does not interpret.
    pub flags: u32,
    /// The item's CAS value; 0 if the server did not return one.
    pub cas: u64,
    /// The new value of a counter.
    pub number: Option<u64>,
    /// The key, if it was requested; or the name of a statistic.
    pub key: Bytes,
    /// The value, or the text of an error.
    pub value: Bytes,
    /// Item metadata requested with [`MetaOptions`](crate::types::meta_options::MetaOptions).
    pub info: Option<Box<ItemInfo>>,
}

impl Reply {
    /// Creates a reply with a status only.
    #[inline]
    pub fn new(status: Status) -> Self {
        Self { status, flags: 0, cas: 0, number: None, key: Bytes::new(), value: Bytes::new(), info: None }
    }

    /// Creates a reply with a text.
    pub fn with_text(status: Status, text: impl Into<Bytes>) -> Self {
        Self { value: text.into(), ..Self::new(status) }
    }

    /// Creates the reply to a request whose connection is lost.
    pub fn disconnected(delivery: Delivery, reason: impl Into<Bytes>) -> Self {
        Self::with_text(Status::Disconnected(delivery), reason)
    }

    /// Creates the reply to a request that cannot be sent.
    pub fn invalid(invalid: &InvalidRequest) -> Self {
        let status = match invalid {
            InvalidRequest::Key(_) => Status::InvalidKey,
            InvalidRequest::ValueTooLarge { .. } => Status::ValueTooLarge,
            InvalidRequest::Unsupported(_) => Status::Unsupported,
            _ => Status::InvalidArguments,
        };
        Self::with_text(status, invalid.to_string())
    }

    /// Returns whether the request succeeded.
    pub fn is_ok(&self) -> bool {
        self.status == Status::NoError
    }

    /// Returns the value as text, such as that of an error.
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
        struct CommonReply(Status, u32, u64, Option<u64>, Bytes, Bytes);
        assert!(size_of::<Reply>() <= size_of::<CommonReply>() + size_of::<usize>());
    }
}
