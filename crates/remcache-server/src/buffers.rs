//! The buffers of a session.

use crate::reply_buffer::ReplyBuffer;
use crate::request_buffer::RequestBuffer;

/// The buffers that a session reads from and writes to.
#[derive(Debug)]
pub(crate) struct Buffers<'a> {
    pub(crate) input: &'a mut RequestBuffer,
    pub(crate) replies: &'a mut ReplyBuffer,
    /// The number of bytes of pending replies from which a session yields.
    pub(crate) limit: usize,
}
