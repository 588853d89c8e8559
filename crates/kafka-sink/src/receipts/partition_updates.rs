//! The partitions with records of Postrider, from the relay to the worker.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// No offset was lower than expected.
const NOT_REWOUND: i64 = i64::MAX;

/// The known offsets of a partition's records of Postrider.
#[derive(Debug)]
pub(super) struct OffsetBounds {
    /// After the last record.
    end: AtomicI64,
    /// The lowest offset that was observed after a higher one.
    rewound: AtomicI64,
}

impl OffsetBounds {
    /// After the last record of Postrider.
    pub(super) fn end(&self) -> i64 {
        self.end.load(Ordering::Relaxed)
    }

    /// The lowest offset, if offsets went back since the last call.
    pub(super) fn take_rewound_to(&self) -> Option<i64> {
        let rewound = self.rewound.swap(NOT_REWOUND, Ordering::Relaxed);
        (rewound != NOT_REWOUND).then_some(rewound)
    }
}

/// A partition for the worker to consume.
#[derive(Debug)]
pub(super) struct NewPartition {
    pub(super) topic: Arc<str>,
    pub(super) number: i32,
    pub(super) bounds: Arc<OffsetBounds>,
}

/// Updates that the worker has not taken yet; at most one entry for each partition.
#[derive(Debug, Default)]
pub(super) struct PartitionUpdates {
    new: Mutex<Vec<NewPartition>>,
    has_new: AtomicBool,
    has_rewound: AtomicBool,
}

impl PartitionUpdates {
    /// The new partitions since the last call.
    pub(super) fn take_new(&self) -> Vec<NewPartition> {
        if !self.has_new.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut *self.lock())
    }

    /// Whether the offsets of any partition went back since the last call.
    pub(super) fn take_rewound(&self) -> bool {
        self.has_rewound.load(Ordering::Relaxed) && self.has_rewound.swap(false, Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<NewPartition>> {
        self.new.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The side of the relay.
#[derive(Debug)]
pub(super) struct PartitionObserver {
    updates: Arc<PartitionUpdates>,
    /// By the partition's number.
    topics: HashMap<Arc<str>, Vec<Option<ObservedPartition>>>,
}

#[derive(Debug)]
struct ObservedPartition {
    last: i64,
    bounds: Arc<OffsetBounds>,
}

impl PartitionObserver {
    pub(super) fn new(updates: Arc<PartitionUpdates>) -> Self {
        PartitionObserver { updates, topics: HashMap::new() }
    }

    /// A record of Postrider is at `offset`. An unknown (negative) offset, as after a lost acknowledgement, only reports
    /// the partition.
    pub(super) fn observe(&mut self, topic: &Arc<str>, partition: i32, offset: i64) {
        let Ok(index) = usize::try_from(partition) else { return };
        let observed = match self.topics.get_mut(topic) {
            Some(observed) => observed,
            None => self.topics.entry(Arc::clone(topic)).or_default(),
        };
        if index >= observed.len() {
            observed.resize_with(index + 1, || None);
        }
        let Some(known) = &mut observed[index] else {
            let last = offset.max(-1);
            let bounds = OffsetBounds { end: AtomicI64::new(last + 1), rewound: AtomicI64::new(NOT_REWOUND) };
            let bounds = Arc::new(bounds);
            observed[index] = Some(ObservedPartition { last, bounds: Arc::clone(&bounds) });
            self.updates.lock().push(NewPartition { topic: Arc::clone(topic), number: partition, bounds });
            self.updates.has_new.store(true, Ordering::Release);
            return;
        };
        if offset < 0 {
            return;
        }
        // Offsets only increase, unless the topic was recreated or the log was truncated with its leader.
        if offset <= known.last {
            known.bounds.rewound.fetch_min(offset, Ordering::Relaxed);
            self.updates.has_rewound.store(true, Ordering::Release);
        }
        known.last = offset;
        known.bounds.end.store(offset + 1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observer_reports_a_partition_once_and_updates_its_end() {
        let updates = Arc::new(PartitionUpdates::default());
        let mut observer = PartitionObserver::new(Arc::clone(&updates));
        let topic: Arc<str> = Arc::from("orders");
        for offset in [4, 5, 6] {
            observer.observe(&topic, 2, offset);
        }
        observer.observe(&topic, 0, -1);
        observer.observe(&topic, -1, 3);
        let new = updates.take_new();
        let ends: Vec<_> = new.iter().map(|new| (&*new.topic, new.number, new.bounds.end())).collect();
        assert_eq!(ends, [("orders", 2, 7), ("orders", 0, 0)]);
        assert!(updates.take_new().is_empty());
        assert!(!updates.take_rewound());
    }

    #[test]
    fn observer_reports_a_rewind_once_with_the_lowest_offset() {
        let updates = Arc::new(PartitionUpdates::default());
        let mut observer = PartitionObserver::new(Arc::clone(&updates));
        let topic: Arc<str> = Arc::from("orders");
        for offset in [100, 5, -1, 6, 3, 4] {
            observer.observe(&topic, 0, offset);
        }
        let bounds = &updates.take_new()[0].bounds;
        assert!(updates.take_rewound());
        assert!(!updates.take_rewound());
        assert_eq!(bounds.take_rewound_to(), Some(3));
        assert_eq!(bounds.take_rewound_to(), None);
        assert_eq!(bounds.end(), 5);
    }
}
