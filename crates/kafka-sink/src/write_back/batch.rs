//! What is written together, and in what order.

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;

use outbox::CreatedRange;
use outbox_store::{Aside, Asides, Happened, RowChanges, Why};
use uuid::Uuid;

use super::open_chunks::ChunkNumber;
use crate::write_back::receipt::Receipt;
use crate::write_back::row_update::{Place, RowChange, What};

// The id, partition, offset and small numbers with the lengths PostgreSQL's array format puts before each element.
const ROW_BYTES: usize = 16 + 4 + 8 + 1 + 2 + 2 + 4 * 7;

// Kafka's longest topic name has 249 bytes.
pub(super) const ROW_BYTES_MAX: usize = ROW_BYTES + 249;

/// One thing that is to be written to a row.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Change(RowChange),
    /// One that was written and did not see its row. What it sets aside has its place in line since then, and may have
    /// left it: it gets none again.
    Again(RowChange),
    Receipt(Receipt, ChunkNumber),
}

/// Entries that are written with one statement, as often as it takes.
#[derive(Debug)]
pub(super) struct Batch {
    /// In the order in which they came.
    pub(super) entries: Vec<Entry>,
    pub(super) rows: Arc<Rows>,
    /// It may have been written already: its outcome is unknown.
    pub(super) in_doubt: bool,
}

/// A batch in the form in which it is written.
#[derive(Debug)]
pub(super) enum Rows {
    Changes(RowChanges),
    Asides(Asides),
}

impl Entry {
    pub(super) fn id(&self) -> Uuid {
        match self {
            Entry::Change(change) | Entry::Again(change) => change.id,
            Entry::Receipt(receipt, _) => receipt.id,
        }
    }

    pub(super) fn xid(&self) -> Option<u32> {
        match self {
            Entry::Change(change) | Entry::Again(change) => change.xid,
            Entry::Receipt(..) => None,
        }
    }

    pub(super) fn size_bytes(&self) -> usize {
        let more = match self {
            Entry::Receipt(receipt, _) => receipt.topic.len(),
            Entry::Change(change) | Entry::Again(change) => match &change.what {
                What::Published { topic, .. }
                | What::Resent { topic, .. }
                | What::Completed { topic, .. } => topic.len(),
                What::Failed { reason, head_of, .. } => {
                    reason.len() + head_of.as_ref().map_or(0, |lane| lane.topic.len() + lane.key.len())
                }
                What::Held { lane, .. } => lane.topic.len() + lane.key.len(),
            },
        };
        ROW_BYTES + more
    }

    /// Whether its record was acknowledged.
    pub(super) fn is_sent(&self) -> bool {
        self.what().is_some_and(|what| matches!(what, What::Published { .. } | What::Resent { .. }))
    }

    /// The entry, once it was written and did not see its row.
    pub(super) fn again(self) -> Entry {
        match self {
            Entry::Change(change) | Entry::Again(change) => Entry::Again(change),
            receipt @ Entry::Receipt(..) => receipt,
        }
    }

    fn what(&self) -> Option<&What> {
        match self {
            Entry::Change(change) | Entry::Again(change) => Some(&change.what),
            Entry::Receipt(..) => None,
        }
    }

    fn is_aside(&self) -> bool {
        self.what().is_some_and(|what| matches!(what, What::Failed { .. } | What::Held { .. }))
    }

    fn change(&self) -> Option<outbox_store::RowChange> {
        let (topic, place, what) = match self {
            Entry::Receipt(receipt, _) => (
                &receipt.topic,
                Place { partition: receipt.partition, offset: receipt.offset },
                Happened::Consumed { by_request: receipt.by_request },
            ),
            Entry::Change(change) | Entry::Again(change) => match &change.what {
                What::Published { topic, place } => (topic, *place, Happened::Published),
                What::Resent { topic, place } => (topic, *place, Happened::Resent),
                What::Completed { topic, place } => (topic, *place, Happened::Consumed { by_request: false }),
                What::Failed { .. } | What::Held { .. } => return None,
            },
        };
        Some(outbox_store::RowChange {
            id: self.id(),
            xid: self.xid(),
            topic: topic.clone(),
            partition: place.partition,
            offset: place.known_offset(),
            what,
        })
    }

    fn aside(&self) -> Option<Aside> {
        let why = match self.what()? {
            What::Failed { reason, sent, head_of } => {
                Why::Failed { reason: reason.clone(), sent: *sent, head_of: head_of.clone() }
            }
            What::Held { lane, behind } => Why::Held { lane: lane.clone(), behind: *behind },
            What::Published { .. } | What::Resent { .. } | What::Completed { .. } => return None,
        };
        let in_line = matches!(self, Entry::Again(_));
        Some(Aside { id: self.id(), xid: self.xid(), why, in_line })
    }
}

impl Batch {
    fn of_changes(entries: Vec<Entry>) -> Self {
        let rows = Rows::Changes(RowChanges::new(entries.iter().filter_map(Entry::change)));
        Batch { entries, rows: Arc::new(rows), in_doubt: false }
    }

    fn of_asides(entries: Vec<Entry>) -> Self {
        let rows = Rows::Asides(Asides::new(entries.iter().filter_map(Entry::aside)));
        Batch { entries, rows: Arc::new(rows), in_doubt: false }
    }

    /// When the rows were created that may say PUBLISH because of it.
    pub(super) fn created(&self) -> Option<CreatedRange> {
        let changes = self.entries.iter().filter_map(|entry| match entry {
            Entry::Change(change) | Entry::Again(change) => change.enters_publish(),
            Entry::Receipt(..) => None,
        });
        changes.reduce(CreatedRange::and)
    }
}

/// Divides entries, given in the order in which they came, into batches that are to be written one after the other, so
/// that of each row what came first is written first, and rows are set aside in their order.
pub(super) fn batches(entries: Vec<Entry>, rows_max: usize) -> Vec<Batch> {
    let mut batches = Vec::new();
    if entries.len() <= rows_max && !entries.iter().any(Entry::is_aside) {
        if !entries.is_empty() {
            batches.push(Batch::of_changes(entries));
        }
        return batches;
    }
    let mut asides = Part::default();
    let mut changes = Part::default();
    for entry in entries {
        // Those set aside are written before the changes, so a change may follow what sets its row aside.
        let (part, is_next) = if entry.is_aside() {
            let id = entry.id();
            let is_next = asides.ids.contains(&id) || changes.ids.contains(&id);
            (&asides, is_next)
        } else {
            (&changes, false)
        };
        if is_next || part.entries.len() >= rows_max {
            batches.extend(asides.take().map(Batch::of_asides));
            batches.extend(changes.take().map(Batch::of_changes));
        }
        if entry.is_aside() { asides.add(entry) } else { changes.add(entry) }
    }
    batches.extend(asides.take().map(Batch::of_asides));
    batches.extend(changes.take().map(Batch::of_changes));
    batches
}

#[derive(Debug, Default)]
struct Part {
    entries: Vec<Entry>,
    ids: HashSet<Uuid>,
}

impl Part {
    fn add(&mut self, entry: Entry) {
        self.ids.insert(entry.id());
        self.entries.push(entry);
    }

    fn take(&mut self) -> Option<Vec<Entry>> {
        self.ids.clear();
        Some(mem::take(&mut self.entries)).filter(|entries| !entries.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{change, failed, held, published, receipt, resent};
    use super::*;
    use proptest::prelude::*;

    fn ids(batch: &Batch) -> Vec<u128> {
        batch.entries.iter().map(|entry| entry.id().as_u128()).collect()
    }

    #[test]
    fn without_rows_set_aside_everything_is_one_batch() {
        let entries = vec![published(1), receipt(1), resent(2), receipt(1)];
        let batches = batches(entries, 10);
        assert_eq!(batches.len(), 1);
        assert_eq!(ids(&batches[0]), [1, 1, 2, 1]);
        let Rows::Changes(rows) = &*batches[0].rows else { panic!("{batches:?}") };
        assert_eq!(rows.len(), 2);
    }

    #[test]
    fn an_offset_that_the_broker_has_not_said_is_none() {
        let place = Place { partition: 0, offset: -1001 };
        let published = Entry::Change(change(1, What::Published { topic: "t".into(), place }));
        assert_eq!(published.change().expect("it was sent").offset, None);
        assert_eq!(receipt(1).change().expect("it was consumed").offset, Some(1));
        let [Batch { rows, .. }] = &batches(vec![published], 10)[..] else { panic!("one batch") };
        assert!(matches!(&**rows, Rows::Changes(rows) if rows.highest().next().is_none()));
    }

    #[test]
    fn what_did_not_see_its_row_gets_no_place_in_line_again() {
        for entry in [failed(1), held(2)] {
            assert!(!entry.aside().expect("it is set aside").in_line);
            assert!(entry.again().aside().expect("it is set aside").in_line);
        }
        assert_eq!(published(3).again().change(), published(3).change());
    }

    #[test]
    fn a_row_that_is_set_aside_and_then_sent_is_set_aside_first() {
        let batches = batches(vec![published(1), failed(2), resent(2), held(3), published(4)], 10);
        assert_eq!(batches.iter().map(ids).collect::<Vec<_>>(), [vec![2, 3], vec![1, 2, 4]]);
    }

    #[test]
    fn a_row_that_is_sent_and_then_set_aside_is_sent_first() {
        let batches = batches(vec![held(1), resent(1), failed(1)], 10);
        assert_eq!(batches.iter().map(ids).collect::<Vec<_>>(), [[1], [1], [1]]);
        assert!(matches!(&*batches[2].rows, Rows::Asides(_)));
    }

    proptest! {
        #[test]
        fn every_row_keeps_its_order_and_nothing_is_left_out(
            given in proptest::collection::vec((0usize..5, 0usize..8), 0..100),
            rows_max in 1usize..12,
        ) {
            let make = [published, resent, receipt, failed, held];
            let entries: Vec<_> = given.iter().map(|(what, id)| make[*what](*id)).collect();
            let show = |entry: &Entry| format!("{entry:?}");
            let batches = batches(entries.clone(), rows_max);
            for id in 0..8 {
                let of = |entries: &[Entry]| -> Vec<String> {
                    entries.iter().filter(|entry| entry.id().as_u128() == id).map(show).collect()
                };
                let written: Vec<String> = batches.iter().flat_map(|batch| of(&batch.entries)).collect();
                prop_assert_eq!(written, of(&entries));
            }
            let aside = |entries: &[Entry]| -> Vec<String> {
                entries.iter().filter(|entry| entry.is_aside()).map(show).collect()
            };
            let in_order: Vec<String> = batches.iter().flat_map(|batch| aside(&batch.entries)).collect();
            prop_assert_eq!(in_order, aside(&entries));
            for batch in &batches {
                prop_assert!(!batch.entries.is_empty() && batch.entries.len() <= rows_max);
                if let Rows::Asides(rows) = &*batch.rows {
                    prop_assert_eq!(rows.len(), batch.entries.len(), "each row is there once");
                }
            }
        }
    }
}
