//! The batch that is being collected.

use std::time::Duration;

use tokio::time::Instant;

use crate::write_back::entry::{ROW_BYTES_MAX, WriteBackEntry};

/// Receipts fill the room that the relay's updates leave, and get at least this part of a batch. The relay's updates
/// come first, because the slot advances only after them; the share keeps receipts moving under a constant load.
const RECEIPTS_SHARE: usize = 4;

/// How large a batch may get and how long it may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchLimits {
    /// The share of the receipts may come on top.
    pub(super) rows_max: usize,
    pub(super) bytes_max: usize,
    pub(super) linger: Duration,
}

/// Collects entries until the batch is full or has lingered long enough.
#[derive(Debug)]
pub(super) struct Batcher {
    limits: BatchLimits,
    entries: Vec<WriteBackEntry>,
    receipts: usize,
    bytes: usize,
    since: Option<Instant>,
}

impl Batcher {
    pub(super) fn new(limits: BatchLimits) -> Self {
        Batcher { limits, entries: Vec::new(), receipts: 0, bytes: 0, since: None }
    }

    /// The most rows of a batch.
    pub(super) fn rows_max(&self) -> usize {
        self.limits.rows_max
    }

    /// How many more entries may be added: as many as certainly fit, at least one until the batch is full.
    pub(super) fn room(&self) -> usize {
        if self.is_full() {
            return 0;
        }
        let by_bytes = (self.limits.bytes_max - self.bytes) / ROW_BYTES_MAX;
        (self.limits.rows_max - self.entries.len()).min(by_bytes.max(1))
    }

    /// How many more receipts may be added.
    pub(super) fn room_for_receipts(&self) -> usize {
        let share = (self.limits.rows_max / RECEIPTS_SHARE).max(1);
        self.room().max(share.saturating_sub(self.receipts))
    }

    pub(super) fn add(&mut self, entry: WriteBackEntry, now: Instant) {
        self.since.get_or_insert(now);
        self.bytes += entry.size_bytes();
        self.receipts += usize::from(entry.is_receipt());
        self.entries.push(entry);
    }

    pub(super) fn entries(&self) -> &[WriteBackEntry] {
        &self.entries
    }

    /// When the batch has lingered long enough; `None` if it is empty.
    pub(super) fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + self.limits.linger)
    }

    /// The batch, if it is full or has lingered long enough.
    pub(super) fn take(&mut self, now: Instant) -> Option<Vec<WriteBackEntry>> {
        if !self.is_full() && self.due().is_none_or(|due| now < due) {
            return None;
        }
        self.since = None;
        self.bytes = 0;
        self.receipts = 0;
        Some(std::mem::take(&mut self.entries))
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.limits.rows_max || self.bytes >= self.limits.bytes_max
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::write_back::fixture::{published, published_to, receipt};

    fn limits(rows_max: usize, bytes_max: usize) -> BatchLimits {
        BatchLimits { rows_max, bytes_max, linger: Duration::from_millis(3) }
    }

    #[test]
    fn batcher_returns_a_single_entry_after_the_linger() {
        let now = Instant::now();
        let mut batcher = Batcher::new(limits(10, 10_000));
        assert!(batcher.take(now).is_none());
        batcher.add(published(1), now);
        assert!(batcher.take(now + Duration::from_millis(2)).is_none());
        assert_eq!(batcher.take(now + Duration::from_millis(3)).expect("it is due").len(), 1);
        assert_eq!(batcher.due(), None);
    }

    #[test]
    fn batcher_lingers_from_the_first_entry() {
        let now = Instant::now();
        let mut batcher = Batcher::new(limits(10, 10_000));
        batcher.add(published(1), now);
        batcher.add(receipt(2), now + Duration::from_millis(2));
        assert_eq!(batcher.due(), Some(now + Duration::from_millis(3)));
    }

    #[test]
    fn batcher_gives_receipts_the_room_left_or_their_share() {
        let now = Instant::now();
        let mut batcher = Batcher::new(limits(8, 10_000));
        for id in 0..8 {
            assert_eq!(batcher.room_for_receipts(), (8 - id).max(2));
            batcher.add(published(id), now);
        }
        assert_eq!((batcher.room(), batcher.room_for_receipts()), (0, 2));
        batcher.add(receipt(1), now);
        batcher.add(receipt(2), now);
        assert_eq!((batcher.room(), batcher.room_for_receipts()), (0, 0));
        assert_eq!(batcher.take(now).expect("it is full").len(), 10);
        assert_eq!(batcher.room_for_receipts(), 8);
    }

    proptest! {
        #[test]
        fn batcher_keeps_its_limits_and_every_entry(
            topics in proptest::collection::vec(1usize..249, 1..300),
            rows_max in 1usize..50,
            bytes_max in 1usize..5000,
        ) {
            let now = Instant::now();
            let mut batcher = Batcher::new(limits(rows_max, bytes_max));
            let mut taken = Vec::new();
            let mut queue: std::collections::VecDeque<_> =
                topics.iter().enumerate().map(|(id, length)| published_to(id, &"t".repeat(*length))).collect();
            while !queue.is_empty() {
                let room = batcher.room();
                prop_assert!(room > 0);
                let mut last = 0;
                for entry in queue.drain(..room.min(queue.len())) {
                    last = entry.size_bytes();
                    batcher.add(entry, now);
                }
                prop_assert!(batcher.bytes < bytes_max + last);
                if let Some(batch) = batcher.take(now) {
                    prop_assert!(batch.len() <= rows_max);
                    taken.extend(batch);
                }
            }
            taken.extend(batcher.take(now + Duration::from_secs(1)).unwrap_or_default());
            prop_assert!(taken.iter().map(|entry| entry.id().as_u128()).eq(0..topics.len() as u128));
        }
    }
}
