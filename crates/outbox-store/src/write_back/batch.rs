//! Row updates that are written with one statement.

use std::collections::BTreeMap;
use std::sync::Arc;

use outbox::RecordPosition;

use crate::write_back::coalesced_update::{CoalescedUpdate, Consumed};
use crate::write_back::fail_or_hold::FailOrHold;
use crate::write_back::row_update::RowUpdate;

/// Row updates that are written with one statement: either acknowledgements and receipts, or rows that fail or are
/// held.
///
/// Rows are sorted by id and partitions by topic and number, so that two writers that update the same ones lock them
/// in the same order and cannot deadlock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowUpdateBatch {
    pub(crate) rows: BatchRows,
    /// The transactions that inserted the rows, ascending, each once.
    pub(crate) xids: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BatchRows {
    Deliveries(Deliveries),
    /// Entries in `postrider.held` are made in the order of [`FailOrHold::number`].
    FailOrHold(Vec<FailOrHold>),
}

/// Acknowledgements and receipts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deliveries {
    /// One for each row.
    pub(crate) rows: Vec<CoalescedUpdate>,
    /// The highest acknowledged offset of each partition.
    pub(crate) highest: Vec<RecordPosition>,
    /// How many of the rows were consumed.
    pub(crate) consumed: usize,
}

impl RowUpdateBatch {
    /// A batch of updates, given in the order in which they happened. Acknowledgements and receipts of one row are
    /// coalesced; of two updates that fail or hold one row, the later replaces the earlier: use two batches to write
    /// one after the other.
    ///
    /// # Panics
    ///
    /// If some of the updates fail or hold their rows and others do not ([`RowUpdate::is_fail_or_hold`]): these are
    /// different statements.
    pub fn new(updates: impl IntoIterator<Item = RowUpdate>) -> RowUpdateBatch {
        let updates: Vec<RowUpdate> = updates.into_iter().collect();
        let mut xids: Vec<u32> = updates.iter().filter_map(|update| update.xid).collect();
        xids.sort_unstable();
        xids.dedup();
        let fails_or_holds = updates.iter().filter(|update| update.is_fail_or_hold()).count();
        assert!(
            fails_or_holds == 0 || fails_or_holds == updates.len(),
            "deliveries and rows that fail or are held cannot share a batch"
        );
        let rows = if fails_or_holds == 0 {
            BatchRows::Deliveries(Deliveries::new(updates))
        } else {
            BatchRows::FailOrHold(fail_or_hold(updates))
        };
        RowUpdateBatch { rows, xids }
    }

    /// How many rows are written.
    pub fn len(&self) -> usize {
        match &self.rows {
            BatchRows::Deliveries(deliveries) => deliveries.rows.len(),
            BatchRows::FailOrHold(rows) => rows.len(),
        }
    }

    /// Whether there is no row to write.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the rows fail or are held.
    pub fn is_fail_or_hold(&self) -> bool {
        matches!(self.rows, BatchRows::FailOrHold(_))
    }

    /// The highest acknowledged offset of each partition.
    pub fn highest(&self) -> &[RecordPosition] {
        match &self.rows {
            BatchRows::Deliveries(deliveries) => &deliveries.highest,
            BatchRows::FailOrHold(_) => &[],
        }
    }
}

impl Deliveries {
    fn new(mut updates: Vec<RowUpdate>) -> Deliveries {
        let mut highest: BTreeMap<(Arc<str>, i32), i64> = BTreeMap::new();
        for at in updates.iter().filter(|update| update.is_sent()).filter_map(|update| update.kind.position())
        {
            let Some(offset) = at.known_offset() else { continue };
            let known = highest.entry((at.topic.clone(), at.partition)).or_insert(offset);
            *known = (*known).max(offset);
        }
        // The sort is stable: the updates of one row keep their order.
        updates.sort_by_key(|update| update.id);
        let mut rows: Vec<CoalescedUpdate> = Vec::with_capacity(updates.len());
        for update in updates.into_iter().filter_map(CoalescedUpdate::of) {
            match rows.last_mut() {
                Some(row) if row.id == update.id => row.add(update),
                _ => rows.push(update),
            }
        }
        let consumed = rows.iter().filter(|row| row.consumed != Consumed::Not).count();
        let position = |((topic, partition), offset)| RecordPosition { topic, partition, offset };
        Deliveries { rows, highest: highest.into_iter().map(position).collect(), consumed }
    }
}

fn fail_or_hold(updates: Vec<RowUpdate>) -> Vec<FailOrHold> {
    let mut rows: Vec<FailOrHold> =
        updates.into_iter().zip(0..).filter_map(|(update, number)| FailOrHold::of(update, number)).collect();
    rows.reverse();
    rows.sort_by_key(|row| row.id);
    rows.dedup_by_key(|row| row.id);
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::write_back::row_update::RowUpdateKind;

    fn update(id: u128, kind: RowUpdateKind) -> RowUpdate {
        RowUpdate { xid: Some(7), ..RowUpdate::new(Uuid::from_u128(id), kind) }
    }

    fn at(topic: &str, partition: i32, offset: i64) -> RecordPosition {
        RecordPosition { topic: topic.into(), partition, offset }
    }

    fn failed(id: u128, reason: &str) -> RowUpdate {
        update(id, RowUpdateKind::Failed { reason: reason.to_owned(), sent: true, head_of: None })
    }

    fn deliveries(batch: &RowUpdateBatch) -> &Deliveries {
        let BatchRows::Deliveries(deliveries) = &batch.rows else { panic!("{batch:?}") };
        deliveries
    }

    fn fails(batch: &RowUpdateBatch) -> &[FailOrHold] {
        let BatchRows::FailOrHold(rows) = &batch.rows else { panic!("{batch:?}") };
        rows
    }

    #[test]
    fn batch_keeps_the_newest_record_of_a_row_and_the_highest_offset_of_a_partition() {
        let sent = |id, topic, offset| update(id, RowUpdateKind::Published(at(topic, 0, offset)));
        let batch = RowUpdateBatch::new([sent(2, "b", 9), sent(1, "a", 5), sent(2, "a", 3), sent(1, "a", 4)]);
        let positions: Vec<_> =
            deliveries(&batch).rows.iter().map(|row| (row.id.as_u128(), row.at.clone())).collect();
        assert_eq!(positions, [(1, at("a", 0, 4)), (2, at("a", 0, 3))]);
        assert_eq!(batch.highest(), [at("a", 0, 5), at("b", 0, 9)]);
    }

    #[test]
    fn batch_leaves_unknown_offsets_out_of_the_highest() {
        let batch = RowUpdateBatch::new([update(1, RowUpdateKind::Published(at("t", 0, -1)))]);
        assert_eq!(batch.highest(), []);
    }

    #[test]
    fn batch_sorts_failed_rows_by_id_and_numbers_them_as_submitted() {
        let batch = RowUpdateBatch::new([failed(3, "a"), failed(1, "b"), failed(2, "c")]);
        let rows: Vec<_> = fails(&batch).iter().map(|row| (row.id.as_u128(), row.number)).collect();
        assert_eq!(rows, [(1, 1), (2, 2), (3, 0)]);
        assert_eq!(batch.xids, [7]);
    }

    #[test]
    fn batch_keeps_the_later_of_two_failures_of_a_row() {
        let batch = RowUpdateBatch::new([failed(1, "a"), failed(1, "b")]);
        assert_eq!(fails(&batch).iter().map(|row| &*row.last_error).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    #[should_panic(expected = "cannot share a batch")]
    fn batch_refuses_to_mix_deliveries_and_failures() {
        RowUpdateBatch::new([failed(1, "a"), update(2, RowUpdateKind::Published(at("t", 0, 1)))]);
    }

    proptest! {
        #[test]
        fn batch_has_every_row_once_in_order_with_all_its_updates(
            given in proptest::collection::vec((0u128..20, 0i32..3, 0i64..100, 0usize..4), 0..60)
        ) {
            let batch = RowUpdateBatch::new(given.iter().map(|(id, partition, offset, kind)| {
                let at = at("t", *partition, *offset);
                let kind = match kind {
                    0 => RowUpdateKind::Published(at),
                    1 => RowUpdateKind::Resent(at),
                    kind => RowUpdateKind::Consumed { at, by_request: *kind == 3 },
                };
                update(*id, kind)
            }));
            let deliveries = deliveries(&batch);
            prop_assert!(deliveries.rows.windows(2).all(|pair| pair[0].id < pair[1].id));
            for row in &deliveries.rows {
                let mine: Vec<_> = given.iter().filter(|(id, ..)| *id == row.id.as_u128()).collect();
                let count = |wanted: usize| mine.iter().filter(|(.., kind)| *kind == wanted).count();
                prop_assert_eq!(row.published, count(0) > 0);
                prop_assert_eq!(usize::from(row.resent.unsigned_abs()), count(1));
                prop_assert_eq!(row.consumed == Consumed::Not, count(2) + count(3) == 0);
                prop_assert!(row.consumed == Consumed::OverridesFailed || count(3) == 0);
                let sent = mine.iter().rfind(|(.., kind)| *kind < 2).or(mine.last());
                prop_assert_eq!(sent.map(|(_, p, o, _)| (*p, *o)), Some((row.at.partition, row.at.offset)));
            }
            let sent = given.iter().filter(|(.., kind)| *kind < 2);
            for (_, partition, offset, _) in sent {
                let highest = deliveries.highest.iter().find(|highest| highest.partition == *partition);
                prop_assert!(highest.is_some_and(|highest| highest.offset >= *offset));
            }
            prop_assert_eq!(
                deliveries.rows.iter().map(|row| row.id.as_u128()).collect::<Vec<_>>(),
                given.iter().map(|(id, ..)| *id).collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
            );
        }
    }
}
