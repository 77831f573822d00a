//! Which of several outcomes of one request is told.

use super::Spread;
use crate::proto::Status;

/// The place of the outcome that is told, of a request that was done at several copies, in their
/// order; `None` if there is none.
pub(crate) fn told(spread: Spread, outcomes: &[Status]) -> Option<usize> {
    let find = |fits: &dyn Fn(Status) -> bool| outcomes.iter().position(|&status| fits(status));
    let done = find(&|status| status == Status::NoError);
    let first = find(&|_| true);
    if spread == Spread::Remove {
        // A copy that may still be there is what the caller must know of.
        let left = find(&|status| !matches!(status, Status::NoError | Status::KeyNotFound));
        return left.or(done).or(first);
    }
    // If none has an answer: that it may have been done is worse than that it was not.
    done.or_else(|| find(&Status::is_answer)).or_else(|| find(&Status::may_have_executed)).or(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Delivery::{MaybeSent, NotSent};
    use Status::{Disconnected, KeyNotFound, NoError, OutOfMemory, TimedOut};

    fn check(spread: Spread, outcomes: &[Status], expected: Option<usize>) {
        assert_eq!(told(spread, outcomes), expected, "{outcomes:?}");
    }

    #[test]
    fn a_change_is_made_where_one_copy_has_it() {
        check(Spread::Every, &[NoError, Disconnected(NotSent)], Some(0));
        check(Spread::Every, &[Disconnected(NotSent), NoError], Some(1));
        check(Spread::Every, &[OutOfMemory, NoError], Some(1));
        check(Spread::Every, &[Disconnected(NotSent), KeyNotFound], Some(1));
    }

    #[test]
    fn a_change_without_an_answer_may_have_been_made() {
        check(Spread::Every, &[Disconnected(NotSent), TimedOut(MaybeSent)], Some(1));
        check(Spread::Every, &[Disconnected(NotSent), Disconnected(NotSent)], Some(0));
        check(Spread::Every, &[], None);
    }

    #[test]
    fn a_delete_is_made_where_no_copy_is_left() {
        check(Spread::Remove, &[NoError, NoError], Some(0));
        check(Spread::Remove, &[KeyNotFound, NoError], Some(1));
        check(Spread::Remove, &[KeyNotFound, KeyNotFound], Some(0));
        check(Spread::Remove, &[NoError, Disconnected(NotSent)], Some(1));
        check(Spread::Remove, &[TimedOut(MaybeSent), NoError], Some(0));
    }
}
