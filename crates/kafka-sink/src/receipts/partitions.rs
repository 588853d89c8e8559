//! Where each partition stands.

use std::collections::HashMap;
use std::sync::Arc;

use super::commits::Index;
use super::seen::{Heights, NewPartition};

/// A partition that is consumed.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) topic: Arc<str>,
    pub(super) number: i32,
    heights: Arc<Heights>,
    /// The offset of the next record to read; 0 stands for the beginning. `None` until the group's own offset
    /// is known.
    position: Option<i64>,
    /// The offset from which on a followed group has not committed.
    low: i64,
    is_assigned: bool,
}

/// What a record that arrives is to its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is consumed.
    Next,
    /// It is consumed, and nothing after it may be read yet: the partition is to be let go.
    Last,
    /// It may not be read yet: the partition is to be let go and taken up again here.
    TooEarly,
    /// The partition had been let go.
    Stray,
}

/// Every partition that is consumed.
#[derive(Debug)]
pub(super) struct Partitions {
    follows: bool,
    all: Vec<Partition>,
    topics: HashMap<Arc<str>, Vec<Option<Index>>>,
}

impl Partitions {
    /// None yet; `follows` where groups are followed.
    pub(super) fn new(follows: bool) -> Self {
        Partitions { follows, all: Vec::new(), topics: HashMap::new() }
    }

    pub(super) fn add(&mut self, new: NewPartition) {
        let NewPartition { topic, number, heights } = new;
        let Ok(at) = usize::try_from(number) else { return };
        let numbers = self.topics.entry(Arc::clone(&topic)).or_default();
        if at >= numbers.len() {
            numbers.resize(at + 1, None);
        }
        numbers[at] = Some(self.all.len());
        let position = None;
        self.all.push(Partition { topic, number, heights, position, low: 0, is_assigned: false });
    }

    pub(super) fn get(&self, index: Index) -> &Partition {
        &self.all[index]
    }

    pub(super) fn find(&self, topic: &str, number: i32) -> Option<Index> {
        let at = usize::try_from(number).ok()?;
        self.topics.get(topic)?.get(at).copied().flatten()
    }

    fn those(&self, filter: impl Fn(&Partition) -> bool) -> Vec<Index> {
        (0..self.all.len()).filter(|index| filter(&self.all[*index])).collect()
    }

    /// Those whose start is not known.
    pub(super) fn unplaced(&self) -> Vec<Index> {
        self.those(|partition| partition.position.is_none())
    }

    /// Reads from the group's own committed offset, from the beginning where it has none.
    pub(super) fn place(&mut self, index: Index, committed: Option<i64>) {
        let partition = &mut self.all[index];
        let committed = committed.unwrap_or(0);
        let back = partition.heights.take_back();
        partition.position = Some(back.map_or(committed, |back| back.min(committed)));
    }

    /// Those whose start is known.
    pub(super) fn placed(&self) -> Vec<Index> {
        self.those(|partition| partition.position.is_some())
    }

    /// Those that have records of ours that are not read.
    pub(super) fn unread(&self) -> Vec<Index> {
        self.those(Partition::is_unread)
    }

    pub(super) fn has_unread(&self) -> bool {
        self.all.iter().any(Partition::is_unread)
    }

    /// The followed groups have committed up to `low`.
    pub(super) fn reach(&mut self, index: Index, low: i64) {
        self.all[index].low = low;
    }

    /// Those to take up, each with its position. They count as assigned.
    pub(super) fn take_up(&mut self) -> Vec<(Index, i64)> {
        let follows = self.follows;
        let mut taken = Vec::new();
        for (index, partition) in self.all.iter_mut().enumerate() {
            if let Some(position) = partition.position
                && !partition.is_assigned
                && (!follows || position < partition.low)
            {
                partition.is_assigned = true;
                taken.push((index, position));
            }
        }
        taken
    }

    /// A record has arrived.
    pub(super) fn arrives(&mut self, index: Index, offset: i64) -> Arrival {
        let follows = self.follows;
        let partition = &mut self.all[index];
        if !partition.is_assigned {
            return Arrival::Stray;
        }
        if follows && offset >= partition.low {
            partition.position = Some(offset);
            partition.is_assigned = false;
            return Arrival::TooEarly;
        }
        partition.position = Some(offset + 1);
        if follows && offset + 1 >= partition.low {
            partition.is_assigned = false;
            return Arrival::Last;
        }
        Arrival::Next
    }

    /// Goes back to where our records start anew, in every partition where they do. Says whether there was one.
    pub(super) fn go_back(&mut self) -> bool {
        let mut any = false;
        for partition in &mut self.all {
            if let Some(position) = partition.position
                && let Some(back) = partition.heights.take_back()
                && back < position
            {
                partition.position = Some(back);
                any = true;
                tracing::info!(
                    target: "kafka",
                    "partition {} of topic {} starts anew (its topic was made anew, or its end was lost with its leader): receipts go back from offset {position} to {back}",
                    partition.number,
                    partition.topic,
                );
            }
        }
        any
    }

    /// None is assigned any more.
    pub(super) fn let_all_go(&mut self) {
        for partition in &mut self.all {
            partition.is_assigned = false;
        }
    }
}

impl Partition {
    fn is_unread(&self) -> bool {
        self.position.is_some_and(|position| position < self.heights.end())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::receipts::seen::{News, Seen};

    fn partitions(follows: bool, offset: i64) -> (Partitions, Seen) {
        let news = Arc::new(News::default());
        let mut seen = Seen::new(Arc::clone(&news));
        seen.sees(&Arc::from("orders"), 1, offset);
        let mut partitions = Partitions::new(follows);
        for new in news.take_new() {
            partitions.add(new);
        }
        (partitions, seen)
    }

    #[test]
    fn a_partition_is_taken_up_once_it_is_placed() {
        let (mut partitions, _seen) = partitions(false, 9);
        assert_eq!(partitions.find("orders", 1), Some(0));
        assert_eq!((partitions.find("orders", 0), partitions.find("other", 1)), (None, None));
        assert!(partitions.take_up().is_empty());
        assert_eq!(partitions.unplaced(), [0]);
        partitions.place(0, Some(4));
        assert!(partitions.has_unread());
        assert_eq!(partitions.take_up(), [(0, 4)]);
        assert!(partitions.take_up().is_empty());
        for offset in 4..=9 {
            assert_eq!(partitions.arrives(0, offset), Arrival::Next);
        }
        assert!(!partitions.has_unread());
    }

    #[test]
    fn offsets_that_went_back_are_read_again() {
        let (mut partitions, mut seen) = partitions(false, 9);
        partitions.place(0, Some(10));
        partitions.take_up();
        assert!(!partitions.go_back());
        seen.sees(&Arc::from("orders"), 1, 2);
        assert!(partitions.go_back());
        partitions.let_all_go();
        assert_eq!(partitions.take_up(), [(0, 2)]);
    }

    proptest! {
        /// A log with gaps, read behind a low watermark that rises: every record below it is consumed, in
        /// order and once, and none above.
        #[test]
        fn nothing_is_read_past_the_low_watermark_and_nothing_is_skipped(
            gaps in proptest::collection::vec(1_i64..4, 1..40),
            steps in proptest::collection::vec(0_i64..30, 1..10),
        ) {
            let log: Vec<i64> =
                gaps.iter().scan(-1, |last, gap| { *last += gap; Some(*last) }).collect();
            let (mut partitions, _seen) = partitions(true, *log.last().unwrap());
            partitions.place(0, None);
            let (mut low, mut consumed, mut fetched) = (0, Vec::new(), None);
            for step in steps {
                low += step;
                partitions.reach(0, low);
                if let Some((_, position)) = partitions.take_up().first() {
                    fetched = Some(*position);
                }
                // The consumer is given what is in the log from where it was assigned on.
                while let Some(offset) = fetched.and_then(|from| log.iter().find(|offset| **offset >= from)) {
                    match partitions.arrives(0, *offset) {
                        Arrival::Next => { consumed.push(*offset); fetched = Some(offset + 1); }
                        Arrival::Last => { consumed.push(*offset); fetched = None; }
                        Arrival::TooEarly => fetched = None,
                        Arrival::Stray => prop_assert!(false, "read while let go"),
                    }
                }
                let expected: Vec<_> = log.iter().copied().filter(|offset| *offset < low).collect();
                prop_assert_eq!(&consumed, &expected);
            }
        }
    }
}
