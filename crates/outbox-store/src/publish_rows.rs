use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

/// One acknowledged event, as its row is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishRow {
    /// The row's primary key.
    pub id: Uuid,
    /// The transaction that inserted the row, as the log names it, if it may not be visible yet.
    pub xid: Option<u32>,
    /// The topic the record went to.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
    /// The record's offset in the partition.
    pub offset: i64,
}

/// A batch of acknowledged events, in the form and the order in which it is written back.
///
/// Rows are in the order of their ids and partitions in the order of their names, so that two writers that
/// touch the same ones lock them in the same order and cannot deadlock. Of an id that occurs more than once
/// the last occurrence counts: it is the newest record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishRows {
    pub(crate) rows: Vec<PublishRow>,
    /// Per partition the highest offset among all that were given.
    pub(crate) highest: Vec<(Arc<str>, i32, i64)>,
    /// The transactions that inserted the rows, each once.
    pub(crate) xids: Vec<u32>,
}

impl PublishRows {
    /// Puts the events of a batch, given in the order of their acknowledgement, in order.
    pub fn new(rows: impl IntoIterator<Item = PublishRow>) -> Self {
        let mut rows: Vec<PublishRow> = rows.into_iter().collect();
        let mut highest: BTreeMap<(Arc<str>, i32), i64> = BTreeMap::new();
        for row in &rows {
            let offset = highest.entry((row.topic.clone(), row.partition)).or_insert(row.offset);
            *offset = (*offset).max(row.offset);
        }
        // The sort is stable and the retained one of equals is the first, so the newest must come first.
        rows.reverse();
        rows.sort_by_key(|row| row.id);
        rows.dedup_by_key(|row| row.id);
        let mut xids: Vec<u32> = rows.iter().filter_map(|row| row.xid).collect();
        xids.sort_unstable();
        xids.dedup();
        let highest =
            highest.into_iter().map(|((topic, partition), offset)| (topic, partition, offset)).collect();
        PublishRows { rows, highest, xids }
    }

    /// How many rows are to be written.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(id: u128, topic: &str, partition: i32, offset: i64) -> PublishRow {
        PublishRow { id: Uuid::from_u128(id), xid: Some(7), topic: topic.into(), partition, offset }
    }

    #[test]
    fn of_an_id_given_twice_the_newest_record_counts_and_no_offset_is_forgotten() {
        let rows =
            PublishRows::new([row(2, "b", 0, 9), row(1, "a", 0, 5), row(2, "a", 0, 3), row(1, "a", 0, 4)]);
        assert_eq!(rows.rows, [row(1, "a", 0, 4), row(2, "a", 0, 3)]);
        assert_eq!(rows.highest, [("a".into(), 0, 5), ("b".into(), 0, 9)]);
    }

    proptest! {
        #[test]
        fn rows_are_in_the_order_of_their_ids_and_each_is_there_once(
            given in proptest::collection::vec((0u128..20, 0i32..3, 0i64..100), 0..60)
        ) {
            let rows = PublishRows::new(given.iter().map(|(id, partition, offset)| row(*id, "t", *partition, *offset)));
            prop_assert!(rows.rows.windows(2).all(|pair| pair[0].id < pair[1].id));
            for (id, partition, offset) in &given {
                let last = given.iter().rfind(|(other, ..)| other == id).map(|(_, p, o)| (*p, *o));
                let kept = rows.rows.iter().find(|row| row.id.as_u128() == *id);
                prop_assert_eq!(kept.map(|row| (row.partition, row.offset)), last);
                let highest = rows.highest.iter().find(|(_, p, _)| p == partition);
                prop_assert!(highest.is_some_and(|(_, _, highest)| highest >= offset));
            }
        }
    }
}
