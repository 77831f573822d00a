//! The server side of the text protocol, classic and meta commands: executes commands on the store and formats the
//! replies.

mod admin;
mod admin_reply;
mod auth;
mod classic;
mod dump;
mod messages;
mod meta;
mod stats;

use bytes::Bytes;
use remcache_proto::meta::server as meta_server;
use remcache_proto::text::server::{self, BAD_DATA, Command, CommandError, LINE_END};
use remcache_proto::{CowBytes, Status};

use crate::buffers::Buffers;
use crate::profile::Restrictions;
use crate::reply_buffer::ReplyBuffer;
use crate::request_buffer::RequestBuffer;
use crate::state::ServerState;
use crate::step::{Step, YieldReason};
use crate::store::Store;
use crate::watch::WatchStream;

use admin::AdminCommand;
use admin_reply::AdminReply;
use auth::TextAuth;
use messages::{LINE_TOO_LONG, MAX_LINE, OK, TOO_LARGE};

/// The session of a connection that speaks the text protocol.
#[derive(Debug)]
pub(crate) struct TextSession {
    /// The connection number.
    number: u64,
    /// The authentication, until it is complete.
    auth: Option<TextAuth>,
    discard: Option<TextDiscard>,
    /// Whether replies may not have been sent yet. Commands that take over the connection are refused then.
    has_unsent_replies: bool,
    /// The length of the input after a dump. memcached does not look at it until more arrives.
    paused_at: Option<usize>,
    watch_stream: Option<WatchStream>,
    /// The number of requests that were executed or refused.
    requests: usize,
}

/// Bytes to discard, and the line to send afterwards.
#[derive(Debug)]
struct TextDiscard {
    remaining: usize,
    reply: Option<&'static str>,
}

/// Everything that a command works on.
struct Context<'a> {
    store: &'a mut Store,
    state: &'a ServerState,
    replies: &'a mut ReplyBuffer,
}

/// The data block that a command announces.
struct DataBlock<'a> {
    key: &'a [u8],
    flags: u32,
    length: usize,
}

/// The longest line of a `get` or `gets`. memcached has no limit.
const MAX_FETCH_LINE: usize = 1 << 20;

impl TextSession {
    pub(crate) fn new(state: &ServerState, number: u64) -> Self {
        let auth = (!state.settings.text_users.is_empty()).then(TextAuth::default);
        Self {
            number,
            auth,
            discard: None,
            has_unsent_replies: false,
            paused_at: None,
            watch_stream: None,
            requests: 0,
        }
    }

    pub(crate) fn take_request_count(&mut self) -> usize {
        std::mem::take(&mut self.requests)
    }

    /// Returns the log lines if the last command was a successful `watch`.
    pub(crate) fn take_watch_stream(&mut self) -> Option<WatchStream> {
        self.watch_stream.take()
    }

    /// Processes the commands in the buffer until the limit of pending replies is reached.
    pub(crate) fn process(&mut self, buffers: Buffers<'_>, state: &ServerState) -> YieldReason {
        let Buffers { input, replies, limit } = buffers;
        if self.paused_at == Some(input.len()) {
            return YieldReason::NeedsInput;
        }
        self.paused_at = None;
        let mut store = state.store();
        store.watchers.set_connection(self.number);
        // Earlier replies have been sent by now.
        self.has_unsent_replies = false;
        let mut context = Context { store: &mut store, state, replies };
        while context.replies.len() < limit {
            match self.process_command(input, &mut context) {
                Step::Done => {}
                Step::Incomplete(length) => {
                    input.expect(length);
                    return YieldReason::NeedsInput;
                }
                Step::Close => return YieldReason::Close,
            }
            if self.watch_stream.is_some() {
                return YieldReason::NeedsInput;
            }
        }
        YieldReason::OutputFull
    }

    fn process_command(&mut self, input: &mut RequestBuffer, context: &mut Context<'_>) -> Step {
        if let Some(auth) = &mut self.auth {
            let step = auth.process(input, context.state, context.replies, &mut self.requests);
            if auth.is_complete() {
                self.auth = None;
            }
            return step;
        }
        match self.discard.take() {
            Some(discard) => self.discard(discard, input, context.replies),
            None => self.process_line(input, context),
        }
    }

    fn process_line(&mut self, input: &mut RequestBuffer, context: &mut Context<'_>) -> Step {
        let max_fetch_line = context.state.settings.restrictions.max_fetch_line;
        let Some((line, line_length)) = server::split_line(input.as_slice()) else {
            let step = check_unterminated(input.as_slice(), max_fetch_line.unwrap_or(MAX_FETCH_LINE));
            if matches!(step, Step::Close) && max_fetch_line.is_some() {
                context.replies.push_line(LINE_TOO_LONG);
            }
            return step;
        };
        if max_fetch_line.is_some_and(|max| line.len() > max) {
            context.replies.push_line(LINE_TOO_LONG);
            return Step::Close;
        }
        let server_version = context.state.settings.version.server_version();
        let command = match server::parse_for_version(line, server_version) {
            Ok(command) => command,
            Err(refusal) => return self.refuse(refusal, line_length, input, context.replies),
        };
        let Some(block) = data_block(&command) else {
            let remaining = input.len() - line_length;
            let step = self.execute(&command, None, context);
            if matches!(step, Step::Incomplete(_)) {
                self.paused_at = Some(remaining);
            }
            input.skip(line_length);
            return step;
        };
        let length = line_length + block.length + LINE_END.len();
        let limits = context.store.limits();
        if limits.size(block.key.len(), block.length, block.flags) > limits.item_size {
            let reply = self.refuse_too_large(&command, context.store);
            input.skip(line_length);
            return self.discard(TextDiscard { remaining: length - line_length, reply }, input, context.replies);
        }
        if input.len() < length {
            return Step::Incomplete(length);
        }
        if !input.should_take(length) {
            let block = &input.as_slice()[line_length..];
            let step = self.execute_with_block(&command, block, None, context);
            input.skip(length);
            return step;
        }
        // Take the memory of a large value, so that it can be stored without a copy.
        let request = input.take(length);
        match server::split_line(&request).map(|(line, _)| server::parse_for_version(line, server_version)) {
            Some(Ok(command)) => self.execute_with_block(&command, &request[line_length..], Some(&request), context),
            _ => Step::Close,
        }
    }

    /// Executes a command with its data block. `shared` is the allocation that holds the block, if the value may share
    /// it.
    fn execute_with_block(
        &mut self,
        command: &Command<'_>,
        block: &[u8],
        shared: Option<&Bytes>,
        context: &mut Context<'_>,
    ) -> Step {
        let length = data_block(command).map_or(0, |block| block.length);
        let Some(Ok(value)) = server::split_value(block, length) else {
            self.requests += 1;
            self.has_unsent_replies = true;
            // `noreply` suppresses this error; the quiet flag of a meta command does not.
            if !matches!(command, Command::Store(store) if store.quiet) {
                context.replies.push_line(BAD_DATA);
            }
            return Step::Done;
        };
        let value = match shared {
            Some(shared) => CowBytes::Shared(shared.slice_ref(value)),
            None => CowBytes::from(value),
        };
        self.execute(command, Some(value), context)
    }

    fn execute(&mut self, command: &Command<'_>, value: Option<CowBytes<'_>>, context: &mut Context<'_>) -> Step {
        self.requests += 1;
        let has_unsent_replies = std::mem::replace(&mut self.has_unsent_replies, true);
        let Context { store, state, replies } = context;
        match command {
            Command::Meta(command) if is_restricted(command, &state.settings.restrictions) => {
                replies.push_line(server::UNKNOWN);
            }
            Command::Meta(command) => {
                let is_noop = meta::execute(command, value, &state.settings.version, store, replies);
                // memcached sends all replies before it answers a no-op.
                self.has_unsent_replies = !is_noop;
            }
            Command::Version => replies.push_line(&format!("VERSION {}", state.settings.version.text())),
            Command::Quit => return Step::Close,
            Command::Admin(name, words) => {
                let mut command = AdminCommand { words: words.clone(), has_unsent_replies, store, state };
                let reply = command.execute(name);
                return self.send_admin_reply(reply, words.clone(), replies);
            }
            _ => classic::execute(command, value, store, state, replies),
        }
        Step::Done
    }

    fn send_admin_reply(&mut self, reply: AdminReply, words: server::Words<'_>, replies: &mut ReplyBuffer) -> Step {
        match reply {
            AdminReply::NoreplyLine(line) if words.last() != Some(b"noreply") => replies.push_line(line),
            AdminReply::NoreplyLine(_) => {}
            AdminReply::Line(line) => replies.push_line(line),
            AdminReply::Lines(lines) => {
                replies.put(&lines);
                replies.end_reply();
            }
            AdminReply::Dump(dump) => {
                replies.put(&dump);
                replies.end_reply();
                return Step::Incomplete(0);
            }
            AdminReply::Watch(stream) => {
                replies.push_line(OK);
                self.watch_stream = Some(stream);
            }
            AdminReply::Close => return Step::Close,
        }
        Step::Done
    }

    fn refuse(
        &mut self,
        refusal: CommandError,
        line_length: usize,
        input: &mut RequestBuffer,
        replies: &mut ReplyBuffer,
    ) -> Step {
        self.requests += 1;
        self.has_unsent_replies = true;
        input.skip(line_length);
        match refusal {
            CommandError::Close => Step::Close,
            CommandError::Reply { text, quiet, discard } => {
                let discard = TextDiscard { remaining: discard, reply: (!quiet).then_some(text) };
                self.discard(discard, input, replies)
            }
        }
    }

    /// Refuses a value that is too large before it is read. Returns the line to send after discarding it.
    fn refuse_too_large(&mut self, command: &Command<'_>, store: &mut Store) -> Option<&'static str> {
        self.requests += 1;
        self.has_unsent_replies = true;
        match command {
            Command::Store(request) => {
                store.refuse(classic::mode(request.operation).ok(), request.key, Status::ValueTooLarge);
                (!request.quiet).then_some(TOO_LARGE)
            }
            Command::Meta(command) => {
                store.refuse_meta(&command.key, Status::ValueTooLarge);
                Some(TOO_LARGE)
            }
            _ => None,
        }
    }

    /// Discards the bytes that have arrived. Replies once all of them have.
    fn discard(&mut self, discard: TextDiscard, input: &mut RequestBuffer, replies: &mut ReplyBuffer) -> Step {
        let TextDiscard { remaining, reply } = discard;
        let available = remaining.min(input.len());
        input.skip(available);
        if available < remaining {
            self.discard = Some(TextDiscard { remaining: remaining - available, reply });
            return Step::Incomplete(0);
        }
        if let Some(line) = reply {
            replies.push_line(line);
        }
        Step::Done
    }
}

/// Returns the data block that follows a command.
fn data_block<'a>(command: &'a Command<'_>) -> Option<DataBlock<'a>> {
    match command {
        Command::Store(store) => Some(DataBlock { key: store.key, flags: store.flags, length: store.length }),
        Command::Meta(command) => match command.operation {
            meta_server::MetaOperation::Set { length } => {
                Some(DataBlock { key: &command.key, flags: command.options.client_flags, length })
            }
            _ => None,
        },
        _ => None,
    }
}

fn is_restricted(command: &meta_server::MetaCommand<'_>, restrictions: &Restrictions) -> bool {
    restrictions.no_meta_debug && command.operation == meta_server::MetaOperation::Debug
}

/// Closes the connection if the input, which has no line end, is too long for a line.
fn check_unterminated(input: &[u8], max_fetch_line: usize) -> Step {
    let spaces = input.iter().take_while(|byte| **byte == b' ').count();
    let words = input.get(spaces..).unwrap_or_default();
    // memcached looks for these names after at most 100 spaces.
    let is_fetch = spaces <= 100 && (words.starts_with(b"get ") || words.starts_with(b"gets "));
    let limit = if is_fetch { max_fetch_line } else { MAX_LINE };
    if input.len() > limit { Step::Close } else { Step::Incomplete(0) }
}
