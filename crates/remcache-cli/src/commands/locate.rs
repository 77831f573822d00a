//! `locate`: the server of a key, by its placement alone or by asking the servers.

use remcache::distribution::{Explanation, Node, Ring};
use remcache::proto::Request;
use remcache::{Client, ServerHandle, Status};
use tokio::task::JoinSet;

use super::server_error::ServerError;
use crate::exit::{Exit, Failure, Outcome};
use crate::input::{Blocks, Keys};
use crate::outcome_counts::OutcomeCounts;
use crate::output::{Layout, Output, Record, TextStyle, text};
use crate::session::Session;

/// Show which server a key belongs to, and with --ask which servers have it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    keys: Keys,

    /// Show why: the hash, the point on the ring, and the next server
    #[arg(long)]
    explain: bool,

    /// Ask every server whether it has the key; exit code 1 if the server that it belongs to does not
    ///
    /// A key on another server is left over from another list of servers: no client looks for it there.
    /// Asking does not count as an access, unless the server supports only the binary or the text protocol.
    #[arg(long, conflicts_with = "explain")]
    ask: bool,
}

const COLUMNS: &[&str] = &["key", "key_b64", "server"];
const EXPLAINED: &[&str] =
    &["key", "key_b64", "server", "hash", "hash_value", "point", "point_number", "divisor", "next_servers"];
const ASKED: &[&str] = &["key", "key_b64", "server", "is_found", "found_on", "unknown_on"];

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let mut blocks = args.keys.blocks()?;
    if args.explain {
        return explain(blocks, session).await;
    }
    if args.ask {
        return ask(blocks, session).await;
    }
    let interrupt = session.interrupt.handled();
    let client = session.client()?;
    let mut list = session.output.list(COLUMNS)?;
    while let Some(keys) = blocks.next(&interrupt).await? {
        for key in &keys {
            let server = client.locate(key)?.map(|server| server.name().to_owned());
            list.push(
                |output| line(key, server.as_deref(), output),
                || Record::new().with_bytes("key", key).with("server", server.clone()),
            )?;
        }
    }
    list.end()?;
    Ok(interrupt.unless_raised(Exit::Yes))
}

fn line(key: &[u8], server: Option<&str>, output: &mut Output) -> std::io::Result<()> {
    let (key, server) = (text::inline(key), server.unwrap_or("-"));
    match output.layout() {
        Layout::Raw => output.line(format_args!("{key}\t{server}")),
        _ => output.parts(&[(TextStyle::Plain, key.into_owned()), (TextStyle::Name, format!("→ {server}"))]),
    }
}

/// The location of a key.
struct KeyLocation<'k> {
    key: &'k [u8],
    /// The server that it belongs to.
    server: Option<String>,
    /// The servers that have it.
    found_on: Vec<String>,
    /// Whether a server answered.
    has_answers: bool,
    /// The servers that did not answer, with their errors.
    failures: Vec<(String, ServerError)>,
}

async fn ask(mut blocks: Blocks, session: &mut Session) -> Outcome {
    let interrupt = session.interrupt.handled();
    let client = session.client()?;
    let mut counts = OutcomeCounts::default();
    let mut list = session.output.list(ASKED)?;
    while let Some(keys) = blocks.next(&interrupt).await? {
        for key in &keys {
            let location = KeyLocation::ask(key, &client).await?;
            location.failures.iter().for_each(|(_, error)| error.count(key, &mut counts));
            if location.has_answers {
                // If the place is unknown, the failure of its server decides the exit code.
                counts.answer(location.is_found().unwrap_or(true));
            }
            list.push(|output| location.print(output), || location.record())?;
            if interrupt.is_raised() {
                break;
            }
        }
    }
    list.end()?;
    counts.report_failures("keys", &mut session.output)?;
    Ok(interrupt.unless_raised(counts.exit()))
}

impl<'k> KeyLocation<'k> {
    async fn ask(key: &'k [u8], client: &Client) -> Result<Self, Failure> {
        let server = client.locate(key)?.map(|server| server.name().to_owned());
        let stored = [client.namespace(), key].concat();
        let mut tasks = JoinSet::new();
        for (index, server) in client.servers().into_iter().enumerate() {
            let stored = stored.clone();
            tasks.spawn(async move { (index, has(&server, &stored).await, server) });
        }
        let mut answers = tasks.join_all().await;
        answers.sort_by_key(|(index, ..)| *index);
        let has_answers = answers.iter().any(|(_, answer, _)| answer.is_ok());
        let mut location = Self { key, server, found_on: Vec::new(), has_answers, failures: Vec::new() };
        for (_, answer, server) in answers {
            let server = server.name().to_owned();
            match answer {
                Ok(true) => location.found_on.push(server),
                Ok(false) => {}
                Err(error) => location.failures.push((server, error)),
            }
        }
        Ok(location)
    }

    /// Returns whether the server that the key belongs to has it; `None` if that server did not answer.
    fn is_found(&self) -> Option<bool> {
        let Some(server) = &self.server else { return Some(false) };
        let has_failed = self.failures.iter().any(|(failed, _)| failed == server);
        (!has_failed).then(|| self.found_on.contains(server))
    }

    /// Returns the names of the servers that did not answer.
    fn unknown_on(&self) -> Vec<&str> {
        self.failures.iter().map(|(server, _)| &**server).collect()
    }

    fn print(&self, output: &mut Output) -> std::io::Result<()> {
        let key = text::inline(self.key);
        let (server, found) = (self.server.as_deref().unwrap_or("-"), self.found_on.join(", "));
        if output.layout() == Layout::Raw {
            let unknown = self.failures.iter().map(|(server, _)| format!("?{server}"));
            let servers: Vec<_> = self.found_on.iter().cloned().chain(unknown).collect();
            return output.line(format_args!("{key}\t{server}\t{}", servers.join(",")));
        }
        let (mut text, mut style) = match (self.found_on.len(), self.is_found()) {
            (0, None) => (String::new(), TextStyle::Warning),
            (0, Some(_)) if !self.failures.is_empty() => ("on no other server".to_owned(), TextStyle::Warning),
            (0, Some(_)) => ("on no server".to_owned(), TextStyle::Faint),
            (1, Some(true)) => ("found there".to_owned(), TextStyle::Good),
            (_, Some(true)) => (format!("found on {found}: no client looks for it on the others"), TextStyle::Warning),
            (_, Some(false)) => (format!("misplaced: found on {found}"), TextStyle::Warning),
            (_, None) => (format!("found on {found}"), TextStyle::Warning),
        };
        if !self.failures.is_empty() {
            let separator = if text.is_empty() { "" } else { "; " };
            text += &format!("{separator}unknown: {} did not answer", self.unknown_on().join(", "));
            style = TextStyle::Warning;
        }
        let target = (TextStyle::Name, format!("→ {server}"));
        output.parts(&[(TextStyle::Plain, key.into_owned()), target, (style, text)])
    }

    fn record(&self) -> Record {
        Record::new()
            .with_bytes("key", self.key)
            .with("server", self.server.clone())
            .with_some("is_found", self.is_found())
            .with("found_on", self.found_on.iter().map(|server| &**server).collect::<Vec<_>>())
            .with_some("unknown_on", Some(self.unknown_on()).filter(|servers| !servers.is_empty()))
    }
}

/// Returns whether a server has a key, which includes the namespace.
async fn has(server: &ServerHandle, key: &[u8]) -> Result<bool, ServerError> {
    let mut reply = server.call(Request::inspect(key)).await;
    if reply.status == Status::Unsupported {
        reply = server.call(Request::get(key)).await;
    }
    match reply.status {
        Status::NoError => Ok(true),
        Status::KeyNotFound => Ok(false),
        _ => Err(ServerError::new(&reply, server.name())),
    }
}

/// A key with the explanation of its placement.
struct ExplainedKey<'k> {
    key: &'k [u8],
    explanation: Explanation,
}

async fn explain(mut blocks: Blocks, session: &mut Session) -> Outcome {
    let names: Vec<String> = session.endpoints()?.iter().map(|endpoint| endpoint.name.to_string()).collect();
    let ring = ring(session)?;
    let namespace = session.client()?.namespace().to_vec();
    let interrupt = session.interrupt.handled();
    let mut list = session.output.list(EXPLAINED)?;
    while let Some(keys) = blocks.next(&interrupt).await? {
        for key in &keys {
            let explained = ExplainedKey::new(key, &ring, &namespace)?;
            list.push(
                |output| explained.print(ring.distribution().name(), &names, output),
                || explained.record(&names),
            )?;
        }
    }
    list.end()?;
    Ok(interrupt.unless_raised(Exit::Yes))
}

/// Builds the ring of the servers that the options name.
pub(super) fn ring(session: &Session) -> Result<Ring, Failure> {
    let nodes: Vec<Node> = session.endpoints()?.iter().map(Node::from).collect();
    session.client()?.distribution().ring(&nodes).map_err(|error| Failure::usage(error.to_string()))
}

impl<'k> ExplainedKey<'k> {
    fn new(key: &'k [u8], ring: &Ring, namespace: &[u8]) -> Result<Self, Failure> {
        let hashed = match ring.distribution().hashes_namespace() {
            true => [namespace, key].concat(),
            false => key.to_vec(),
        };
        let explanation = ring.explain(&hashed).ok_or_else(|| Failure::usage("there is no server"))?;
        Ok(Self { key, explanation })
    }

    fn print(&self, placement: &str, names: &[String], output: &mut Output) -> std::io::Result<()> {
        let Explanation { hash, value, point, divisor, server, next, .. } = &self.explanation;
        let plain = |text: String| (TextStyle::Plain, text);
        let mut parts = vec![
            plain(text::inline(self.key).into_owned()),
            (TextStyle::Name, format!("→ {}", names[*server])),
            (TextStyle::Faint, format!("hash {hash}/{placement} {value}")),
        ];
        let point = point.as_ref();
        parts.extend(
            point.map(|point| plain(format!("point {} ({}#{})", point.position, names[*server], point.number))),
        );
        parts.extend(divisor.map(|divisor| plain(format!("mod {divisor}"))));
        parts.extend(next.first().map(|next| plain(format!("next: {}", names[*next]))));
        output.parts(&parts)
    }

    fn record(&self, names: &[String]) -> Record {
        let Explanation { hash, value, point, divisor, server, next, .. } = &self.explanation;
        let next: Vec<&str> = next.iter().map(|server| &*names[*server]).collect();
        Record::new()
            .with_bytes("key", self.key)
            .with("server", &*names[*server])
            .with("hash", hash.to_string())
            .with("hash_value", &**value)
            .with_some("point", point.as_ref().map(|point| &*point.position))
            .with_some("point_number", point.as_ref().map(|point| point.number))
            .with_some("divisor", *divisor)
            .with("next_servers", next)
    }
}
