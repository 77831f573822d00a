//! What follows the outcome of an attempt: one decision for single keys and for multi-key calls.

use super::operations::{ReplicaPolicy, may_repeat};
use super::outcome::pick_outcome;
use super::retry::{FailureKind, Retries};
use crate::proto::{Request, Status};

/// A further step of a request along its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// To the same server again.
    Retry,
    /// To the next replica.
    Replica,
    /// To the fallback.
    Fallback,
    /// A delete of the key at the replicas that were not changed.
    DeleteOthers,
}

/// The decision whether a request takes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FollowUp {
    No,
    Yes,
    /// If the retry budget has the tokens for another attempt after this failure.
    IfBudget(FailureKind),
}

/// Decides whether a request takes a step after it ended with this status.
pub(crate) fn follow_up(
    step: Step,
    request: &Request<'_>,
    replica_policy: ReplicaPolicy,
    status: Status,
    retries: &Retries,
) -> FollowUp {
    // CAS values are specific to one server.
    let is_bound = request.expected_cas() != 0;
    match (step, replica_policy) {
        (Step::DeleteOthers, ReplicaPolicy::WriteFirst) if status == Status::NoError || status.may_have_executed() => {
            FollowUp::Yes
        }
        (Step::DeleteOthers, _) => FollowUp::No,
        (Step::Replica, ReplicaPolicy::WriteFirst) | (Step::Fallback, _) if is_bound => FollowUp::No,
        (Step::Replica, ReplicaPolicy::WriteAll | ReplicaPolicy::DeleteAll)
        | (Step::Fallback, ReplicaPolicy::DeleteAll) => FollowUp::Yes,
        (Step::Replica, ReplicaPolicy::Read) if status == Status::KeyNotFound => FollowUp::Yes,
        (Step::Retry | Step::Replica | Step::Fallback, _) => match FailureKind::of(status) {
            Some(failure) if !status.may_have_executed() || may_repeat(request, retries) => FollowUp::IfBudget(failure),
            _ => FollowUp::No,
        },
    }
}

/// Returns whether the outcome of a step is reported in place of the outcome before it.
pub(crate) fn replaces(step: Step, replica_policy: ReplicaPolicy, before: Status, after: Status) -> bool {
    match (step, replica_policy) {
        (Step::DeleteOthers, _) => false,
        // A replica's outcome has priority: the fallback may not have had the item.
        (Step::Fallback, ReplicaPolicy::DeleteAll) => before == Status::KeyNotFound && after == Status::NoError,
        _ => pick_outcome(replica_policy, &[before, after]) == Some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::super::operations::replica_policy;
    use super::*;
    use crate::proto::Delivery::{MaybeSent, NotSent};
    use FollowUp::{IfBudget, No, Yes};
    use Status::{Disconnected, KeyNotFound, NoError, OutOfMemory, TimedOut};

    const STEPS: [Step; 4] = [Step::Retry, Step::Replica, Step::Fallback, Step::DeleteOthers];

    /// Checks the decisions for each of [`STEPS`].
    #[track_caller]
    fn check(request: &Request<'_>, status: Status, expected: [FollowUp; 4]) {
        let decided = STEPS.map(|step| follow_up(step, request, replica_policy(request), status, &Retries::none()));
        assert_eq!(decided, expected, "{request:?} after {status:?}");
    }

    #[test]
    fn reads_go_on_after_misses_and_failures() {
        let get = Request::get("k");
        check(&get, NoError, [No, No, No, No]);
        check(&get, KeyNotFound, [No, Yes, No, No]);
        check(&get, OutOfMemory, [No, No, No, No]);
        for (status, failure) in [
            (Disconnected(NotSent), FailureKind::NotSent),
            (Disconnected(MaybeSent), FailureKind::Lost),
            (TimedOut(MaybeSent), FailureKind::TimedOut),
        ] {
            check(&get, status, [IfBudget(failure), IfBudget(failure), IfBudget(failure), No]);
        }
    }

    #[test]
    fn sets_go_to_every_replica_and_to_the_fallback_if_they_were_not_sent() {
        let (set, unsent) = (Request::set("k", "v"), IfBudget(FailureKind::NotSent));
        check(&set, NoError, [No, Yes, No, No]);
        check(&set, Disconnected(NotSent), [unsent, Yes, unsent, No]);
        check(&set, Disconnected(MaybeSent), [No, Yes, No, No]);
    }

    #[test]
    fn deletes_go_everywhere() {
        for status in [NoError, KeyNotFound, Disconnected(MaybeSent)] {
            check(&Request::delete("k"), status, [No, Yes, Yes, No]);
        }
    }

    #[test]
    fn changes_of_the_first_replica_delete_the_others() {
        let (add, unsent) = (Request::add("k", "v"), IfBudget(FailureKind::NotSent));
        check(&add, NoError, [No, No, No, Yes]);
        check(&add, Status::ItemNotStored, [No, No, No, No]);
        check(&add, Disconnected(NotSent), [unsent, unsent, unsent, No]);
        check(&add, TimedOut(MaybeSent), [No, No, No, Yes]);
    }

    #[test]
    fn a_cas_value_binds_a_request_to_its_server() {
        let unsent = IfBudget(FailureKind::NotSent);
        for request in [Request::set("k", "v").cas(7), Request::delete("k").cas(7)] {
            check(&request, Disconnected(NotSent), [unsent, No, No, No]);
            check(&request, NoError, [No, No, No, Yes]);
        }
    }

    #[test]
    fn opted_in_sets_are_repeated_although_they_may_have_been_executed() {
        let (set, retries) = (Request::set("k", "v"), Retries::up_to(1).retry_sets());
        let decided = follow_up(Step::Retry, &set, replica_policy(&set), Disconnected(MaybeSent), &retries);
        assert_eq!(decided, IfBudget(FailureKind::Lost));
    }

    #[test]
    fn the_better_outcome_is_reported() {
        let (get, set, delete) = (Request::get("k"), Request::set("k", "v"), Request::delete("k"));
        for (step, request, before, after, expected) in [
            (Step::Replica, &get, KeyNotFound, NoError, true),
            (Step::Replica, &get, KeyNotFound, Disconnected(NotSent), false),
            (Step::Fallback, &get, Disconnected(NotSent), KeyNotFound, true),
            (Step::Fallback, &set, TimedOut(MaybeSent), Disconnected(NotSent), false),
            (Step::Replica, &delete, NoError, Disconnected(NotSent), true),
            (Step::Fallback, &delete, NoError, Disconnected(NotSent), false),
            (Step::Fallback, &delete, KeyNotFound, NoError, true),
            (Step::Fallback, &delete, KeyNotFound, KeyNotFound, false),
            (Step::Fallback, &delete, Disconnected(MaybeSent), NoError, false),
            (Step::DeleteOthers, &get, KeyNotFound, NoError, false),
        ] {
            assert_eq!(
                replaces(step, replica_policy(request), before, after),
                expected,
                "{step:?}: {before:?}, {after:?}"
            );
        }
    }
}
