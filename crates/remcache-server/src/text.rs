//! The text wire as a server speaks it, classic and meta: lines in, operations on the store,
//! replies out.

mod admin;
mod classic;
mod dump;
mod login;
mod meta;
mod statistics;

use bytes::Bytes;
use remcache_proto::text::server::{self as serve, BAD_DATA, Command, LINE_END, Refusal};
use remcache_proto::{CowBytes, Status};
use tokio::sync::mpsc;

use crate::conversation::{Pause, Turn};
use crate::input::Input;
use crate::replies::Replies;
use crate::state::State;
use crate::store::Store;

use admin::Outcome;
use login::Login;

/// The lines that a connection watches.
pub(crate) type Watched = mpsc::Receiver<Bytes>;

/// One connection's conversation on the text wire.
#[derive(Debug)]
pub(crate) struct Conversation {
    /// The connection's number.
    number: u64,
    /// Who has to say first who it is.
    login: Option<Login>,
    /// Bytes that are thrown away before anything is read as a line, and what is said then.
    skipping: Option<(usize, Option<&'static str>)>,
    /// Whether a command was executed whose reply may not have left: what takes the connection
    /// over refuses to begin then.
    stacked: bool,
    /// How many bytes there were behind a dump: they are looked at when there are more.
    resting: Option<usize>,
    watched: Option<Watched>,
    /// How many requests were executed or refused.
    pub(crate) requests: usize,
}

/// Without a line end within so many bytes nobody speaks this wire, unless it is a fetch.
const LONGEST_LINE: usize = 2048;
/// The longest fetch; memcached has no limit.
const LONGEST_FETCH: usize = 1 << 20;
const TOO_LARGE: &str = "SERVER_ERROR object too large for cache";
const NO_MEMORY: &str = "SERVER_ERROR out of memory storing object";

/// A data block: what a command announces, and what stores it.
struct Block<'a> {
    key: &'a [u8],
    flags: u32,
    length: usize,
}

impl Conversation {
    pub(crate) fn new(state: &State, number: u64) -> Self {
        let login = (!state.settings.text_users.is_empty()).then(Login::default);
        Self { number, login, skipping: None, stacked: false, resting: None, watched: None, requests: 0 }
    }

    /// The lines that are watched from now on.
    pub(crate) fn take_watched(&mut self) -> Option<Watched> {
        self.watched.take()
    }

    /// Answers what the input holds, until there are about `limit` bytes of replies.
    pub(crate) fn go_on(&mut self, input: &mut Input, state: &State, replies: &mut Replies, limit: usize) -> Pause {
        if self.resting == Some(input.len()) {
            return Pause::NeedsInput;
        }
        self.resting = None;
        let mut store = state.store();
        store.watchers.set_speaker(self.number);
        // What was answered before has left.
        self.stacked = false;
        while replies.len() < limit {
            let turn = match (&mut self.login, self.skipping.take()) {
                (Some(login), _) => login.go_on(input, state, replies, &mut self.requests),
                (None, Some(skipping)) => self.skip(skipping, input, replies),
                (None, None) => self.turn(input, &mut store, state, replies),
            };
            match turn {
                // Whoever is known now goes on as anybody.
                Turn::Done if self.login.as_ref().is_some_and(Login::is_complete) => self.login = None,
                Turn::Done => {}
                Turn::Incomplete(length) => {
                    input.want(length);
                    return Pause::NeedsInput;
                }
                Turn::Closed => return Pause::Closed,
            }
            if self.watched.is_some() {
                return Pause::NeedsInput;
            }
        }
        Pause::Full
    }

    fn turn(&mut self, input: &mut Input, store: &mut Store, state: &State, replies: &mut Replies) -> Turn {
        let Some((line, line_length)) = serve::line(input.as_slice()) else { return without_line(input.as_slice()) };
        let dialect = state.settings.version.dialect();
        let command = match serve::parse_as(line, dialect) {
            Ok(command) => command,
            Err(refusal) => return self.refuse(refusal, line_length, input, replies),
        };
        let Some(block) = block(&command) else {
            let left = input.len() - line_length;
            let turn = self.execute(&command, None, store, state, replies);
            if matches!(turn, Turn::Incomplete(_)) {
                self.resting = Some(left);
            }
            input.skip(line_length);
            return turn;
        };
        let length = line_length + block.length + LINE_END.len();
        let size = store.limits().size(block.key.len(), block.length, block.flags);
        if size > store.limits().item_size {
            let said = self.refuse_large(&command, store);
            input.skip(line_length);
            return self.skip((length - line_length, said), input, replies);
        }
        if input.len() < length {
            return Turn::Incomplete(length);
        }
        if !input.is_worth_taking(length) {
            let turn = self.execute_with_block(&command, line_length, input.as_slice(), None, store, state, replies);
            input.skip(length);
            return turn;
        }
        // The memory that holds a large value becomes its item's.
        let whole = input.take(length);
        let line = serve::line(&whole).map(|(line, _)| serve::parse_as(line, dialect));
        match line {
            Some(Ok(command)) => {
                self.execute_with_block(&command, line_length, &whole, Some(&whole), store, state, replies)
            }
            _ => Turn::Closed,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what a turn has in its hands")]
    fn execute_with_block(
        &mut self,
        command: &Command<'_>,
        line_length: usize,
        input: &[u8],
        shared: Option<&Bytes>,
        store: &mut Store,
        state: &State,
        replies: &mut Replies,
    ) -> Turn {
        let length = block(command).map_or(0, |block| block.length);
        let value = input.get(line_length..).and_then(|rest| serve::value(rest, length));
        let Some(Ok(value)) = value else {
            self.requests += 1;
            self.stacked = true;
            // A meta command is told in any case.
            if !matches!(command, Command::Store(store) if store.quiet) {
                replies.push_line(BAD_DATA);
            }
            return Turn::Done;
        };
        let value = match shared {
            Some(whole) => CowBytes::Shared(whole.slice_ref(value)),
            None => CowBytes::from(value),
        };
        self.execute(command, Some(value), store, state, replies)
    }

    fn execute(
        &mut self,
        command: &Command<'_>,
        value: Option<CowBytes<'_>>,
        store: &mut Store,
        state: &State,
        replies: &mut Replies,
    ) -> Turn {
        self.requests += 1;
        let stacked = std::mem::replace(&mut self.stacked, true);
        match command {
            Command::Meta(command) => {
                // A no-op lets everything leave that was answered before.
                self.stacked = !meta::execute(command, value, &state.settings.version, store, replies);
            }
            Command::Version => replies.push_line(&format!("VERSION {}", state.settings.version.text())),
            Command::Quit => return Turn::Closed,
            Command::Admin(name, words) => {
                let mut ask = admin::Ask { words: words.clone(), stacked, store, state };
                let outcome = ask.execute(name);
                return self.finish(outcome, words.clone(), replies);
            }
            _ => classic::execute(command, value, store, state, replies),
        }
        Turn::Done
    }

    fn finish(&mut self, outcome: Outcome, words: serve::Words<'_>, replies: &mut Replies) -> Turn {
        match outcome {
            Outcome::Quietable(line) if words.last() != Some(b"noreply") => replies.push_line(line),
            Outcome::Quietable(_) => {}
            Outcome::Line(line) => replies.push_line(line),
            Outcome::Block(block) => {
                replies.put(&block);
                replies.end_reply();
            }
            Outcome::Dump(dump) => {
                replies.put(&dump);
                replies.end_reply();
                // What was sent behind a dump is looked at when more comes.
                return Turn::Incomplete(0);
            }
            Outcome::Watch(watched) => {
                replies.push_line("OK");
                self.watched = Some(watched);
            }
            Outcome::Close => return Turn::Closed,
        }
        Turn::Done
    }

    fn refuse(&mut self, refusal: Refusal, line_length: usize, input: &mut Input, replies: &mut Replies) -> Turn {
        self.requests += 1;
        self.stacked = true;
        input.skip(line_length);
        match refusal {
            Refusal::Close => Turn::Closed,
            Refusal::Answer { text, quiet, swallow } => self.skip((swallow, (!quiet).then_some(text)), input, replies),
        }
    }

    /// Refuses a value that is too large before it is read; what is said when it was.
    fn refuse_large(&mut self, command: &Command<'_>, store: &mut Store) -> Option<&'static str> {
        self.requests += 1;
        self.stacked = true;
        match command {
            Command::Store(asked) => {
                store.refuse(classic::mode(asked.verb).ok(), asked.key, Status::ValueTooLarge);
                (!asked.quiet).then_some(TOO_LARGE)
            }
            Command::Meta(command) => {
                store.refuse_meta(&command.key, Status::ValueTooLarge);
                Some(TOO_LARGE)
            }
            _ => None,
        }
    }

    /// Throws away what is there of the bytes to skip, and answers once all of them were.
    fn skip(&mut self, (left, said): (usize, Option<&'static str>), input: &mut Input, replies: &mut Replies) -> Turn {
        let there = left.min(input.len());
        input.skip(there);
        if there < left {
            self.skipping = Some((left - there, said));
            return Turn::Incomplete(0);
        }
        if let Some(said) = said {
            replies.push_line(said);
        }
        Turn::Done
    }
}

/// The data block that follows a command.
fn block<'a>(command: &'a Command<'_>) -> Option<Block<'a>> {
    use remcache_proto::meta::server::Operation;
    match command {
        Command::Store(store) => Some(Block { key: store.key, flags: store.flags, length: store.length }),
        Command::Meta(command) => match command.operation {
            Operation::Set { length } => Some(Block { key: &command.key, flags: command.terms.client_flags, length }),
            _ => None,
        },
        _ => None,
    }
}

/// What becomes of input without a line end: it may come, unless this is too long for a line.
fn without_line(input: &[u8]) -> Turn {
    let spaces = input.iter().take_while(|byte| **byte == b' ').count();
    let words = input.get(spaces..).unwrap_or_default();
    let is_fetch = spaces <= 100 && (words.starts_with(b"get ") || words.starts_with(b"gets "));
    let limit = if is_fetch { LONGEST_FETCH } else { LONGEST_LINE };
    if input.len() > limit { Turn::Closed } else { Turn::Incomplete(0) }
}
