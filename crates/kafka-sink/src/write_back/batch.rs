//! Batches of row updates, and their order.

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;

use outbox::CreatedRange;
use outbox_store::RowUpdateBatch;
use uuid::Uuid;

use crate::write_back::entry::WriteBackEntry;

/// Entries that are written with one statement, repeated until its outcome is known.
#[derive(Debug)]
pub(super) struct Batch {
    /// In the order in which they were submitted.
    pub(super) entries: Vec<WriteBackEntry>,
    pub(super) updates: Arc<RowUpdateBatch>,
    /// Whether an earlier attempt ended with an unknown outcome, so that the batch may have been written.
    pub(super) in_doubt: bool,
}

impl Batch {
    fn new(entries: Vec<WriteBackEntry>) -> Self {
        let updates = RowUpdateBatch::new(entries.iter().map(|entry| entry.update.clone()));
        Batch { entries, updates: Arc::new(updates), in_doubt: false }
    }

    /// When the rows were created that the batch may make PUBLISH.
    pub(super) fn published_created(&self) -> Option<CreatedRange> {
        self.entries.iter().filter_map(WriteBackEntry::published_created).reduce(CreatedRange::and)
    }
}

/// Divides entries, given in the order of their submission, into batches that are written one after the other. The
/// updates of each row keep their order, and rows fail or are held in theirs.
pub(super) fn batches(entries: Vec<WriteBackEntry>, rows_max: usize) -> Vec<Batch> {
    let mut batches = Vec::new();
    if entries.len() <= rows_max && !entries.iter().any(|entry| entry.update.is_fail_or_hold()) {
        if !entries.is_empty() {
            batches.push(Batch::new(entries));
        }
        return batches;
    }
    let mut fail_or_hold = Part::default();
    let mut deliveries = Part::default();
    for entry in entries {
        // Rows that fail or are held are written first, so a delivery of the same row may follow in this round.
        let (part, ends_round) = if entry.update.is_fail_or_hold() {
            let id = entry.id();
            let ends_round = fail_or_hold.ids.contains(&id) || deliveries.ids.contains(&id);
            (&fail_or_hold, ends_round)
        } else {
            (&deliveries, false)
        };
        if ends_round || part.entries.len() >= rows_max {
            batches.extend(fail_or_hold.take().map(Batch::new));
            batches.extend(deliveries.take().map(Batch::new));
        }
        if entry.update.is_fail_or_hold() { fail_or_hold.add(entry) } else { deliveries.add(entry) }
    }
    batches.extend(fail_or_hold.take().map(Batch::new));
    batches.extend(deliveries.take().map(Batch::new));
    batches
}

#[derive(Debug, Default)]
struct Part {
    entries: Vec<WriteBackEntry>,
    ids: HashSet<Uuid>,
}

impl Part {
    fn add(&mut self, entry: WriteBackEntry) {
        self.ids.insert(entry.id());
        self.entries.push(entry);
    }

    fn take(&mut self) -> Option<Vec<WriteBackEntry>> {
        self.ids.clear();
        Some(mem::take(&mut self.entries)).filter(|entries| !entries.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::write_back::fixture::{failed, held, published, receipt, resent};

    fn ids(batch: &Batch) -> Vec<u128> {
        batch.entries.iter().map(|entry| entry.id().as_u128()).collect()
    }

    #[test]
    fn batches_of_deliveries_and_receipts_are_one() {
        let entries = vec![published(1), receipt(1), resent(2), receipt(1)];
        let batches = batches(entries, 10);
        assert_eq!(batches.len(), 1);
        assert_eq!(ids(&batches[0]), [1, 1, 2, 1]);
        assert!(!batches[0].updates.is_fail_or_hold());
        assert_eq!(batches[0].updates.len(), 2);
    }

    #[test]
    fn batches_write_a_failed_row_before_its_later_delivery() {
        let batches = batches(vec![published(1), failed(2), resent(2), held(3), published(4)], 10);
        assert_eq!(batches.iter().map(ids).collect::<Vec<_>>(), [vec![2, 3], vec![1, 2, 4]]);
    }

    #[test]
    fn batches_write_a_delivery_before_the_later_failure_of_its_row() {
        let batches = batches(vec![held(1), resent(1), failed(1)], 10);
        assert_eq!(batches.iter().map(ids).collect::<Vec<_>>(), [[1], [1], [1]]);
        assert!(batches[2].updates.is_fail_or_hold());
    }

    proptest! {
        #[test]
        fn batches_keep_every_entry_and_the_order_of_each_row(
            given in proptest::collection::vec((0usize..5, 0usize..8), 0..100),
            rows_max in 1usize..12,
        ) {
            let make = [published, resent, receipt, failed, held];
            let entries: Vec<_> = given.iter().map(|(kind, id)| make[*kind](*id)).collect();
            let batches = batches(entries.clone(), rows_max);
            for id in 0..8 {
                let of = |entries: &[WriteBackEntry]| -> Vec<WriteBackEntry> {
                    entries.iter().filter(|entry| entry.id().as_u128() == id).cloned().collect()
                };
                let written: Vec<WriteBackEntry> = batches.iter().flat_map(|batch| of(&batch.entries)).collect();
                prop_assert_eq!(written, of(&entries));
            }
            let fail_or_hold = |entries: &[WriteBackEntry]| -> Vec<WriteBackEntry> {
                entries.iter().filter(|entry| entry.update.is_fail_or_hold()).cloned().collect()
            };
            let written: Vec<WriteBackEntry> = batches.iter().flat_map(|batch| fail_or_hold(&batch.entries)).collect();
            prop_assert_eq!(written, fail_or_hold(&entries));
            for batch in &batches {
                prop_assert!(!batch.entries.is_empty() && batch.entries.len() <= rows_max);
                if batch.updates.is_fail_or_hold() {
                    prop_assert_eq!(batch.updates.len(), batch.entries.len(), "each row once");
                }
            }
        }
    }
}
