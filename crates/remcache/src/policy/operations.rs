//! Properties of operations: whether they may be repeated, and how they apply to replicas.

use crate::proto::{Operation, Request};

use super::retry::Retries;

/// Whether a request that may have been executed is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Always: executing it twice has the same effect as executing it once.
    Idempotent,
    /// Only if [`Retries`] opts it in.
    OptIn,
    /// Never: executing it twice has a different effect from executing it once.
    Never,
}

/// How a request applies to the replicas of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaPolicy {
    /// Read from the first replica, and from the next one after a miss or a failure.
    Read,
    /// Sent to every replica; the first success is reported.
    WriteAll,
    /// Sent to every replica and to the fallback; any failure is reported.
    DeleteAll,
    /// Sent to the first replica, and the item is deleted at the others: applied to each, they could diverge.
    WriteFirst,
}

/// One operation.
struct OperationRow {
    operation: Operation,
    repeat: Repeat,
    replica_policy: ReplicaPolicy,
    /// Whether it sets an item's TTL.
    has_ttl: bool,
}

const fn row(operation: Operation, repeat: Repeat, replica_policy: ReplicaPolicy, has_ttl: bool) -> OperationRow {
    OperationRow { operation, repeat, replica_policy, has_ttl }
}

/// The operations that may be repeated or concern several replicas; any other is never repeated and uses
/// [`ReplicaPolicy::WriteFirst`].
const ROWS: &[OperationRow] = &[
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

fn find(operation: Operation) -> Option<&'static OperationRow> {
    ROWS.iter().find(|row| row.operation == operation)
}

/// Returns whether a request may be repeated although it may have been executed.
pub(crate) fn may_repeat(request: &Request<'_>, retries: &Retries) -> bool {
    // With a CAS value the second one would fail because the first succeeded.
    let is_conditional = request.expected_cas() != 0;
    match find(request.operation()).map_or(Repeat::Never, |row| row.repeat) {
        Repeat::Idempotent => !is_conditional,
        Repeat::OptIn => !is_conditional && retries.opts_in(request.operation()),
        Repeat::Never => false,
    }
}

/// Returns how a request applies to replicas.
pub(crate) fn replica_policy(request: &Request<'_>) -> ReplicaPolicy {
    match find(request.operation()) {
        // CAS values are specific to one server.
        Some(row) if request.expected_cas() == 0 || row.replica_policy == ReplicaPolicy::Read => row.replica_policy,
        _ => ReplicaPolicy::WriteFirst,
    }
}

/// Returns whether a request sets an item's TTL.
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

    /// Returns the table as printed in docs/guarantees.md.
    fn printed() -> String {
        let row = |(row, name): (&OperationRow, &str)| {
            let repeat = match row.repeat {
                Repeat::Idempotent => "yes",
                Repeat::OptIn => "if opted in",
                Repeat::Never => "never",
            };
            let replica_policy = match (row.operation.has_key(), row.replica_policy) {
                (false, _) => "",
                (_, ReplicaPolicy::Read) => "the first replica, then the next",
                (_, ReplicaPolicy::WriteAll) => "every replica; the first success is reported",
                (_, ReplicaPolicy::DeleteAll) => "every replica and the fallback; any failure of a replica is reported",
                (_, ReplicaPolicy::WriteFirst) => "the first replica; deleted at the others",
            };
            let capped = if row.has_ttl { "yes" } else { "" };
            format!("| `{name}` | {repeat} | {replica_policy} | {capped} |\n")
        };
        let head = "| operation | repeated after `MaybeSent` | sent to | TTL capped on a fallback server |\n\
                    |---|---|---|---|\n";
        ROWS.iter().zip(NAMES).map(row).fold(head.to_owned(), |table, row| table + &row)
    }

    #[test]
    fn the_documents_print_this_table() {
        let text = include_str!("../../../../docs/guarantees.md");
        assert!(text.contains(&printed()), "docs/guarantees.md should have:\n{}", printed());
    }

    #[test]
    fn no_operation_is_listed_twice() {
        for (index, row) in ROWS.iter().enumerate() {
            assert!(ROWS[index + 1..].iter().all(|other| other.operation != row.operation), "{:?}", row.operation);
        }
    }

    #[test]
    fn only_what_is_idempotent_or_opted_in_is_repeated() {
        let (none, all) = (Retries::none(), Retries::up_to(1).retry_sets().retry_deletes());
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
    fn only_some_operations_set_a_ttl() {
        for (request, expected) in [
            (Request::set("k", "v"), true),
            (Request::increment("k", 1), true),
            (Request::get_and_touch("k", Ttl::Never), true),
            (Request::get("k"), false),
            (Request::append("k", "v"), false),
            (Request::flush(), false),
        ] {
            assert_eq!(has_ttl(&request), expected, "{request:?}");
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
