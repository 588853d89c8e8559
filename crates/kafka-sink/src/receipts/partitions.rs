//! The partitions that are consumed, and the position in each.

use std::collections::HashMap;
use std::sync::Arc;

use crate::receipts::commits::PartitionIndex;
use crate::receipts::partition_updates::{NewPartition, OffsetBounds};

/// A partition that is consumed.
#[derive(Debug)]
pub(super) struct ConsumedPartition {
    pub(super) topic: Arc<str>,
    pub(super) number: i32,
    bounds: Arc<OffsetBounds>,
    /// The offset of the next record to read; 0 is the beginning. `None` until the group's committed offset is known.
    position: Option<i64>,
    /// The lowest offset that the followed groups have committed. Records from it on are not read yet.
    min_committed: i64,
    is_assigned: bool,
}

/// What to do with a record that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Consume it.
    Consume,
    /// Consume it and unassign the partition: the next record must not be read yet.
    ConsumeAndUnassign,
    /// Unassign the partition: the record must not be read yet. The partition is assigned again at this record.
    Unassign,
    /// Ignore it: the partition is not assigned any more.
    Ignore,
}

/// The partitions that are consumed.
#[derive(Debug)]
pub(super) struct ConsumedPartitions {
    follows_groups: bool,
    all: Vec<ConsumedPartition>,
    topics: HashMap<Arc<str>, Vec<Option<PartitionIndex>>>,
}

impl ConsumedPartitions {
    /// Empty. `follows_groups`: records are not read before the followed groups have committed past them.
    pub(super) fn new(follows_groups: bool) -> Self {
        ConsumedPartitions { follows_groups, all: Vec::new(), topics: HashMap::new() }
    }

    pub(super) fn add(&mut self, new: NewPartition) {
        let NewPartition { topic, number, bounds } = new;
        let Ok(at) = usize::try_from(number) else { return };
        let numbers = self.topics.entry(Arc::clone(&topic)).or_default();
        if at >= numbers.len() {
            numbers.resize(at + 1, None);
        }
        numbers[at] = Some(self.all.len());
        let (position, min_committed, is_assigned) = (None, 0, false);
        self.all.push(ConsumedPartition { topic, number, bounds, position, min_committed, is_assigned });
    }

    pub(super) fn get(&self, index: PartitionIndex) -> &ConsumedPartition {
        &self.all[index]
    }

    pub(super) fn find(&self, topic: &str, number: i32) -> Option<PartitionIndex> {
        let at = usize::try_from(number).ok()?;
        self.topics.get(topic)?.get(at).copied().flatten()
    }

    fn filter(&self, filter: impl Fn(&ConsumedPartition) -> bool) -> Vec<PartitionIndex> {
        (0..self.all.len()).filter(|index| filter(&self.all[*index])).collect()
    }

    /// The partitions whose position is unknown.
    pub(super) fn without_position(&self) -> Vec<PartitionIndex> {
        self.filter(|partition| partition.position.is_none())
    }

    /// The partitions whose position is known.
    pub(super) fn with_position(&self) -> Vec<PartitionIndex> {
        self.filter(|partition| partition.position.is_some())
    }

    /// Starts at the group's committed offset, or at the beginning.
    pub(super) fn start_at(&mut self, index: PartitionIndex, committed: Option<i64>) {
        let partition = &mut self.all[index];
        let committed = committed.unwrap_or(0);
        let rewound_to = partition.bounds.take_rewound_to();
        partition.position = Some(rewound_to.map_or(committed, |offset| offset.min(committed)));
    }

    /// The partitions with unread records of Postrider.
    pub(super) fn unread(&self) -> Vec<PartitionIndex> {
        self.filter(ConsumedPartition::is_unread)
    }

    pub(super) fn has_unread(&self) -> bool {
        self.all.iter().any(ConsumedPartition::is_unread)
    }

    pub(super) fn set_min_committed(&mut self, index: PartitionIndex, min_committed: i64) {
        self.all[index].min_committed = min_committed;
    }

    /// The partitions to assign now, with their positions. They count as assigned.
    pub(super) fn take_assignable(&mut self) -> Vec<(PartitionIndex, i64)> {
        let follows_groups = self.follows_groups;
        let mut assignable = Vec::new();
        for (index, partition) in self.all.iter_mut().enumerate() {
            if let Some(position) = partition.position
                && !partition.is_assigned
                && (!follows_groups || position < partition.min_committed)
            {
                partition.is_assigned = true;
                assignable.push((index, position));
            }
        }
        assignable
    }

    /// A record of the partition arrived.
    pub(super) fn record_arrived(&mut self, index: PartitionIndex, offset: i64) -> Arrival {
        let follows_groups = self.follows_groups;
        let partition = &mut self.all[index];
        if !partition.is_assigned {
            return Arrival::Ignore;
        }
        if follows_groups && offset >= partition.min_committed {
            partition.position = Some(offset);
            partition.is_assigned = false;
            return Arrival::Unassign;
        }
        partition.position = Some(offset + 1);
        if follows_groups && offset + 1 >= partition.min_committed {
            partition.is_assigned = false;
            return Arrival::ConsumeAndUnassign;
        }
        Arrival::Consume
    }

    /// Moves the positions of rewound partitions back. Returns whether there was one.
    pub(super) fn rewind(&mut self) -> bool {
        let mut any = false;
        for partition in &mut self.all {
            if let Some(position) = partition.position
                && let Some(rewound_to) = partition.bounds.take_rewound_to()
                && rewound_to < position
            {
                partition.position = Some(rewound_to);
                any = true;
                tracing::info!(
                    target: "kafka",
                    topic = &*partition.topic,
                    partition = partition.number,
                    from = position,
                    to = rewound_to,
                    "topic was recreated or its log truncated; receipts go back"
                );
            }
        }
        any
    }

    pub(super) fn unassign_all(&mut self) {
        for partition in &mut self.all {
            partition.is_assigned = false;
        }
    }
}

impl ConsumedPartition {
    fn is_unread(&self) -> bool {
        self.position.is_some_and(|position| position < self.bounds.end())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::receipts::partition_updates::{PartitionObserver, PartitionUpdates};

    fn partitions(follows_groups: bool, offset: i64) -> (ConsumedPartitions, PartitionObserver) {
        let updates = Arc::new(PartitionUpdates::default());
        let mut observer = PartitionObserver::new(Arc::clone(&updates));
        observer.observe(&Arc::from("orders"), 1, offset);
        let mut partitions = ConsumedPartitions::new(follows_groups);
        for new in updates.take_new() {
            partitions.add(new);
        }
        (partitions, observer)
    }

    #[test]
    fn partition_is_assigned_once_its_position_is_known() {
        let (mut partitions, _observer) = partitions(false, 9);
        assert_eq!(partitions.find("orders", 1), Some(0));
        assert_eq!((partitions.find("orders", 0), partitions.find("other", 1)), (None, None));
        assert!(partitions.take_assignable().is_empty());
        assert_eq!(partitions.without_position(), [0]);
        partitions.start_at(0, Some(4));
        assert!(partitions.has_unread());
        assert_eq!(partitions.take_assignable(), [(0, 4)]);
        assert!(partitions.take_assignable().is_empty());
        for offset in 4..=9 {
            assert_eq!(partitions.record_arrived(0, offset), Arrival::Consume);
        }
        assert!(!partitions.has_unread());
    }

    #[test]
    fn rewound_partition_is_read_again() {
        let (mut partitions, mut observer) = partitions(false, 9);
        partitions.start_at(0, Some(10));
        partitions.take_assignable();
        assert!(!partitions.rewind());
        observer.observe(&Arc::from("orders"), 1, 2);
        assert!(partitions.rewind());
        partitions.unassign_all();
        assert_eq!(partitions.take_assignable(), [(0, 2)]);
    }

    proptest! {
        /// A log with gaps and a rising minimum of committed offsets: every record below it is consumed once and in
        /// order, and no other.
        #[test]
        fn partitions_read_exactly_up_to_the_committed_minimum(
            gaps in proptest::collection::vec(1_i64..4, 1..40),
            steps in proptest::collection::vec(0_i64..30, 1..10),
        ) {
            let log: Vec<i64> =
                gaps.iter().scan(-1, |last, gap| { *last += gap; Some(*last) }).collect();
            let (mut partitions, _observer) = partitions(true, *log.last().unwrap());
            partitions.start_at(0, None);
            let (mut min_committed, mut consumed, mut fetched) = (0, Vec::new(), None);
            for step in steps {
                min_committed += step;
                partitions.set_min_committed(0, min_committed);
                if let Some((_, position)) = partitions.take_assignable().first() {
                    fetched = Some(*position);
                }
                // The consumer gets the records of the log from the assigned position on.
                while let Some(offset) = fetched.and_then(|from| log.iter().find(|offset| **offset >= from)) {
                    match partitions.record_arrived(0, *offset) {
                        Arrival::Consume => { consumed.push(*offset); fetched = Some(offset + 1); }
                        Arrival::ConsumeAndUnassign => { consumed.push(*offset); fetched = None; }
                        Arrival::Unassign => fetched = None,
                        Arrival::Ignore => prop_assert!(false, "read while unassigned"),
                    }
                }
                let expected: Vec<_> = log.iter().copied().filter(|offset| *offset < min_committed).collect();
                prop_assert_eq!(&consumed, &expected);
            }
        }
    }
}
