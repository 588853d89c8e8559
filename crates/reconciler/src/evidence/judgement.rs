//! Judging a PUBLISH row by the evidence about its record.

use outbox::{LogBounds, RecordAtOffset, RecordPosition};
use uuid::Uuid;

/// What was found at the position of a row's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// The record was not read.
    NotProbed,
    /// The record carries the id of the row.
    Match,
    /// Another record is there.
    Mismatch,
    /// No record is there although the offset is within the bounds: it was compacted.
    Absent,
}

impl Probe {
    /// Compares what was found with the row's id.
    pub(crate) fn of(row: Uuid, found: RecordAtOffset) -> Self {
        match found {
            RecordAtOffset::Row(id) if id == row => Probe::Match,
            RecordAtOffset::Row(_) | RecordAtOffset::Foreign => Probe::Mismatch,
            RecordAtOffset::Absent => Probe::Absent,
        }
    }
}

/// The evidence about one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordFacts {
    /// `None` if the topic or partition does not exist.
    pub(crate) bounds: Option<LogBounds>,
    /// The next offset to consume; 0 where nothing was committed.
    pub(crate) committed: i64,
    pub(crate) probe: Probe,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It, or the record of its key that replaced it, was not consumed yet. Nothing has to be done.
    ConsumerLag,
    /// It was consumed; the row has to become COMPLETE.
    ReceiptMissed,
    /// It is not in the log and was not consumed; the row has to be published again.
    Lost(LossReason),
    /// The record has to be read.
    NeedsProbe,
}

/// Why a record counts as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LossReason {
    /// The topic or partition does not exist.
    NoPartition,
    /// Its offset is beyond the log end offset: the topic was created again.
    BeyondEnd(i64),
    /// Its offset is before the log start offset: it was deleted before it was consumed.
    BeforeStart(i64),
    /// Another record is at its offset.
    Mismatch,
}

/// Judges a row by the offset of its position and the evidence about it.
pub(crate) fn judge(offset: i64, facts: &RecordFacts) -> Judgement {
    let Some(bounds) = facts.bounds else { return Judgement::Lost(LossReason::NoPartition) };
    if offset >= bounds.end {
        return Judgement::Lost(LossReason::BeyondEnd(bounds.end));
    }
    let is_consumed = facts.committed > offset;
    if offset < bounds.start {
        return match is_consumed {
            true => Judgement::ReceiptMissed,
            false => Judgement::Lost(LossReason::BeforeStart(bounds.start)),
        };
    }
    match facts.probe {
        Probe::NotProbed => Judgement::NeedsProbe,
        Probe::Mismatch => Judgement::Lost(LossReason::Mismatch),
        // Compaction removes a record once there is a newer one of its key, after which it must not be sent again, and
        // a tombstone after `delete.retention.ms`.
        Probe::Match | Probe::Absent if is_consumed => Judgement::ReceiptMissed,
        Probe::Match | Probe::Absent => Judgement::ConsumerLag,
    }
}

impl LossReason {
    /// The text for `last_error` of a row with this position.
    pub(crate) fn text(self, place: &RecordPosition) -> String {
        let RecordPosition { topic, partition, offset } = place;
        match self {
            LossReason::NoPartition => format!("topic {topic} has no partition {partition}"),
            LossReason::BeyondEnd(end) => format!(
                "its record is lost (the log of partition {partition} of topic {topic} ends at {end}, its record was at {offset})"
            ),
            LossReason::BeforeStart(start) => format!(
                "its record is lost (the log of partition {partition} of topic {topic} starts at {start}, its record was at {offset})"
            ),
            LossReason::Mismatch => format!(
                "its record is lost (another record is at offset {offset} of partition {partition} of topic {topic})"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judge_covers_every_case() {
        let log = Some(LogBounds { start: 10, end: 20 });
        let cases = [
            (5, None, 0, Probe::NotProbed, Judgement::Lost(LossReason::NoPartition)),
            (20, log, 30, Probe::NotProbed, Judgement::Lost(LossReason::BeyondEnd(20))),
            (25, log, 0, Probe::Match, Judgement::Lost(LossReason::BeyondEnd(20))),
            (5, log, 6, Probe::NotProbed, Judgement::ReceiptMissed),
            (5, log, 5, Probe::NotProbed, Judgement::Lost(LossReason::BeforeStart(10))),
            (15, log, 16, Probe::NotProbed, Judgement::NeedsProbe),
            (15, log, 0, Probe::NotProbed, Judgement::NeedsProbe),
            (15, log, 16, Probe::Match, Judgement::ReceiptMissed),
            (15, log, 15, Probe::Match, Judgement::ConsumerLag),
            (15, log, 16, Probe::Mismatch, Judgement::Lost(LossReason::Mismatch)),
            (10, log, 0, Probe::Match, Judgement::ConsumerLag),
            (15, log, 16, Probe::Absent, Judgement::ReceiptMissed),
            (15, log, 15, Probe::Absent, Judgement::ConsumerLag),
            (10, log, 0, Probe::Absent, Judgement::ConsumerLag),
            (19, log, 0, Probe::Absent, Judgement::ConsumerLag),
            (20, log, 30, Probe::Absent, Judgement::Lost(LossReason::BeyondEnd(20))),
            (9, log, 9, Probe::Absent, Judgement::Lost(LossReason::BeforeStart(10))),
            (9, log, 10, Probe::Absent, Judgement::ReceiptMissed),
            (15, None, 30, Probe::Absent, Judgement::Lost(LossReason::NoPartition)),
        ];
        for (offset, bounds, committed, probe, expected) in cases {
            let facts = RecordFacts { bounds, committed, probe };
            assert_eq!(judge(offset, &facts), expected, "{offset} {facts:?}");
        }
    }

    #[test]
    fn probe_compares_the_record_with_the_row() {
        let id = Uuid::from_u128;
        assert_eq!(Probe::of(id(1), RecordAtOffset::Row(id(1))), Probe::Match);
        assert_eq!(Probe::of(id(1), RecordAtOffset::Row(id(2))), Probe::Mismatch);
        assert_eq!(Probe::of(id(1), RecordAtOffset::Foreign), Probe::Mismatch);
        assert_eq!(Probe::of(id(1), RecordAtOffset::Absent), Probe::Absent);
    }

    #[test]
    fn loss_reason_names_the_position_and_the_bounds() {
        let place = RecordPosition { topic: "t".into(), partition: 3, offset: 17 };
        assert_eq!(
            LossReason::BeforeStart(120).text(&place),
            "its record is lost (the log of partition 3 of topic t starts at 120, its record was at 17)"
        );
        assert_eq!(
            LossReason::Mismatch.text(&place),
            "its record is lost (another record is at offset 17 of partition 3 of topic t)"
        );
    }
}
