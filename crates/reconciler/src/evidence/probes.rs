//! Which records to read to judge the rows of a partition.

use std::collections::HashSet;

use crate::evidence::judgement::Look;
use crate::evidence::kafka_evidence::Bounds;

/// One of several rows that say they are in the same partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The offset it says.
    pub offset: i64,
    /// When it was sent last, by the database's clock.
    pub attempted_at_us: Option<i64>,
    /// What is known of its record.
    pub record: Look,
}

/// Which of these rows' records have to be looked at next, as indices; none when nothing more is needed.
///
/// A partition is written in the order of its offsets, so where the lowest and the highest within the log are ours,
/// those between them are too, or were until compaction took them, which comes to the same: [`infer`] says so of them.
/// One that is absent tells nothing of others, so the next one is looked at in its stead. That holds while the order of
/// sending agrees with that of the offsets and no two share one; otherwise the topic was made anew between them, and
/// each is looked at.
pub fn looks(rows: &[Placed], bounds: Bounds) -> Vec<usize> {
    let within = within(rows, bounds);
    let unknown = |index: &usize| rows[*index].record == Look::NotNeeded;
    if !is_one_log(rows, &within) {
        return within.into_iter().filter(unknown).collect();
    }
    let mut telling = within.iter().copied().filter(|&index| rows[index].record != Look::Absent);
    let Some(lowest) = telling.next() else { return Vec::new() };
    let highest = telling.next_back().unwrap_or(lowest);
    let mut ends = vec![lowest, highest];
    ends.dedup();
    ends.retain(unknown);
    if !ends.is_empty() {
        return ends;
    }
    if rows[lowest].record == Look::Ours && rows[highest].record == Look::Ours {
        return Vec::new();
    }
    within.into_iter().filter(unknown).collect()
}

/// Draws the conclusion for rows that [`looks`] has not asked for.
pub fn infer(rows: &mut [Placed], bounds: Bounds) {
    for index in within(rows, bounds) {
        if rows[index].record == Look::NotNeeded {
            rows[index].record = Look::Ours;
        }
    }
}

/// The rows whose offsets are within the log, by their offsets.
fn within(rows: &[Placed], bounds: Bounds) -> Vec<usize> {
    let is_within = |index: &usize| (bounds.start..bounds.end).contains(&rows[*index].offset);
    let mut within: Vec<usize> = (0..rows.len()).filter(is_within).collect();
    within.sort_by_key(|index| rows[*index].offset);
    within
}

fn is_one_log(rows: &[Placed], by_offset: &[usize]) -> bool {
    let mut offsets = HashSet::new();
    let mut latest = i64::MIN;
    by_offset.iter().all(|index| {
        let Placed { offset, attempted_at_us, .. } = rows[*index];
        let at = attempted_at_us.unwrap_or(latest);
        let in_order = at >= latest && offsets.insert(offset);
        latest = at;
        in_order
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::evidence::judgement::{Facts, Verdict, verdict};

    /// Looks until nothing more is needed; returns what is known then and how often a record was looked at.
    fn judge(rows: &mut [Placed], bounds: Bounds, found: impl Fn(usize) -> Look) -> usize {
        let mut count = 0;
        loop {
            let next = looks(rows, bounds);
            if next.is_empty() {
                infer(rows, bounds);
                return count;
            }
            for index in next {
                assert_eq!(rows[index].record, Look::NotNeeded, "nothing is looked at twice");
                rows[index].record = found(index);
                count += 1;
            }
        }
    }

    proptest! {
        #[test]
        fn one_log_takes_two_looks(offsets in proptest::collection::btree_set(0_i64..100, 1..50)) {
            let mut rows: Vec<Placed> = offsets
                .iter()
                .map(|&offset| Placed { offset, attempted_at_us: Some(offset / 7), record: Look::NotNeeded })
                .collect();
            let bounds = Bounds { start: 10, end: 90 };
            prop_assert!(judge(&mut rows, bounds, |_| Look::Ours) <= 2);
            for row in rows {
                prop_assert_eq!(row.record == Look::Ours, (10..90).contains(&row.offset));
            }
        }

        #[test]
        fn what_compaction_took_costs_a_look_each_at_most_and_decides_nothing(
            kept in proptest::collection::btree_map(0_i64..100, any::<bool>(), 1..50),
            committed in 0_i64..100,
        ) {
            let row = |&offset: &i64| Placed { offset, attempted_at_us: Some(offset), record: Look::NotNeeded };
            let mut rows: Vec<Placed> = kept.keys().map(row).collect();
            let bounds = Bounds { start: 10, end: 90 };
            let is_kept: Vec<bool> = kept.values().copied().collect();
            let found = |index: usize| if is_kept[index] { Look::Ours } else { Look::Absent };
            let count = judge(&mut rows, bounds, found);
            prop_assert!(count <= 2 + is_kept.iter().filter(|is_kept| !**is_kept).count());
            for Placed { offset, record, .. } in rows {
                let verdict = verdict(offset, &Facts { bounds: Some(bounds), committed, record });
                if (10..90).contains(&offset) {
                    prop_assert_eq!(verdict, if committed > offset { Verdict::Missed } else { Verdict::Lagging });
                }
            }
        }

        // Rows of a topic's first life, and of its second, whose log has grown over the offsets of the first. Of some
        // of those nothing is left.
        #[test]
        fn a_topic_made_anew_is_noticed(
            first in proptest::collection::btree_set(0_i64..60, 1..30),
            second in proptest::collection::btree_set(0_i64..60, 0..30),
            taken in proptest::collection::hash_set(0_i64..60, 0..30),
            committed in 0_i64..60,
        ) {
            let rows_of = |offsets: &std::collections::BTreeSet<i64>, life: i64| -> Vec<Placed> {
                let row = |&offset: &i64| Placed {
                    offset,
                    attempted_at_us: Some(life * 1000 + offset),
                    record: Look::NotNeeded,
                };
                offsets.iter().map(row).collect()
            };
            let mut rows = rows_of(&first, 0);
            let lost = rows.len();
            rows.extend(rows_of(&second, 1));
            let bounds = Bounds { start: 0, end: 60 };
            let offsets: Vec<i64> = rows.iter().map(|row| row.offset).collect();
            let found = |index: usize| match taken.contains(&offsets[index]) {
                true => Look::Absent,
                false if index >= lost => Look::Ours,
                false => Look::Other,
            };
            judge(&mut rows, bounds, found);
            for (index, row) in rows.iter().enumerate() {
                let of = |record| verdict(row.offset, &Facts { bounds: Some(bounds), committed, record });
                prop_assert_eq!(of(row.record), of(found(index)), "row {} of {:?}", index, row);
            }
        }
    }
}
