use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

/// What happened to a row's record, as the row is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    /// The row's primary key.
    pub id: Uuid,
    /// The transaction that inserted the row, as the log names it, if it may not be visible yet.
    pub xid: Option<u32>,
    /// The topic of the record.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
    /// The record's offset in the partition, if it is known: where the acknowledgement was lost and the record was sent
    /// once more, the broker says that it has it and not where.
    pub offset: Option<i64>,
    /// What happened to it.
    pub what: Happened,
}

/// What happened to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It was sent because the log brought its row, and acknowledged.
    Published,
    /// It was sent again on purpose, and acknowledged.
    Resent,
    /// It was consumed.
    Consumed {
        /// Whether a person had it sent again, so that even a row that says FAILED is done with.
        by_request: bool,
    },
}

/// A batch of changes, in the form and the order in which it is written: one change of each row.
///
/// Rows are in the order of their ids and partitions in the order of their names, so that two writers that touch
/// the same ones lock them in the same order and cannot deadlock. What happened to one row more than once is put
/// together, so that one UPDATE does all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChanges {
    pub(crate) rows: Vec<Merged>,
    /// Per partition the highest offset among all that were acknowledged.
    pub(crate) highest: Vec<(Arc<str>, i32, i64)>,
    /// The transactions that inserted the rows, each once.
    pub(crate) xids: Vec<u32>,
    /// How many of the rows were consumed.
    pub(crate) consumed: usize,
}

/// All that happened to one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Merged {
    pub(crate) id: Uuid,
    /// Of the newest record that was acknowledged; without one, or where it is not known, of the newest that was
    /// consumed.
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) offset: Option<i64>,
    pub(crate) published: bool,
    /// How often it was sent again.
    pub(crate) resent: i16,
    pub(crate) consumed: Consumed,
}

/// Ordered by how much it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Consumed {
    Not = 0,
    /// A row that says INIT or PUBLISH is COMPLETE.
    Once = 1,
    /// So is one that says FAILED.
    AfterAll = 2,
}

impl RowChanges {
    /// Puts the changes of a batch, given in the order in which they happened, in order.
    pub fn new(changes: impl IntoIterator<Item = RowChange>) -> Self {
        let mut changes: Vec<RowChange> = changes.into_iter().collect();
        let mut highest: BTreeMap<(Arc<str>, i32), i64> = BTreeMap::new();
        let mut xids: Vec<u32> = changes.iter().filter_map(|change| change.xid).collect();
        xids.sort_unstable();
        xids.dedup();
        for change in changes.iter().filter(|change| !matches!(change.what, Happened::Consumed { .. })) {
            let Some(at) = change.offset else { continue };
            let offset = highest.entry((change.topic.clone(), change.partition)).or_insert(at);
            *offset = (*offset).max(at);
        }
        // The sort is stable: what happened to one row stays in its order.
        changes.sort_by_key(|change| change.id);
        let mut rows: Vec<Merged> = Vec::with_capacity(changes.len());
        for change in changes {
            match rows.last_mut() {
                Some(row) if row.id == change.id => row.and(change),
                _ => rows.push(Merged::of(change)),
            }
        }
        let consumed = rows.iter().filter(|row| row.consumed != Consumed::Not).count();
        let highest =
            highest.into_iter().map(|((topic, partition), offset)| (topic, partition, offset)).collect();
        RowChanges { rows, highest, xids, consumed }
    }

    /// How many rows are to be written.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Per partition the highest offset that was acknowledged.
    pub fn highest(&self) -> impl Iterator<Item = (&Arc<str>, i32, i64)> {
        self.highest.iter().map(|(topic, partition, offset)| (topic, *partition, *offset))
    }
}

impl Merged {
    fn of(change: RowChange) -> Self {
        let RowChange { id, topic, partition, offset, what, .. } = change;
        Merged {
            id,
            topic,
            partition,
            offset,
            published: what == Happened::Published,
            resent: i16::from(what == Happened::Resent),
            consumed: Consumed::of(what),
        }
    }

    fn and(&mut self, later: RowChange) {
        let is_same_record = later.offset.is_some()
            && (&*self.topic, self.partition, self.offset) == (&*later.topic, later.partition, later.offset);
        let was_resent = self.resent > 0;
        let was_sent = self.published || was_resent;
        match later.what {
            Happened::Published => self.published = true,
            Happened::Resent => {
                self.resent = self.resent.saturating_add(1);
                // That a record was consumed before it was sent again says nothing of the new one.
                if is_same_record && self.consumed == Consumed::Once {
                    self.consumed = Consumed::AfterAll;
                }
            }
            // To send a row again makes it PUBLISH whatever it said.
            Happened::Consumed { .. } if was_resent => self.consumed = Consumed::AfterAll,
            Happened::Consumed { .. } => self.consumed = self.consumed.max(Consumed::of(later.what)),
        }
        let is_newer = match later.what {
            Happened::Published | Happened::Resent => later.offset.is_some() || was_sent,
            Happened::Consumed { .. } => !was_sent || self.offset.is_none(),
        };
        if is_newer {
            (self.topic, self.partition, self.offset) = (later.topic, later.partition, later.offset);
        }
    }
}

impl Consumed {
    fn of(what: Happened) -> Self {
        match what {
            Happened::Published | Happened::Resent => Consumed::Not,
            Happened::Consumed { by_request: false } => Consumed::Once,
            Happened::Consumed { by_request: true } => Consumed::AfterAll,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONSUMED: Happened = Happened::Consumed { by_request: false };
    const BY_REQUEST: Happened = Happened::Consumed { by_request: true };

    fn change(id: u128, topic: &str, partition: i32, offset: i64, what: Happened) -> RowChange {
        RowChange {
            id: Uuid::from_u128(id),
            xid: Some(7),
            topic: topic.into(),
            partition,
            offset: known(offset),
            what,
        }
    }

    /// As a broker says that it does not know.
    fn known(offset: i64) -> Option<i64> {
        Some(offset).filter(|offset| *offset >= 0)
    }

    fn merged(whats: &[(i64, Happened)]) -> Merged {
        let changes = whats.iter().map(|(offset, what)| change(1, "t", 0, *offset, *what));
        let mut rows = RowChanges::new(changes).rows;
        assert_eq!(rows.len(), 1);
        rows.remove(0)
    }

    #[test]
    fn of_an_id_sent_twice_the_newest_record_counts_and_no_offset_is_forgotten() {
        let sent = |id, topic, offset| change(id, topic, 0, offset, Happened::Published);
        let rows = RowChanges::new([sent(2, "b", 9), sent(1, "a", 5), sent(2, "a", 3), sent(1, "a", 4)]);
        let places: Vec<_> =
            rows.rows.iter().map(|row| (row.id.as_u128(), &*row.topic, row.offset.unwrap_or(-1))).collect();
        assert_eq!(places, [(1, "a", 4), (2, "a", 3)]);
        assert_eq!(rows.highest, [("a".into(), 0, 5), ("b".into(), 0, 9)]);
    }

    #[test]
    fn what_was_sent_and_consumed_is_one_change() {
        for order in [[(5, Happened::Published), (5, CONSUMED)], [(5, CONSUMED), (5, Happened::Published)]] {
            let row = merged(&order);
            assert!(row.published);
            assert_eq!((row.resent, row.consumed, row.offset), (0, Consumed::Once, Some(5)));
        }
    }

    #[test]
    fn a_row_that_was_given_up_is_done_with_only_when_what_was_sent_since_is_consumed() {
        assert_eq!(merged(&[(5, CONSUMED)]).consumed, Consumed::Once);
        assert_eq!(merged(&[(5, BY_REQUEST)]).consumed, Consumed::AfterAll);
        assert_eq!(merged(&[(9, Happened::Resent), (9, CONSUMED)]).consumed, Consumed::AfterAll);
        assert_eq!(merged(&[(9, CONSUMED), (9, Happened::Resent)]).consumed, Consumed::AfterAll);
        assert_eq!(merged(&[(5, CONSUMED), (9, Happened::Resent)]).consumed, Consumed::Once);
        assert_eq!(merged(&[(5, BY_REQUEST), (9, Happened::Resent)]).consumed, Consumed::AfterAll);
    }

    #[test]
    fn the_place_is_that_of_the_newest_record_sent_and_without_one_of_the_newest_consumed() {
        assert_eq!(merged(&[(9, Happened::Resent), (5, CONSUMED)]).offset, Some(9));
        assert_eq!(merged(&[(5, CONSUMED), (9, Happened::Resent)]).offset, Some(9));
        assert_eq!(merged(&[(5, CONSUMED), (9, CONSUMED)]).offset, Some(9));
    }

    #[test]
    fn a_record_whose_place_is_not_known_has_that_which_a_consumer_saw_and_never_an_older_one_sent() {
        assert_eq!(merged(&[(-1, Happened::Published)]).offset, None);
        assert_eq!(merged(&[(-1, Happened::Published), (5, CONSUMED)]).offset, Some(5));
        assert_eq!(merged(&[(5, CONSUMED), (-1, Happened::Published)]).offset, Some(5));
        assert_eq!(merged(&[(5, Happened::Published), (-1, Happened::Resent)]).offset, None);
        assert_eq!(merged(&[(-1, CONSUMED), (-1, Happened::Resent)]).consumed, Consumed::Once);
        let nowhere = RowChanges::new([change(1, "t", 0, -1, Happened::Published)]);
        assert_eq!(nowhere.highest, []);
    }

    proptest! {
        #[test]
        fn rows_are_in_the_order_of_their_ids_and_say_all_that_happened(
            given in proptest::collection::vec((0u128..20, 0i32..3, 0i64..100, 0usize..4), 0..60)
        ) {
            let whats = [Happened::Published, Happened::Resent, CONSUMED, BY_REQUEST];
            let changes = RowChanges::new(
                given.iter().map(|(id, partition, offset, what)| change(*id, "t", *partition, *offset, whats[*what])),
            );
            prop_assert!(changes.rows.windows(2).all(|pair| pair[0].id < pair[1].id));
            for row in &changes.rows {
                let mine: Vec<_> = given.iter().filter(|(id, ..)| *id == row.id.as_u128()).collect();
                let count = |wanted: usize| mine.iter().filter(|(.., what)| *what == wanted).count();
                prop_assert_eq!(row.published, count(0) > 0);
                prop_assert_eq!(usize::from(row.resent.unsigned_abs()), count(1));
                prop_assert_eq!(row.consumed == Consumed::Not, count(2) + count(3) == 0);
                prop_assert!(row.consumed == Consumed::AfterAll || count(3) == 0);
                let sent = mine.iter().rfind(|(.., what)| *what < 2).or(mine.last());
                prop_assert_eq!(sent.map(|(_, p, o, _)| (*p, *o)), row.offset.map(|offset| (row.partition, offset)));
            }
            let sent = given.iter().filter(|(.., what)| *what < 2);
            for (_, partition, offset, _) in sent {
                let highest = changes.highest.iter().find(|(_, p, _)| p == partition);
                prop_assert!(highest.is_some_and(|(_, _, highest)| highest >= offset));
            }
            prop_assert_eq!(
                changes.rows.iter().map(|row| row.id.as_u128()).collect::<Vec<_>>(),
                given.iter().map(|(id, ..)| *id).collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
            );
        }
    }
}
