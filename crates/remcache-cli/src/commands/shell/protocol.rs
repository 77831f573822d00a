//! The words of the text protocol that a line of the shell may begin with, and what their answers look like.

/// A command of the protocol.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    /// Which word of the line is the key, if one is.
    pub(super) key: Option<usize>,
    /// Which word of the line is the length of the data on the next line, if there is one.
    pub(super) length: Option<usize>,
}

const fn word(name: &'static str, help: &'static str, key: Option<usize>, length: Option<usize>) -> Word {
    Word { name, help, key, length }
}

/// Every command that can be sent as it is. Those that are commands of the tool too want `raw` before them.
pub(super) const WORDS: &[Word] = &[
    word("mg", "meta get: mg KEY FLAGS", Some(1), None),
    word("ms", "meta set: ms KEY LENGTH FLAGS, and the value on the next line", Some(1), Some(2)),
    word("md", "meta delete: md KEY FLAGS", Some(1), None),
    word("ma", "meta arithmetic: ma KEY FLAGS", Some(1), None),
    word("me", "meta debug: what the server knows of an item", Some(1), None),
    word("mn", "meta no-op: an answer, and nothing else", None, None),
    word("get", "fetch values", Some(1), None),
    word("gets", "fetch values with their CAS values", Some(1), None),
    word("gat", "fetch values and give them a new time to live: gat TTL KEY", Some(2), None),
    word("gats", "the same with CAS values", Some(2), None),
    word("set", "set KEY FLAGS TTL LENGTH, and the value on the next line", Some(1), Some(4)),
    word("add", "the same if there is no item", Some(1), Some(4)),
    word("replace", "the same if there is an item", Some(1), Some(4)),
    word("append", "put bytes behind a value", Some(1), Some(4)),
    word("prepend", "put bytes before a value", Some(1), Some(4)),
    word("cas", "cas KEY FLAGS TTL LENGTH CAS, and the value on the next line", Some(1), Some(4)),
    word("delete", "remove an item", Some(1), None),
    word("incr", "incr KEY N", Some(1), None),
    word("decr", "decr KEY N", Some(1), None),
    word("touch", "touch KEY TTL", Some(1), None),
    word("stats", "statistics: stats, stats slabs, stats detail on, stats reset", None, None),
    word("version", "the server's version", None, None),
    word("verbosity", "how much the server logs", None, None),
    word("flush_all", "remove ALL items; asks", None, None),
    word("cache_memlimit", "change the memory of the server, in MiB", None, None),
    word("lru_crawler", "lru_crawler metadump all, crawl, enable, …", None, None),
    word("lru", "lru mode|tune|temp_ttl", None, None),
    word("slabs", "slabs reassign|automove", None, None),
    word("refresh_certs", "read the certificates again", None, None),
    word("shutdown", "end the server, if it allows that; asks", None, None),
];

/// The flags of `mg`, for completion: they mean about the same elsewhere.
pub(super) const META_FLAGS: &[(&str, &str)] = &[
    ("v", "the value"),
    ("f", "the client's flags"),
    ("c", "the CAS value"),
    ("s", "the size of the value"),
    ("t", "the seconds that it has to live"),
    ("h", "whether it was fetched before"),
    ("l", "the seconds since it was accessed"),
    ("k", "the key"),
    ("O", "an opaque that comes back: O123"),
    ("q", "say nothing of a miss"),
    ("u", "count no access"),
    ("b", "the key is base64"),
    ("T", "a new time to live: T30"),
    ("N", "store an empty item on a miss: N30"),
    ("R", "win the recaching if less than this is left: R30"),
];

/// A line that goes to a server as it is.
#[derive(Debug)]
pub(super) struct Sent<'l> {
    pub(super) word: &'static Word,
    words: Vec<&'l [u8]>,
}

impl<'l> Sent<'l> {
    /// Reads a line, if it begins with a word of the protocol.
    pub(super) fn parse(line: &'l [u8]) -> Option<Self> {
        let words: Vec<_> = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).collect();
        let first = words.first()?;
        let word = WORDS.iter().find(|word| word.name.as_bytes() == *first)?;
        Some(Self { word, words })
    }

    /// The key that it is about.
    pub(super) fn key(&self) -> Option<&'l [u8]> {
        self.words.get(self.word.key?).copied()
    }

    /// Whether its key is written in base64.
    pub(super) fn is_base64(&self) -> bool {
        self.is_meta() && self.flags().contains(&&b"b"[..])
    }

    /// The number of data bytes that follow, if any.
    pub(super) fn data(&self) -> Option<usize> {
        let length = self.words.get(self.word.length?)?;
        std::str::from_utf8(length).ok()?.parse().ok()
    }

    /// Whether the server may omit the reply.
    pub(super) fn is_quiet(&self) -> bool {
        if self.is_meta() { self.flags().contains(&&b"q"[..]) } else { self.words.last() == Some(&&b"noreply"[..]) }
    }

    /// Whether items, or the server itself, would be gone.
    pub(super) fn is_grave(&self) -> bool {
        matches!(self.word.name, "flush_all" | "shutdown")
    }

    /// Whether it ends with the connection.
    pub(super) fn is_last(&self) -> bool {
        self.word.name == "shutdown"
    }

    /// Whether the answer is a list that may begin with `OK`.
    pub(super) fn is_dump(&self) -> bool {
        matches!(self.words.get(1), Some(&b"metadump" | &b"mgdump"))
    }

    fn is_meta(&self) -> bool {
        matches!(self.word.name, "mg" | "ms" | "md" | "ma" | "me")
    }

    /// The flags of a meta command.
    fn flags(&self) -> &[&'l [u8]] {
        let first = if self.word.name == "ms" { 3 } else { 2 };
        self.words.get(first..).unwrap_or_default()
    }
}

/// The kind of data after a line of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another line.
    Line,
    /// The remaining bytes of a value, and then another line if `goes_on`.
    Data { length: usize, goes_on: bool },
    /// Nothing: that was all.
    End,
}

impl Next {
    /// Returns the kind of data after this line of the reply.
    pub(super) fn after(line: &[u8], sent: &Sent<'_>) -> Self {
        let mut words = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
        let first = words.next().unwrap_or_default();
        let mut number = |skipped: usize| {
            let word = std::str::from_utf8(words.nth(skipped)?).ok()?;
            word.parse::<usize>().ok()
        };
        let is_quiet = sent.is_quiet();
        let next = match first {
            b"VALUE" | b"CONFIG" => number(2).map(|length| Self::Data { length, goes_on: true }),
            b"VA" => number(0).map(|length| Self::Data { length, goes_on: is_quiet }),
            b"STAT" | b"ITEM" | b"PREFIX" => Some(Self::Line),
            b"OK" | b"mg" if sent.is_dump() => Some(Self::Line),
            b"MN" => Some(Self::End),
            _ if first.starts_with(b"key=") || is_quiet => Some(Self::Line),
            _ => Some(Self::End),
        };
        // An invalid length: what follows cannot be parsed.
        next.unwrap_or(Self::End)
    }
}

/// The meaning of a line of a reply for the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Yes,
    /// A miss, not stored, a conflict.
    No,
    /// The server refuses it; what follows on the connection is not certain.
    Error,
}

impl Meaning {
    pub(super) fn of(line: &[u8]) -> Self {
        let end = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
        match &line[..end] {
            b"EN" | b"NF" | b"NS" | b"EX" | b"NOT_FOUND" | b"NOT_STORED" | b"EXISTS" => Self::No,
            b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR" | b"BUSY" | b"BADCLASS" => Self::Error,
            _ => Self::Yes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_words_are_the_same() {
        for (index, word) in WORDS.iter().enumerate() {
            assert!(WORDS[..index].iter().all(|other| other.name != word.name), "{}", word.name);
        }
    }

    #[test]
    fn lines_are_taken_apart() {
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
            let sent = Sent::parse(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(sent.key(), key.map(str::as_bytes), "{line}");
            assert_eq!((sent.data(), sent.is_base64(), sent.is_quiet()), (data, is_base64, is_quiet), "{line}");
        }
        assert!(Sent::parse(b"bench --time 1s").is_none() && Sent::parse(b"").is_none());
    }

    #[test]
    fn answers_end_where_they_end() {
        use Next::{Data, End, Line};
        let cases = [
            ("mg k v", "VA 5 t30", Data { length: 5, goes_on: false }),
            ("mg k v q", "VA 5", Data { length: 5, goes_on: true }),
            ("mg k", "HD", End),
            ("mg k", "EN", End),
            ("mg k q", "EN", Line),
            ("mg k q", "MN", End),
            ("get a", "VALUE a 0 3", Data { length: 3, goes_on: true }),
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
            let sent = Sent::parse(line.as_bytes()).or_else(|| Sent::parse(b"mn")).unwrap();
            assert_eq!(Next::after(answer.as_bytes(), &sent), expected, "{line}: {answer}");
        }
    }

    #[test]
    fn answers_mean_something() {
        for (line, meaning) in [
            ("HD", Meaning::Yes),
            ("VA 3", Meaning::Yes),
            ("EN", Meaning::No),
            ("NOT_FOUND", Meaning::No),
            ("CLIENT_ERROR bad data chunk", Meaning::Error),
            ("ERROR", Meaning::Error),
            ("ERRORS", Meaning::Yes),
        ] {
            assert_eq!(Meaning::of(line.as_bytes()), meaning, "{line}");
        }
    }
}
