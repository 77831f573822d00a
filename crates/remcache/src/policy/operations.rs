//! What each operation allows: whether it may be repeated, and what it does where there are copies.

use crate::proto::{Operation, Request};

use super::retry::Retries;

/// Whether a request that may have been executed is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Twice is the same as once.
    Idempotent,
    /// Only if [`Retries`] says so.
    OptIn,
    /// Twice is not the same as once.
    Never,
}

/// What a request does where there are several copies of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaPolicy {
    /// It asks the first copy, and the next one if that has nothing or fails.
    Read,
    /// It is done to every copy; the first that has done it speaks.
    WriteAll,
    /// Sent to every replica and to the fallback; any failure is reported.
    DeleteAll,
    /// It is done to the first copy, and the others are deleted: done to each, they would drift apart.
    WriteFirst,
}

/// One operation.
struct Row {
    operation: Operation,
    repeat: Repeat,
    replica_policy: ReplicaPolicy,
    /// Whether it gives an item a time to live.
    has_ttl: bool,
}

const fn row(operation: Operation, repeat: Repeat, replica_policy: ReplicaPolicy, has_ttl: bool) -> Row {
    Row { operation, repeat, replica_policy, has_ttl }
}

/// The operations that may be repeated, or of which copies know more than one; any other is never
/// repeated and done to the first copy alone.
const ROWS: &[Row] = &[
    row(Operation::Get, Repeat::Idempotent, ReplicaPolicy::Read, false),
    row(Operation::Version, Repeat::Idempotent, ReplicaPolicy::WriteFirst, false),
    row(Operation::NoOp, Repeat::Idempotent, ReplicaPolicy::WriteFirst, false),
    row(Operation::Set, Repeat::OptIn, ReplicaPolicy::WriteAll, true),
    row(Operation::Delete, Repeat::OptIn, ReplicaPolicy::DeleteAll, false),
    row(Operation::GetAndTouch, Repeat::Never, ReplicaPolicy::Read, true),
    row(Operation::Touch, Repeat::Never, ReplicaPolicy::WriteAll, true),
    row(Operation::Add, Repeat::Never, ReplicaPolicy::WriteFirst, true),
    row(Operation::Replace, Repeat::Never, ReplicaPolicy::WriteFirst, true),
    row(Operation::Append, Repeat::Never, ReplicaPolicy::WriteFirst, false),
    row(Operation::Prepend, Repeat::Never, ReplicaPolicy::WriteFirst, false),
    row(Operation::Increment, Repeat::Never, ReplicaPolicy::WriteFirst, true),
    row(Operation::Decrement, Repeat::Never, ReplicaPolicy::WriteFirst, true),
];

fn find(operation: Operation) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.operation == operation)
}

/// Whether a request may be sent again although it may have been executed.
pub(crate) fn may_repeat(request: &Request<'_>, retries: &Retries) -> bool {
    // With a condition the second one fails because the first succeeded.
    let is_conditional = request.condition() != 0;
    match find(request.operation()).map_or(Repeat::Never, |row| row.repeat) {
        Repeat::Idempotent => !is_conditional,
        Repeat::OptIn => !is_conditional && retries.opts_in(request.operation()),
        Repeat::Never => false,
    }
}

/// What a request does where there are copies.
pub(crate) fn replica_policy(request: &Request<'_>) -> ReplicaPolicy {
    match find(request.operation()) {
        // A CAS value is one server's own.
        Some(row) if request.condition() == 0 || row.replica_policy == ReplicaPolicy::Read => row.replica_policy,
        _ => ReplicaPolicy::WriteFirst,
    }
}

/// Whether a request gives an item a time to live.
pub(crate) fn has_ttl(request: &Request<'_>) -> bool {
    find(request.operation()).is_some_and(|row| row.has_ttl)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Ttl;

    /// The methods of the operations, in the order of the table.
    const NAMES: [&str; ROWS.len()] = [
        "get",
        "version",
        "noop",
        "set",
        "delete",
        "get_and_touch",
        "touch",
        "add",
        "replace",
        "append",
        "prepend",
        "increment",
        "decrement",
    ];

    /// The table as docs/guarantees.md prints it.
    fn printed() -> String {
        let row = |(row, name): (&Row, &str)| {
            let repeat = match row.repeat {
                Repeat::Idempotent => "yes",
                Repeat::OptIn => "if opted in",
                Repeat::Never => "never",
            };
            let replica_policy = match (row.operation.has_key(), row.replica_policy) {
                (false, _) => "",
                (_, ReplicaPolicy::Read) => "the first copy, then the next",
                (_, ReplicaPolicy::WriteAll) => "every copy; the first that has done it speaks",
                (_, ReplicaPolicy::DeleteAll) => "every copy and the fallback; any failure of a copy is reported",
                (_, ReplicaPolicy::WriteFirst) => "the first copy; the others are deleted",
            };
            let capped = if row.has_ttl { "yes" } else { "" };
            format!("| `{name}` | {repeat} | {replica_policy} | {capped} |\n")
        };
        let head = "| operation | repeated after `MaybeSent` | goes to | capped at a fallback |\n|---|---|---|---|\n";
        ROWS.iter().zip(NAMES).map(row).fold(head.to_owned(), |table, row| table + &row)
    }

    #[test]
    fn the_documents_print_this_table() {
        let text = include_str!("../../../../docs/guarantees.md");
        assert!(text.contains(&printed()), "docs/guarantees.md should have:\n{}", printed());
    }

    #[test]
    fn no_operation_is_there_twice() {
        for (place, row) in ROWS.iter().enumerate() {
            assert!(ROWS[place + 1..].iter().all(|other| other.operation != row.operation), "{:?}", row.operation);
        }
    }

    #[test]
    fn only_what_is_idempotent_or_opted_in_is_repeated() {
        let (none, all) = (Retries::none(), Retries::up_to(1).sets().deletes());
        for (request, by_default, opted_in) in [
            (Request::get("k"), true, true),
            (Request::version(), true, true),
            (Request::noop(), true, true),
            (Request::set("k", "v"), false, true),
            (Request::delete("k"), false, true),
            (Request::set("k", "v").cas(7), false, false),
            (Request::delete("k").cas(7), false, false),
            (Request::get_and_touch("k", Ttl::Never), false, false),
            (Request::touch("k", Ttl::Never), false, false),
            (Request::add("k", "v"), false, false),
            (Request::replace("k", "v"), false, false),
            (Request::append("k", "v"), false, false),
            (Request::prepend("k", "v"), false, false),
            (Request::increment("k", 1), false, false),
            (Request::decrement("k", 1).initial(0), false, false),
            (Request::flush(), false, false),
            (Request::verbosity(1), false, false),
            (Request::quit(), false, false),
        ] {
            let repeats = (may_repeat(&request, &none), may_repeat(&request, &all));
            assert_eq!(repeats, (by_default, opted_in), "{request:?}");
        }
    }

    #[test]
    fn a_condition_holds_at_one_server() {
        assert_eq!(replica_policy(&Request::set("k", "v")), ReplicaPolicy::WriteAll);
        assert_eq!(replica_policy(&Request::set("k", "v").cas(1)), ReplicaPolicy::WriteFirst);
        assert_eq!(replica_policy(&Request::delete("k")), ReplicaPolicy::DeleteAll);
        assert_eq!(replica_policy(&Request::delete("k").cas(1)), ReplicaPolicy::WriteFirst);
        assert_eq!(replica_policy(&Request::get("k")), ReplicaPolicy::Read);
        assert_eq!(replica_policy(&Request::increment("k", 1)), ReplicaPolicy::WriteFirst);
    }
}
