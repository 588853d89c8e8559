//! What Kafka knows of a row that says PUBLISH, and what follows from it.

use std::collections::HashSet;
use std::fmt;

use outbox_store::StoredPlace;
use uuid::Uuid;

use crate::broker::RecordAt;

/// What a partition holds at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The log's start: the first offset that has not been deleted.
    pub start: i64,
    /// The log's end: the offset that the next record gets.
    pub end: i64,
}

/// What is known of the record at a row's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nobody has looked, or need look.
    NotNeeded,
    /// It carries the row's id.
    Ours,
    /// Another record is there.
    Other,
    /// No record is there, though the log reaches there: compaction took it.
    Absent,
}

impl Look {
    /// What is at a row's place, for this row.
    pub fn of(row: Uuid, found: RecordAt) -> Self {
        match found {
            RecordAt::Row(id) if id == row => Look::Ours,
            RecordAt::Row(_) | RecordAt::Foreign => Look::Other,
            RecordAt::Absent => Look::Absent,
        }
    }
}

/// What is known about the place of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `None`: there is no such topic or partition.
    pub bounds: Option<Bounds>,
    /// Up to where the partition was consumed: the next offset that is to be. 0 where nobody has said.
    pub committed: i64,
    /// The record.
    pub record: Look,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It waits to be consumed, or the record of its key that came after it does. There is nothing to do.
    Lagging,
    /// It was consumed, and nobody has told the row.
    Missed,
    /// It is not there, and was not consumed.
    Gone(Why),
    /// The record itself has to be looked at.
    Look,
}

/// Why a record counts as gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The row does not say where it was.
    NoPlace,
    /// Its topic or partition is not there.
    NoPartition,
    /// The log ends before its offset: it was made anew.
    BeyondEnd(i64),
    /// The log starts after its offset: it was deleted before it was consumed.
    BeforeStart(i64),
    /// Another record is at its offset.
    NotOurs,
}

/// Judges a row by the offset it says and by what is known of its partition.
pub fn verdict(offset: i64, facts: &Facts) -> Verdict {
    let Some(bounds) = facts.bounds else { return Verdict::Gone(Why::NoPartition) };
    if offset < 0 {
        return Verdict::Gone(Why::NoPlace);
    }
    if offset >= bounds.end {
        return Verdict::Gone(Why::BeyondEnd(bounds.end));
    }
    let consumed = facts.committed > offset;
    if offset < bounds.start {
        return if consumed { Verdict::Missed } else { Verdict::Gone(Why::BeforeStart(bounds.start)) };
    }
    match facts.record {
        Look::NotNeeded => Verdict::Look,
        Look::Other => Verdict::Gone(Why::NotOurs),
        // Compaction takes a record for a newer one of its key, behind which it must not be sent again, and a tombstone
        // when its time is over.
        Look::Ours | Look::Absent if consumed => Verdict::Missed,
        Look::Ours | Look::Absent => Verdict::Lagging,
    }
}

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

impl Why {
    /// What was found, of a row that says this place.
    pub(crate) fn of(self, place: Option<&StoredPlace>) -> String {
        let Some(StoredPlace { topic, partition, offset }) = place else {
            return "it does not say where its record is".to_owned();
        };
        let partition: &dyn fmt::Display = partition;
        match self {
            Why::NoPlace => "it does not say where its record is".to_owned(),
            Why::NoPartition => format!("there is no partition {partition} of topic {topic}"),
            Why::BeyondEnd(end) => format!(
                "its record is gone (the log of partition {partition} of topic {topic} ends at {end}, its record was at {offset})"
            ),
            Why::BeforeStart(start) => format!(
                "its record is gone (the log of partition {partition} of topic {topic} starts at {start}, its record was at {offset})"
            ),
            Why::NotOurs => format!(
                "its record is gone (another is at offset {offset} of partition {partition} of topic {topic})"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_case_of_the_table() {
        let log = Some(Bounds { start: 10, end: 20 });
        let cases = [
            (5, None, 0, Look::NotNeeded, Verdict::Gone(Why::NoPartition)),
            (-1, log, 15, Look::NotNeeded, Verdict::Gone(Why::NoPlace)),
            (20, log, 30, Look::NotNeeded, Verdict::Gone(Why::BeyondEnd(20))),
            (25, log, 0, Look::Ours, Verdict::Gone(Why::BeyondEnd(20))),
            (5, log, 6, Look::NotNeeded, Verdict::Missed),
            (5, log, 5, Look::NotNeeded, Verdict::Gone(Why::BeforeStart(10))),
            (15, log, 16, Look::NotNeeded, Verdict::Look),
            (15, log, 0, Look::NotNeeded, Verdict::Look),
            (15, log, 16, Look::Ours, Verdict::Missed),
            (15, log, 15, Look::Ours, Verdict::Lagging),
            (15, log, 16, Look::Other, Verdict::Gone(Why::NotOurs)),
            (10, log, 0, Look::Ours, Verdict::Lagging),
            (15, log, 16, Look::Absent, Verdict::Missed),
            (15, log, 15, Look::Absent, Verdict::Lagging),
            (10, log, 0, Look::Absent, Verdict::Lagging),
            (19, log, 0, Look::Absent, Verdict::Lagging),
            (20, log, 30, Look::Absent, Verdict::Gone(Why::BeyondEnd(20))),
            (9, log, 9, Look::Absent, Verdict::Gone(Why::BeforeStart(10))),
            (9, log, 10, Look::Absent, Verdict::Missed),
            (15, None, 30, Look::Absent, Verdict::Gone(Why::NoPartition)),
        ];
        for (offset, bounds, committed, record, expected) in cases {
            let facts = Facts { bounds, committed, record };
            assert_eq!(verdict(offset, &facts), expected, "{offset} {facts:?}");
        }
    }

    #[test]
    fn a_record_is_ours_anothers_or_absent() {
        let id = Uuid::from_u128;
        assert_eq!(Look::of(id(1), RecordAt::Row(id(1))), Look::Ours);
        assert_eq!(Look::of(id(1), RecordAt::Row(id(2))), Look::Other);
        assert_eq!(Look::of(id(1), RecordAt::Foreign), Look::Other);
        assert_eq!(Look::of(id(1), RecordAt::Absent), Look::Absent);
    }

    #[test]
    fn what_was_found_is_said() {
        let place = StoredPlace { topic: "t".to_owned(), partition: 3, offset: 17 };
        assert_eq!(
            Why::BeforeStart(120).of(Some(&place)),
            "its record is gone (the log of partition 3 of topic t starts at 120, its record was at 17)"
        );
        assert_eq!(
            Why::NotOurs.of(Some(&place)),
            "its record is gone (another is at offset 17 of partition 3 of topic t)"
        );
    }

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
