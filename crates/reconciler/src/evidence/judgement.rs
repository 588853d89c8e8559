//! What Kafka knows of a row that says PUBLISH, and what follows from it.

use std::fmt;

use outbox_store::StoredPlace;
use uuid::Uuid;

use crate::evidence::kafka_evidence::{Bounds, RecordAt};

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
}
