//! The batch that is being gathered: when it is full or has waited long enough.

use std::time::Duration;

use tokio::time::Instant;

use super::batch::{Entry, ROW_BYTES_MAX};

// Receipts take what room the pump leaves, and no less than this part of a batch: the pump goes first, because the slot
// waits for it, but rows are to become COMPLETE although it never rests.
const RECEIPTS_SHARE: usize = 4;

/// How large a batch may get and how long it may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The share of the receipts may come on top.
    pub(super) rows_max: usize,
    pub(super) bytes_max: usize,
    pub(super) linger: Duration,
}

#[derive(Debug)]
pub(super) struct Gathering {
    limits: Limits,
    entries: Vec<Entry>,
    receipts: usize,
    bytes: usize,
    since: Option<Instant>,
}

impl Gathering {
    pub(super) fn new(limits: Limits) -> Self {
        Gathering { limits, entries: Vec::new(), receipts: 0, bytes: 0, since: None }
    }

    /// The most rows of a batch.
    pub(super) fn rows_max(&self) -> usize {
        self.limits.rows_max
    }

    /// How many more entries are certain to fit; one where it is only likely, none when the batch is full.
    pub(super) fn room(&self) -> usize {
        if self.is_full() {
            return 0;
        }
        let by_bytes = (self.limits.bytes_max - self.bytes) / ROW_BYTES_MAX;
        (self.limits.rows_max - self.entries.len()).min(by_bytes.max(1))
    }

    /// The same for receipts.
    pub(super) fn room_for_receipts(&self) -> usize {
        let share = (self.limits.rows_max / RECEIPTS_SHARE).max(1);
        self.room().max(share.saturating_sub(self.receipts))
    }

    pub(super) fn add(&mut self, entry: Entry, now: Instant) {
        self.since.get_or_insert(now);
        self.bytes += entry.size_bytes();
        self.receipts += usize::from(matches!(entry, Entry::Receipt(..)));
        self.entries.push(entry);
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// When the batch has waited long enough, if there is one.
    pub(super) fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + self.limits.linger)
    }

    /// What has been gathered, if it is full or has waited long enough.
    pub(super) fn take(&mut self, now: Instant) -> Option<Vec<Entry>> {
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
    use super::super::fixture::{published, published_to, receipt};
    use super::*;
    use proptest::prelude::*;

    fn limits(rows_max: usize, bytes_max: usize) -> Limits {
        Limits { rows_max, bytes_max, linger: Duration::from_millis(3) }
    }

    #[test]
    fn a_lone_entry_waits_for_the_linger_and_no_longer() {
        let now = Instant::now();
        let mut gathering = Gathering::new(limits(10, 10_000));
        assert!(gathering.take(now).is_none());
        gathering.add(published(1), now);
        assert!(gathering.take(now + Duration::from_millis(2)).is_none());
        assert_eq!(gathering.take(now + Duration::from_millis(3)).expect("it is due").len(), 1);
        assert_eq!(gathering.due(), None);
    }

    #[test]
    fn entries_that_come_later_do_not_prolong_the_wait_of_the_first() {
        let now = Instant::now();
        let mut gathering = Gathering::new(limits(10, 10_000));
        gathering.add(published(1), now);
        gathering.add(receipt(2), now + Duration::from_millis(2));
        assert_eq!(gathering.due(), Some(now + Duration::from_millis(3)));
    }

    #[test]
    fn receipts_have_the_room_that_is_left_and_a_share_where_none_is() {
        let now = Instant::now();
        let mut gathering = Gathering::new(limits(8, 10_000));
        for id in 0..8 {
            assert_eq!(gathering.room_for_receipts(), (8 - id).max(2));
            gathering.add(published(id), now);
        }
        assert_eq!((gathering.room(), gathering.room_for_receipts()), (0, 2));
        gathering.add(receipt(1), now);
        gathering.add(receipt(2), now);
        assert_eq!((gathering.room(), gathering.room_for_receipts()), (0, 0));
        assert_eq!(gathering.take(now).expect("it is full").len(), 10);
        assert_eq!(gathering.room_for_receipts(), 8);
    }

    proptest! {
        #[test]
        fn no_batch_passes_its_limits_and_no_entry_is_left_out(
            topics in proptest::collection::vec(1usize..249, 1..300),
            rows_max in 1usize..50,
            bytes_max in 1usize..5000,
        ) {
            let now = Instant::now();
            let mut gathering = Gathering::new(limits(rows_max, bytes_max));
            let mut taken = Vec::new();
            let mut queue: std::collections::VecDeque<_> =
                topics.iter().enumerate().map(|(id, length)| published_to(id, &"t".repeat(*length))).collect();
            while !queue.is_empty() {
                let room = gathering.room();
                prop_assert!(room > 0);
                let mut last = 0;
                for entry in queue.drain(..room.min(queue.len())) {
                    last = entry.size_bytes();
                    gathering.add(entry, now);
                }
                prop_assert!(gathering.bytes < bytes_max + last);
                if let Some(batch) = gathering.take(now) {
                    prop_assert!(batch.len() <= rows_max);
                    taken.extend(batch);
                }
            }
            taken.extend(gathering.take(now + Duration::from_secs(1)).unwrap_or_default());
            prop_assert!(taken.iter().map(|entry| entry.id().as_u128()).eq(0..topics.len() as u128));
        }
    }
}
