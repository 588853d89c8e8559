//! How far partitions may be read behind followed groups, and when to ask how far these are.

use std::time::{Duration, Instant};

/// How often the groups are asked while records of ours wait for them.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(1);

/// How often they are asked about everything: others write to our topics as well, and a group may commit what
/// nobody waits for.
pub(super) const ASK_ALL_EVERY: Duration = Duration::from_secs(5);

/// The lowest offset that each partition's followed groups have committed, given the offsets of each group.
/// A group that has committed none has consumed nothing.
pub(super) fn lows(partitions: usize, groups: &[Vec<Option<i64>>]) -> Vec<i64> {
    let low = |at: usize| groups.iter().map(|group| group.get(at).copied().flatten().unwrap_or(0)).min();
    (0..partitions).map(|at| low(at).unwrap_or(0)).collect()
}

/// Which partitions the groups are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// Those with records of ours that are not read yet.
    Unread,
    All,
}

/// When to ask.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    last: Option<Instant>,
    last_of_all: Option<Instant>,
}

impl Rounds {
    /// The round that is due now, `unread` where a record of ours is not read yet. It counts as made.
    pub(super) fn due(&mut self, unread: bool, now: Instant) -> Option<Round> {
        let is_over =
            |last: Option<Instant>, every| last.is_none_or(|last| now.duration_since(last) >= every);
        if !is_over(self.last, ASK_EVERY) {
            return None;
        }
        let round = if is_over(self.last_of_all, ASK_ALL_EVERY) {
            self.last_of_all = Some(now);
            Round::All
        } else if unread {
            Round::Unread
        } else {
            return None;
        };
        self.last = Some(now);
        Some(round)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_lowest_group_decides_and_one_without_an_offset_has_consumed_nothing() {
        let groups = [vec![Some(5), Some(9), Some(1)], vec![Some(7), None, Some(1)]];
        assert_eq!(lows(3, &groups), [5, 0, 1]);
    }

    #[test]
    fn it_is_asked_every_second_while_something_is_unread_and_every_five_otherwise() {
        let start = Instant::now();
        let asked = |unread: bool| {
            let mut rounds = Rounds::default();
            let at = |tenth: u64| start + Duration::from_millis(100 * tenth);
            (0..=100).filter_map(|tenth| rounds.due(unread, at(tenth))).collect::<Vec<_>>()
        };
        assert_eq!(asked(false), [Round::All; 3]);
        let unread = asked(true);
        assert_eq!(unread.len(), 11);
        assert_eq!(unread.iter().filter(|round| **round == Round::All).count(), 3);
    }

    proptest! {
        #[test]
        fn no_partition_is_read_past_any_group(
            groups in proptest::collection::vec(
                proptest::collection::vec(proptest::option::of(0_i64..100), 4), 1..5),
        ) {
            let lows = lows(4, &groups);
            for group in &groups {
                for (low, committed) in lows.iter().zip(group) {
                    prop_assert!(*low <= committed.unwrap_or(0));
                }
            }
        }
    }
}
