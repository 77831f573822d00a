//! Authentication in the text protocol: the first command is a `set` whose value is the credentials.

use remcache_proto::text::server::{LINE_END, Words, number};

use super::messages::MAX_LINE;
use crate::reply_buffer::ReplyBuffer;
use crate::request_buffer::RequestBuffer;
use crate::settings::Settings;
use crate::state::{ServerState, add};
use crate::step::Step;
use crate::version::{Behaviour, Version};

const UNAUTHENTICATED: &str = "CLIENT_ERROR unauthenticated";
const BAD_END: &str = "CLIENT_ERROR bad command line termination";
const BAD_TOKEN: &str = "CLIENT_ERROR bad authentication token format";
const FAILURE: &str = "CLIENT_ERROR authentication failure";
const STORED: &str = "STORED";

/// The authentication state of a connection.
#[derive(Debug, Default)]
pub(super) struct TextAuth {
    /// The length of the value that the client has announced, including its line end.
    value_len: Option<usize>,
    complete: bool,
}

/// The longest token in versions that limit it.
const MAX_TOKEN: usize = 2048;
/// Newer versions close the connection on a line shorter than this, not counting its line feed.
const MIN_LINE: usize = 6;
/// The longest value that is waited for. memcached has no limit here.
const MAX_VALUE: usize = 1 << 20;

impl TextAuth {
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Processes all input up to a successful authentication. Only the last reply is sent, because memcached has room
    /// for a single one at this point.
    pub(super) fn process(
        &mut self,
        input: &mut RequestBuffer,
        state: &ServerState,
        replies: &mut ReplyBuffer,
        requests: &mut usize,
    ) -> Step {
        let mut last_reply = None;
        let mut push_last = |reply: Option<&'static str>| {
            if let Some(line) = reply {
                replies.push_line(line);
            }
        };
        while !self.complete {
            let result = match self.value_len {
                Some(length) => self.read_value(length, input, state).map(Some),
                None => self.read_line(input, &state.settings.version),
            };
            match result {
                Ok(Some(line)) => {
                    *requests += 1;
                    last_reply = Some(line);
                }
                Ok(None) => {}
                Err(step) => {
                    push_last(last_reply);
                    return step;
                }
            }
        }
        push_last(last_reply);
        Step::Done
    }

    /// Reads a command. Returns its reply, or `None` if its value follows.
    fn read_line(&mut self, input: &mut RequestBuffer, version: &Version) -> Result<Option<&'static str>, Step> {
        let Some(end) = input.as_slice().iter().position(|byte| *byte == b'\n') else {
            return Err(if input.len() > MAX_LINE { Step::Close } else { Step::Incomplete(0) });
        };
        if end < MIN_LINE && version.has(Behaviour::ShortLinesClose) {
            return Err(Step::Close);
        }
        let mut words = Words::new(input.as_slice().get(..end).unwrap_or_default());
        let is_set = words.next() == Some(b"set");
        let length = words.nth(3).and_then(number::unsigned_32).filter(|_| is_set);
        input.skip(end + 1);
        let Some(length) = length else { return Ok(Some(UNAUTHENTICATED)) };
        // memcached adds the line end in 32 bits, so the sum of a length near the limit wraps around. It refuses
        // such lengths.
        let value_len = length.wrapping_add(2) as usize;
        let max_len = if version.has(Behaviour::WholeLineToken) { MAX_TOKEN } else { MAX_VALUE };
        if length > u32::MAX - 16 || value_len > max_len {
            return Ok(Some(UNAUTHENTICATED));
        }
        self.value_len = Some(value_len);
        Ok(None)
    }

    fn read_value(
        &mut self,
        length: usize,
        input: &mut RequestBuffer,
        state: &ServerState,
    ) -> Result<&'static str, Step> {
        let Some(value) = input.as_slice().get(..length) else { return Err(Step::Incomplete(length)) };
        self.value_len = None;
        let reply = check_token(value, &state.settings);
        input.skip(length);
        if matches!(reply, STORED | FAILURE) {
            add(&state.traffic.auth_attempts, 1);
            add(&state.traffic.auth_failures, usize::from(reply == FAILURE));
        }
        self.complete = reply == STORED;
        Ok(reply)
    }
}

fn check_token(value: &[u8], settings: &Settings) -> &'static str {
    let Some(token) = value.strip_suffix(LINE_END) else { return BAD_END };
    let is_whole_line = settings.version.has(Behaviour::WholeLineToken);
    let credentials = if is_whole_line { split_at_space(token) } else { first_two_words(token) };
    let Some((name, password)) = credentials else { return BAD_TOKEN };
    if settings.text_users.iter().any(|user| user.has_credentials(name, password)) { STORED } else { FAILURE }
}

fn first_two_words(token: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut words = Words::new(token);
    words.next().zip(words.next())
}

fn split_at_space(token: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = token.iter().position(|byte| *byte == b' ')?;
    Some((token.get(..space)?, token.get(space + 1..)?))
}
