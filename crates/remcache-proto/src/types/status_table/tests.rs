//! Tests of the status table, and of its copy in docs/protocols.md.

use super::*;
use crate::types::status::Delivery;

/// Returns the next status, in a fixed order; a new status does not compile until it is added.
fn after(status: Status) -> Option<Status> {
    use Status::*;
    Some(match status {
        NoError => KeyNotFound,
        KeyNotFound => KeyExists,
        KeyExists => ValueTooLarge,
        ValueTooLarge => InvalidArguments,
        InvalidArguments => ItemNotStored,
        ItemNotStored => NonNumericValue,
        NonNumericValue => WrongBucket,
        WrongBucket => AuthError,
        AuthError => AuthContinue,
        AuthContinue => UnknownCommand,
        UnknownCommand => OutOfMemory,
        OutOfMemory => Unsupported,
        Unsupported => InternalError,
        InternalError => Busy,
        Busy => TemporaryFailure,
        TemporaryFailure => Unknown(0x7777),
        Unknown(_) => Disconnected(Delivery::NotSent),
        Disconnected(_) => TimedOut(Delivery::NotSent),
        TimedOut(_) => Overloaded,
        Overloaded => TlsError,
        TlsError => Misconfigured,
        Misconfigured => InvalidKey,
        InvalidKey => return None,
    })
}

fn statuses() -> impl Iterator<Item = Status> {
    std::iter::successors(Some(Status::NoError), |status| after(*status))
}

fn answers() -> impl Iterator<Item = (Word, &'static [Operation], Status)> {
    ROWS.iter().flat_map(|row| row.answers.iter().map(|(word, operations)| (*word, *operations, row.status)))
}

#[test]
fn every_server_status_has_exactly_one_row() {
    for status in statuses() {
        let rows = ROWS.iter().filter(|row| row.status == status).count();
        let is_said = status.is_from_server() && !matches!(status, Status::Unknown(_));
        assert_eq!(rows, usize::from(is_said), "{status:?}");
    }
    assert_eq!(statuses().count(), ROWS.len() + 7, "statuses of the client, and unknown codes");
}

#[test]
fn every_row_has_a_binary_code_and_round_trips_on_each_protocol() {
    for row in ROWS {
        assert_eq!(row.code().map(of_code), Some(row.status));
        for code in row.codes {
            assert_eq!(of_code(*code), row.status, "{code:#04x}");
        }
        for (word, operations) in row.answers {
            for operation in *operations {
                assert_eq!(word.answers(*operation), Some(row.status), "{word:?} to {operation:?}");
            }
        }
        for text in row.refusals {
            for line in [(*text).to_owned(), format!("{text} more"), format!("{text}, more")] {
                assert_eq!(of_error_line(line.as_bytes()), Some(row.status), "{line}");
            }
        }
    }
}

#[test]
fn no_code_or_token_is_ambiguous() {
    let codes: Vec<u16> = ROWS.iter().flat_map(|row| row.codes).copied().collect();
    let words: Vec<String> = answers()
        .flat_map(|(word, operations, _)| operations.iter().map(move |operation| format!("{word:?} {operation:?}")))
        .collect();
    let texts: Vec<&str> = ROWS.iter().flat_map(|row| row.refusals).copied().collect();
    fn is_unique<T: PartialEq>(list: &[T]) -> bool {
        list.iter().enumerate().all(|(index, one)| list.iter().position(|other| other == one) == Some(index))
    }
    assert!(is_unique(&codes) && is_unique(&words) && is_unique(&texts));
    assert!(codes.iter().all(|code| usize::from(*code) <= MAX_CODE));
}

/// The token of each word, in the order of the type.
const LETTERS: [&str; Word::COUNT] = [
    "HD",
    "VA",
    "EN",
    "NF",
    "NS",
    "EX",
    "MN",
    "STORED",
    "NOT_STORED",
    "EXISTS",
    "NOT_FOUND",
    "DELETED",
    "TOUCHED",
    "OK",
    "END",
    "ERROR",
];

#[test]
fn every_token_is_parsed_and_has_a_status() {
    for (index, letters) in LETTERS.iter().enumerate() {
        let code = <[u8; 2]>::try_from(letters.as_bytes()).ok().and_then(Word::of_code);
        let word = Word::of(letters.as_bytes());
        assert!(code.is_none() || word.is_none(), "{letters} is of one protocol");
        let word = code.or(word).unwrap();
        assert_eq!(word as usize, index, "{letters}");
        assert!(answers().any(|(known, ..)| known == word), "{letters}");
    }
    for other in ["", "H", "HDD", "hd", "XX", "STOREDX", "STORE", "ME"] {
        assert_eq!(Word::of(other.as_bytes()), None, "{other}");
        assert_eq!(<[u8; 2]>::try_from(other.as_bytes()).ok().and_then(Word::of_code), None, "{other}");
    }
}

// ---- The document ----

fn in_code<T: std::fmt::Display>(texts: impl Iterator<Item = T>) -> String {
    texts.map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ")
}

/// Returns the tokens of a row on a protocol, each with the operations that it answers.
fn words_of(row: &StatusRow, is_of_protocol: fn(Word) -> bool) -> String {
    let said = row.answers.iter().filter(|(word, _)| is_of_protocol(*word)).map(|(word, operations)| {
        let operations: Vec<String> = operations.iter().map(|operation| format!("{operation:?}")).collect();
        format!("`{}` to {}", LETTERS[*word as usize], operations.join(", "))
    });
    said.collect::<Vec<_>>().join("; ")
}

fn is_meta(word: Word) -> bool {
    word as usize <= Word::NoOp as usize
}

/// Returns the table in the format of the document.
fn document() -> String {
    let mut table = "| status | binary | meta | text | error lines of both |\n|---|---|---|---|---|\n".to_owned();
    for row in ROWS {
        table += &format!(
            "| `{:?}` | {} | {} | {} | {} |\n",
            row.status,
            in_code(row.codes.iter().map(|code| format!("{code:#04x}"))),
            words_of(row, is_meta),
            words_of(row, |word| !is_meta(word)),
            in_code(row.refusals.iter()),
        );
    }
    table.replace("|  |", "| |").replace("|  |", "| |")
}

#[test]
fn the_document_shows_the_table() {
    let (text, table) = (include_str!("../../../../../docs/protocols.md"), document());
    assert!(text.contains(&table), "docs/protocols.md should have this table:\n{table}");
}
