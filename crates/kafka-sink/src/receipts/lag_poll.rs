//! The committed offsets of followed groups: how often they are polled, and how far they let partitions be read.

use std::time::{Duration, Instant};

/// The interval while records of Postrider are unread.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// The interval for all partitions: other producers may write to the topics, and a group may commit where no record is
/// unread.
const POLL_ALL_EVERY: Duration = Duration::from_secs(5);

/// The lowest offset that the followed groups have committed in each partition, from the offsets of each group. A group
/// without a committed offset has consumed nothing.
pub(super) fn min_committed(partitions: usize, groups: &[Vec<Option<i64>>]) -> Vec<i64> {
    let min = |at: usize| groups.iter().map(|group| group.get(at).copied().flatten().unwrap_or(0)).min();
    (0..partitions).map(|at| min(at).unwrap_or(0)).collect()
}

/// The partitions whose committed offsets are polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PollScope {
    /// Those with unread records of Postrider.
    Unread,
    All,
}

/// When committed offsets are polled.
#[derive(Debug, Default)]
pub(super) struct PollSchedule {
    last: Option<Instant>,
    last_of_all: Option<Instant>,
}

impl PollSchedule {
    /// The poll that is due, if any; it counts as done. `has_unread`: a record of Postrider is unread.
    pub(super) fn take_due(&mut self, has_unread: bool, now: Instant) -> Option<PollScope> {
        let is_over =
            |last: Option<Instant>, every| last.is_none_or(|last| now.duration_since(last) >= every);
        if !is_over(self.last, POLL_EVERY) {
            return None;
        }
        let scope = if is_over(self.last_of_all, POLL_ALL_EVERY) {
            self.last_of_all = Some(now);
            PollScope::All
        } else if has_unread {
            PollScope::Unread
        } else {
            return None;
        };
        self.last = Some(now);
        Some(scope)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn min_committed_is_the_slowest_group_and_zero_without_a_commit() {
        let groups = [vec![Some(5), Some(9), Some(1)], vec![Some(7), None, Some(1)]];
        assert_eq!(min_committed(3, &groups), [5, 0, 1]);
    }

    #[test]
    fn poll_schedule_is_every_second_while_unread_and_every_five_otherwise() {
        let start = Instant::now();
        let polls = |has_unread: bool| {
            let mut schedule = PollSchedule::default();
            let at = |tenth: u64| start + Duration::from_millis(100 * tenth);
            (0..=100).filter_map(|tenth| schedule.take_due(has_unread, at(tenth))).collect::<Vec<_>>()
        };
        assert_eq!(polls(false), [PollScope::All; 3]);
        let unread = polls(true);
        assert_eq!(unread.len(), 11);
        assert_eq!(unread.iter().filter(|scope| **scope == PollScope::All).count(), 3);
    }

    proptest! {
        #[test]
        fn min_committed_is_never_past_any_group(
            groups in proptest::collection::vec(
                proptest::collection::vec(proptest::option::of(0_i64..100), 4), 1..5),
        ) {
            let min = min_committed(4, &groups);
            for group in &groups {
                for (min, committed) in min.iter().zip(group) {
                    prop_assert!(*min <= committed.unwrap_or(0));
                }
            }
        }
    }
}
