//! Picks the outcome to report for a request with several.

use super::ReplicaPolicy;
use crate::proto::Status;

/// Returns the index of the outcome to report for a request that was sent to several replicas, in their order; `None`
/// without outcomes.
pub(crate) fn pick_outcome(replica_policy: ReplicaPolicy, outcomes: &[Status]) -> Option<usize> {
    let find = |fits: &dyn Fn(Status) -> bool| outcomes.iter().position(|&status| fits(status));
    let done = find(&|status| status == Status::NoError);
    let first = find(&|_| true);
    if replica_policy == ReplicaPolicy::DeleteAll {
        // The caller must learn that a replica may still have the item.
        let failed = find(&|status| !matches!(status, Status::NoError | Status::KeyNotFound));
        return failed.or(done).or(first);
    }
    // If no server answered, a request that may have been executed takes precedence over one that was not.
    done.or_else(|| find(&Status::is_from_server)).or_else(|| find(&Status::may_have_executed)).or(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Delivery::{MaybeSent, NotSent};
    use Status::{Disconnected, KeyNotFound, NoError, OutOfMemory, TimedOut};

    fn check(replica_policy: ReplicaPolicy, outcomes: &[Status], expected: Option<usize>) {
        assert_eq!(pick_outcome(replica_policy, outcomes), expected, "{outcomes:?}");
    }

    #[test]
    fn a_change_is_made_where_one_copy_has_it() {
        check(ReplicaPolicy::WriteAll, &[NoError, Disconnected(NotSent)], Some(0));
        check(ReplicaPolicy::WriteAll, &[Disconnected(NotSent), NoError], Some(1));
        check(ReplicaPolicy::WriteAll, &[OutOfMemory, NoError], Some(1));
        check(ReplicaPolicy::WriteAll, &[Disconnected(NotSent), KeyNotFound], Some(1));
    }

    #[test]
    fn a_change_without_an_answer_may_have_been_made() {
        check(ReplicaPolicy::WriteAll, &[Disconnected(NotSent), TimedOut(MaybeSent)], Some(1));
        check(ReplicaPolicy::WriteAll, &[Disconnected(NotSent), Disconnected(NotSent)], Some(0));
        check(ReplicaPolicy::WriteAll, &[], None);
    }

    #[test]
    fn a_delete_is_made_where_no_copy_is_left() {
        check(ReplicaPolicy::DeleteAll, &[NoError, NoError], Some(0));
        check(ReplicaPolicy::DeleteAll, &[KeyNotFound, NoError], Some(1));
        check(ReplicaPolicy::DeleteAll, &[KeyNotFound, KeyNotFound], Some(0));
        check(ReplicaPolicy::DeleteAll, &[NoError, Disconnected(NotSent)], Some(1));
        check(ReplicaPolicy::DeleteAll, &[TimedOut(MaybeSent), NoError], Some(0));
    }
}
