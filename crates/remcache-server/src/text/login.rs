//! Authentication on the text wire: the first command is a `set`, and its value says who it is.

use remcache_proto::text::server::{LINE_END, Words, number};

use super::LONGEST_LINE;
use crate::conversation::Turn;
use crate::input::Input;
use crate::login::User;
use crate::replies::Replies;
use crate::state::{Settings, State, add};
use crate::version::{Novelty, Version};

const UNAUTHENTICATED: &str = "CLIENT_ERROR unauthenticated";
const BAD_END: &str = "CLIENT_ERROR bad command line termination";
const BAD_TOKEN: &str = "CLIENT_ERROR bad authentication token format";
const FAILURE: &str = "CLIENT_ERROR authentication failure";
const STORED: &str = "STORED";

/// How far the authentication of a connection is.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// How long the value is that says who it is, with its end.
    wanted: Option<usize>,
    complete: bool,
}

/// The longest token since there is a limit.
const LONGEST_TOKEN: usize = 2048;
/// A shorter line, without its line feed, closes the connection in newer versions.
const SHORTEST_LINE: usize = 6;
/// The longest value that is waited for; memcached waits for more than ever comes.
const LONGEST_VALUE: usize = 1 << 20;

impl Login {
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Takes everything that is there, up to a successful authentication: memcached has room for
    /// one reply before it, so of several only the last is sent.
    pub(super) fn go_on(
        &mut self,
        input: &mut Input,
        state: &State,
        replies: &mut Replies,
        requests: &mut usize,
    ) -> Turn {
        let mut said = None;
        while !self.complete {
            let step = match self.wanted {
                Some(wanted) => self.read_value(wanted, input, state),
                None => self.read_line(input, &state.settings.version),
            };
            match step {
                Ok(Some(text)) => {
                    *requests += 1;
                    said = Some(text);
                }
                Ok(None) => {}
                Err(turn) => {
                    say(said, replies);
                    return turn;
                }
            }
        }
        say(said, replies);
        Turn::Done
    }

    fn read_line(&mut self, input: &mut Input, version: &Version) -> Result<Option<&'static str>, Turn> {
        let Some(end) = input.as_slice().iter().position(|byte| *byte == b'\n') else {
            return Err(if input.len() > LONGEST_LINE { Turn::Closed } else { Turn::Incomplete(0) });
        };
        if end < SHORTEST_LINE && version.has(Novelty::ShortLinesClose) {
            return Err(Turn::Closed);
        }
        let mut words = Words::new(input.as_slice().get(..end).unwrap_or_default());
        let is_set = words.next() == Some(b"set");
        let length = words.nth(3).and_then(number::unsigned_32).filter(|_| is_set);
        input.skip(end + 1);
        let Some(length) = length else { return Ok(Some(UNAUTHENTICATED)) };
        // The sum is one of 32 bits, and a value near their end is an empty one.
        let wanted = length.wrapping_add(2) as usize;
        let longest = if version.has(Novelty::TokenIsALine) { LONGEST_TOKEN } else { LONGEST_VALUE };
        if length > u32::MAX - 16 || wanted > longest {
            return Ok(Some(UNAUTHENTICATED));
        }
        self.wanted = Some(wanted);
        Ok(None)
    }

    fn read_value(&mut self, wanted: usize, input: &mut Input, state: &State) -> Result<Option<&'static str>, Turn> {
        let Some(value) = input.as_slice().get(..wanted) else { return Err(Turn::Incomplete(wanted)) };
        self.wanted = None;
        let text = judge(value, &state.settings);
        input.skip(wanted);
        if matches!(text, STORED | FAILURE) {
            add(&state.traffic.logins, 1);
            add(&state.traffic.failed_logins, usize::from(text == FAILURE));
        }
        self.complete = text == STORED;
        Ok(Some(text))
    }
}

fn judge(value: &[u8], settings: &Settings) -> &'static str {
    let Some(value) = value.strip_suffix(LINE_END) else { return BAD_END };
    let token = if settings.version.has(Novelty::TokenIsALine) { halves(value) } else { words(value) };
    let Some((name, password)) = token else { return BAD_TOKEN };
    let is_known = |user: &User| user.name.as_bytes() == name && user.password.as_bytes() == password;
    if settings.text_users.iter().any(is_known) { STORED } else { FAILURE }
}

/// The first two words; more are not looked at.
fn words(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut words = Words::new(value);
    words.next().zip(words.next())
}

/// What is before the first space, and all behind it.
fn halves(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = value.iter().position(|byte| *byte == b' ')?;
    Some((value.get(..space)?, value.get(space + 1..)?))
}

fn say(said: Option<&'static str>, replies: &mut Replies) {
    if let Some(said) = said {
        replies.push_line(said);
    }
}
