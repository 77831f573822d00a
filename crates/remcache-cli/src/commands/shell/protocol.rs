//! The commands of the text and meta protocols that the shell sends, and the form of their replies.

/// A command of the protocol.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ProtocolCommand {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    /// Which word of the line is the key, if one is.
    pub(super) key: Option<usize>,
    /// Which word of the line is the length of the data on the next line, if there is one.
    pub(super) length: Option<usize>,
}

const fn command(name: &'static str, help: &'static str, key: Option<usize>, length: Option<usize>) -> ProtocolCommand {
    ProtocolCommand { name, help, key, length }
}

/// The commands that are sent unchanged. Those whose name is also a command of the tool need `raw` before them.
pub(super) const COMMANDS: &[ProtocolCommand] = &[
    command("mg", "meta get: mg KEY FLAGS", Some(1), None),
    command("ms", "meta set: ms KEY LENGTH FLAGS, and the value on the next line", Some(1), Some(2)),
    command("md", "meta delete: md KEY FLAGS", Some(1), None),
    command("ma", "meta arithmetic: ma KEY FLAGS", Some(1), None),
    command("me", "meta debug: the properties of an item", Some(1), None),
    command("mn", "meta no-op: a reply without data", None, None),
    command("get", "fetch values", Some(1), None),
    command("gets", "fetch values with their CAS values", Some(1), None),
    command("gat", "fetch values and set a new time to live: gat TTL KEY", Some(2), None),
    command("gats", "the same with CAS values", Some(2), None),
    command("set", "set KEY FLAGS TTL LENGTH, and the value on the next line", Some(1), Some(4)),
    command("add", "the same if there is no item", Some(1), Some(4)),
    command("replace", "the same if there is an item", Some(1), Some(4)),
    command("append", "append bytes to a value", Some(1), Some(4)),
    command("prepend", "prepend bytes to a value", Some(1), Some(4)),
    command("cas", "cas KEY FLAGS TTL LENGTH CAS, and the value on the next line", Some(1), Some(4)),
    command("delete", "remove an item", Some(1), None),
    command("incr", "incr KEY N", Some(1), None),
    command("decr", "decr KEY N", Some(1), None),
    command("touch", "touch KEY TTL", Some(1), None),
    command("stats", "statistics: stats, stats slabs, stats detail on, stats reset", None, None),
    command("version", "the server's version", None, None),
    command("verbosity", "how much the server logs", None, None),
    command("flush_all", "remove ALL items; asks for confirmation", None, None),
    command("cache_memlimit", "change the memory of the server, in MiB", None, None),
    command("lru_crawler", "lru_crawler metadump all, crawl, enable, …", None, None),
    command("lru", "lru mode|tune|temp_ttl", None, None),
    command("slabs", "slabs reassign|automove", None, None),
    command("refresh_certs", "read the certificates again", None, None),
    command("shutdown", "stop the server, if it allows that; asks for confirmation", None, None),
];

/// The flags of `mg`, for completion: most mean the same in other meta commands.
pub(super) const META_FLAGS: &[(&str, &str)] = &[
    ("v", "the value"),
    ("f", "the client's flags"),
    ("c", "the CAS value"),
    ("s", "the size of the value"),
    ("t", "the remaining time to live in seconds"),
    ("h", "whether it was fetched before"),
    ("l", "the seconds since it was accessed"),
    ("k", "the key"),
    ("O", "an opaque that the reply repeats: O123"),
    ("q", "no reply on a miss"),
    ("u", "do not count an access"),
    ("b", "the key is base64"),
    ("T", "a new time to live: T30"),
    ("N", "store an empty item on a miss: N30"),
    ("R", "win the right to refresh if less than this is left: R30"),
];

/// A parsed line of the protocol.
#[derive(Debug)]
pub(super) struct ProtocolLine<'l> {
    pub(super) command: &'static ProtocolCommand,
    words: Vec<&'l [u8]>,
}

impl<'l> ProtocolLine<'l> {
    /// Reads a line, if it begins with a word of the protocol.
    pub(super) fn parse(line: &'l [u8]) -> Option<Self> {
        let words: Vec<_> = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).collect();
        let first = words.first()?;
        let command = COMMANDS.iter().find(|command| command.name.as_bytes() == *first)?;
        Some(Self { command, words })
    }

    /// Returns the key that it is about.
    pub(super) fn key(&self) -> Option<&'l [u8]> {
        self.words.get(self.command.key?).copied()
    }

    /// Returns whether its key is written in base64.
    pub(super) fn is_base64(&self) -> bool {
        self.is_meta() && self.flags().contains(&&b"b"[..])
    }

    /// Returns the number of data bytes that follow, if any.
    pub(super) fn data(&self) -> Option<usize> {
        let length = self.words.get(self.command.length?)?;
        std::str::from_utf8(length).ok()?.parse().ok()
    }

    /// Returns whether the server may omit the reply.
    pub(super) fn is_quiet(&self) -> bool {
        if self.is_meta() { self.flags().contains(&&b"q"[..]) } else { self.words.last() == Some(&&b"noreply"[..]) }
    }

    /// Returns whether items, or the server itself, would be gone.
    pub(super) fn is_destructive(&self) -> bool {
        matches!(self.command.name, "flush_all" | "shutdown")
    }

    /// Returns whether it ends with the connection.
    pub(super) fn closes_connection(&self) -> bool {
        self.command.name == "shutdown"
    }

    /// Returns whether the answer is a list that may begin with `OK`.
    pub(super) fn is_listing(&self) -> bool {
        matches!(self.words.get(1), Some(&b"metadump" | &b"mgdump"))
    }

    fn is_meta(&self) -> bool {
        matches!(self.command.name, "mg" | "ms" | "md" | "ma" | "me")
    }

    /// Returns the flags of a meta command.
    fn flags(&self) -> &[&'l [u8]] {
        let first = if self.command.name == "ms" { 3 } else { 2 };
        self.words.get(first..).unwrap_or_default()
    }
}

/// The kind of data after a line of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another line.
    Line,
    /// The remaining bytes of a value, and then another line if `more_follows`.
    Data { length: usize, more_follows: bool },
    /// Nothing: that was all.
    End,
}

impl Next {
    /// Returns the kind of data after this line of the reply.
    pub(super) fn after(line: &[u8], parsed: &ProtocolLine<'_>) -> Self {
        let mut words = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
        let first = words.next().unwrap_or_default();
        let mut number = |skipped: usize| {
            let word = std::str::from_utf8(words.nth(skipped)?).ok()?;
            word.parse::<usize>().ok()
        };
        let is_quiet = parsed.is_quiet();
        let next = match first {
            b"VALUE" | b"CONFIG" => number(2).map(|length| Self::Data { length, more_follows: true }),
            b"VA" => number(0).map(|length| Self::Data { length, more_follows: is_quiet }),
            b"STAT" | b"ITEM" | b"PREFIX" => Some(Self::Line),
            b"OK" | b"mg" if parsed.is_listing() => Some(Self::Line),
            b"MN" => Some(Self::End),
            _ if first.starts_with(b"key=") || is_quiet => Some(Self::Line),
            _ => Some(Self::End),
        };
        // An invalid length: what follows cannot be parsed.
        next.unwrap_or(Self::End)
    }
}

/// The kind of a line of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyKind {
    Success,
    /// A miss, not stored, a conflict.
    Negative,
    /// The server refuses it; what follows on the connection is not certain.
    Error,
}

impl ReplyKind {
    pub(super) fn of(line: &[u8]) -> Self {
        let end = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
        match &line[..end] {
            b"EN" | b"NF" | b"NS" | b"EX" | b"NOT_FOUND" | b"NOT_STORED" | b"EXISTS" => Self::Negative,
            b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR" | b"BUSY" | b"BADCLASS" => Self::Error,
            _ => Self::Success,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_names_are_unique() {
        for (index, word) in COMMANDS.iter().enumerate() {
            assert!(COMMANDS[..index].iter().all(|other| other.name != word.name), "{}", word.name);
        }
    }

    #[test]
    fn lines_are_parsed() {
        for (line, key, data, is_base64, is_quiet) in [
            ("mg user:1 v t", Some("user:1"), None, false, false),
            ("mg dXNlcg== b q", Some("dXNlcg=="), None, true, true),
            ("mg q", Some("q"), None, false, false),
            ("ms b 5 T0", Some("b"), Some(5), false, false),
            ("ms k 5 q", Some("k"), Some(5), false, true),
            ("get a b", Some("a"), None, false, false),
            ("gat 10 a b", Some("a"), None, false, false),
            ("set k 0 0 3", Some("k"), Some(3), false, false),
            ("set k 0 0 3 noreply", Some("k"), Some(3), false, true),
            ("stats slabs", None, None, false, false),
            ("ms k much", Some("k"), None, false, false),
        ] {
            let parsed = ProtocolLine::parse(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(parsed.key(), key.map(str::as_bytes), "{line}");
            assert_eq!((parsed.data(), parsed.is_base64(), parsed.is_quiet()), (data, is_base64, is_quiet), "{line}");
        }
        assert!(ProtocolLine::parse(b"bench --time 1s").is_none() && ProtocolLine::parse(b"").is_none());
    }

    #[test]
    fn the_end_of_a_reply_is_detected() {
        use Next::{Data, End, Line};
        let cases = [
            ("mg k v", "VA 5 t30", Data { length: 5, more_follows: false }),
            ("mg k v q", "VA 5", Data { length: 5, more_follows: true }),
            ("mg k", "HD", End),
            ("mg k", "EN", End),
            ("mg k q", "EN", Line),
            ("mg k q", "MN", End),
            ("get a", "VALUE a 0 3", Data { length: 3, more_follows: true }),
            ("get a", "VALUE a 0 x", End),
            ("get a", "END", End),
            ("stats", "STAT pid 1", Line),
            ("stats detail dump", "PREFIX user get 1 hit 1 set 1 del 0", Line),
            ("stats reset", "RESET", End),
            ("lru_crawler metadump all", "OK", Line),
            ("lru_crawler metadump all", "key=a exp=-1", Line),
            ("lru_crawler mgdump all", "mg a", Line),
            ("lru_crawler mgdump all", "EN", End),
            ("lru_crawler enable", "OK", End),
            ("incr n 1", "7", End),
            ("nonsense", "ERROR", End),
        ];
        for (line, answer, expected) in cases {
            let parsed = ProtocolLine::parse(line.as_bytes()).or_else(|| ProtocolLine::parse(b"mn")).unwrap();
            assert_eq!(Next::after(answer.as_bytes(), &parsed), expected, "{line}: {answer}");
        }
    }

    #[test]
    fn replies_are_classified() {
        for (line, kind) in [
            ("HD", ReplyKind::Success),
            ("VA 3", ReplyKind::Success),
            ("EN", ReplyKind::Negative),
            ("NOT_FOUND", ReplyKind::Negative),
            ("CLIENT_ERROR bad data chunk", ReplyKind::Error),
            ("ERROR", ReplyKind::Error),
            ("ERRORS", ReplyKind::Success),
        ] {
            assert_eq!(ReplyKind::of(line.as_bytes()), kind, "{line}");
        }
    }
}
