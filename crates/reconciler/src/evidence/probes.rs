//! Which records to read to judge the rows of a partition.

use std::collections::HashSet;

use outbox::LogBounds;

use crate::evidence::judgement::Probe;

/// The position that a row claims for its record, among others of the same partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClaimedRecord {
    pub(crate) offset: i64,
    /// The row's `last_attempt_at`.
    pub(crate) attempted_at_us: Option<i64>,
    pub(crate) probe: Probe,
}

/// The indices of the records that have to be read next; empty when no more are needed.
///
/// A partition is written in the order of its offsets. So if the lowest and the highest record within the bounds match
/// their rows, those between them do too, or did until they were compacted, which is judged alike: [`infer`] marks them.
/// An absent record proves nothing about others, so the next one is read instead. This holds as long as the rows were
/// sent in the order of their offsets and no two have the same offset. Otherwise the topic was created again between
/// them, and each record is read.
pub(crate) fn next_probes(rows: &[ClaimedRecord], bounds: LogBounds) -> Vec<usize> {
    let within = within(rows, bounds);
    let not_probed = |index: &usize| rows[*index].probe == Probe::NotProbed;
    if !is_one_log(rows, &within) {
        return within.into_iter().filter(not_probed).collect();
    }
    let mut present = within.iter().copied().filter(|&index| rows[index].probe != Probe::Absent);
    let Some(lowest) = present.next() else { return Vec::new() };
    let highest = present.next_back().unwrap_or(lowest);
    let mut ends = vec![lowest, highest];
    ends.dedup();
    ends.retain(not_probed);
    if !ends.is_empty() {
        return ends;
    }
    if rows[lowest].probe == Probe::Match && rows[highest].probe == Probe::Match {
        return Vec::new();
    }
    within.into_iter().filter(not_probed).collect()
}

/// Marks the records that [`next_probes`] did not need as matching.
pub(crate) fn infer(rows: &mut [ClaimedRecord], bounds: LogBounds) {
    for index in within(rows, bounds) {
        if rows[index].probe == Probe::NotProbed {
            rows[index].probe = Probe::Match;
        }
    }
}

/// The rows whose offsets are within the bounds, in the order of their offsets.
fn within(rows: &[ClaimedRecord], bounds: LogBounds) -> Vec<usize> {
    let is_within = |index: &usize| (bounds.start..bounds.end).contains(&rows[*index].offset);
    let mut within: Vec<usize> = (0..rows.len()).filter(is_within).collect();
    within.sort_by_key(|index| rows[*index].offset);
    within
}

fn is_one_log(rows: &[ClaimedRecord], by_offset: &[usize]) -> bool {
    let mut offsets = HashSet::new();
    let mut latest = i64::MIN;
    by_offset.iter().all(|index| {
        let ClaimedRecord { offset, attempted_at_us, .. } = rows[*index];
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
    use crate::evidence::judgement::{Judgement, RecordFacts, judge};

    /// Probes until no more is needed. Returns the number of records read.
    fn probe(rows: &mut [ClaimedRecord], bounds: LogBounds, found: impl Fn(usize) -> Probe) -> usize {
        let mut count = 0;
        loop {
            let next = next_probes(rows, bounds);
            if next.is_empty() {
                infer(rows, bounds);
                return count;
            }
            for index in next {
                assert_eq!(rows[index].probe, Probe::NotProbed, "a record is read once");
                rows[index].probe = found(index);
                count += 1;
            }
        }
    }

    proptest! {
        #[test]
        fn next_probes_reads_two_records_of_an_intact_log(offsets in proptest::collection::btree_set(0_i64..100, 1..50)) {
            let mut rows: Vec<ClaimedRecord> = offsets
                .iter()
                .map(|&offset| ClaimedRecord { offset, attempted_at_us: Some(offset / 7), probe: Probe::NotProbed })
                .collect();
            let bounds = LogBounds { start: 10, end: 90 };
            prop_assert!(probe(&mut rows, bounds, |_| Probe::Match) <= 2);
            for row in rows {
                prop_assert_eq!(row.probe == Probe::Match, (10..90).contains(&row.offset));
            }
        }

        #[test]
        fn next_probes_reads_each_compacted_record_at_most_once_and_it_changes_no_judgement(
            kept in proptest::collection::btree_map(0_i64..100, any::<bool>(), 1..50),
            committed in 0_i64..100,
        ) {
            let row = |&offset: &i64| ClaimedRecord { offset, attempted_at_us: Some(offset), probe: Probe::NotProbed };
            let mut rows: Vec<ClaimedRecord> = kept.keys().map(row).collect();
            let bounds = LogBounds { start: 10, end: 90 };
            let is_kept: Vec<bool> = kept.values().copied().collect();
            let found = |index: usize| if is_kept[index] { Probe::Match } else { Probe::Absent };
            let count = probe(&mut rows, bounds, found);
            prop_assert!(count <= 2 + is_kept.iter().filter(|is_kept| !**is_kept).count());
            for ClaimedRecord { offset, probe, .. } in rows {
                let judgement = judge(offset, &RecordFacts { bounds: Some(bounds), committed, probe });
                if (10..90).contains(&offset) {
                    let expected =
                        if committed > offset { Judgement::ReceiptMissed } else { Judgement::ConsumerLag };
                    prop_assert_eq!(judgement, expected);
                }
            }
        }

        // Rows of a topic, and of one that was created again under its name and has grown over the same offsets. Some
        // records were compacted.
        #[test]
        fn next_probes_detects_a_topic_that_was_created_again(
            first in proptest::collection::btree_set(0_i64..60, 1..30),
            second in proptest::collection::btree_set(0_i64..60, 0..30),
            taken in proptest::collection::hash_set(0_i64..60, 0..30),
            committed in 0_i64..60,
        ) {
            let rows_of = |offsets: &std::collections::BTreeSet<i64>, generation: i64| -> Vec<ClaimedRecord> {
                let row = |&offset: &i64| ClaimedRecord {
                    offset,
                    attempted_at_us: Some(generation * 1000 + offset),
                    probe: Probe::NotProbed,
                };
                offsets.iter().map(row).collect()
            };
            let mut rows = rows_of(&first, 0);
            let lost = rows.len();
            rows.extend(rows_of(&second, 1));
            let bounds = LogBounds { start: 0, end: 60 };
            let offsets: Vec<i64> = rows.iter().map(|row| row.offset).collect();
            let found = |index: usize| match taken.contains(&offsets[index]) {
                true => Probe::Absent,
                false if index >= lost => Probe::Match,
                false => Probe::Mismatch,
            };
            probe(&mut rows, bounds, found);
            for (index, row) in rows.iter().enumerate() {
                let of = |probe| judge(row.offset, &RecordFacts { bounds: Some(bounds), committed, probe });
                prop_assert_eq!(of(row.probe), of(found(index)), "row {} of {:?}", index, row);
            }
        }
    }
}
