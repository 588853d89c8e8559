//! Receipts that arrived before the delivery report of their record.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::write_back::entry::WriteBackEntry;

/// The longest wait for a delivery report. The relay gets reports within milliseconds.
const WAIT_MAX: Duration = Duration::from_secs(2);
const RECEIPTS_MAX: usize = 10_000;

/// Receipts that changed nothing and whose delivery report may still arrive: they are written again with it. Receipts
/// that waited too long, and the oldest if there are too many, expire.
#[derive(Debug, Default)]
pub(super) struct EarlyReceipts {
    waiting: HashMap<Uuid, Vec<WriteBackEntry>>,
    /// When each expires. A receipt that was taken stays here until then.
    expiry: VecDeque<(Instant, Uuid)>,
}

impl EarlyReceipts {
    pub(super) fn add(&mut self, receipt: WriteBackEntry, now: Instant) {
        let id = receipt.id();
        self.expiry.push_back((now + WAIT_MAX, id));
        self.waiting.entry(id).or_default().push(receipt);
    }

    /// The receipts of this row, to be written with its delivery report.
    pub(super) fn take(&mut self, id: &Uuid) -> Vec<WriteBackEntry> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        self.waiting.remove(id).unwrap_or_default()
    }

    /// When the next receipt expires.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.expiry.front().map(|(until, _)| *until)
    }

    pub(super) fn take_expired(&mut self, now: Instant) -> Vec<WriteBackEntry> {
        let mut expired = Vec::new();
        while let Some((until, id)) = self.expiry.front()
            && (*until <= now || self.expiry.len() > RECEIPTS_MAX)
        {
            expired.extend(self.waiting.remove(id).unwrap_or_default());
            self.expiry.pop_front();
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write_back::fixture::{receipt, receipt_in};

    #[test]
    fn early_receipt_expires_after_its_wait() {
        let now = Instant::now();
        let mut early = EarlyReceipts::default();
        early.add(receipt(1), now);
        assert_eq!(early.take_expired(now + WAIT_MAX - Duration::from_millis(1)), []);
        assert_eq!(early.next_expiry(), Some(now + WAIT_MAX));
        assert_eq!(early.take_expired(now + WAIT_MAX), [receipt(1)]);
        assert_eq!(early.next_expiry(), None);
    }

    #[test]
    fn early_receipts_are_taken_with_all_others_of_their_row() {
        let now = Instant::now();
        let mut early = EarlyReceipts::default();
        early.add(receipt_in(1, 7), now);
        early.add(receipt_in(2, 7), now);
        early.add(receipt_in(1, 8), now);
        assert_eq!(early.take(&receipt(1).id()), [receipt_in(1, 7), receipt_in(1, 8)]);
        assert_eq!(early.take_expired(now + WAIT_MAX), [receipt_in(2, 7)]);
    }

    #[test]
    fn early_receipts_expire_oldest_first_above_the_maximum() {
        let now = Instant::now();
        let mut early = EarlyReceipts::default();
        for id in 0..RECEIPTS_MAX + 3 {
            early.add(receipt(id), now);
        }
        let expired: Vec<_> = early.take_expired(now).iter().map(|receipt| receipt.id().as_u128()).collect();
        assert_eq!(expired, [0, 1, 2]);
    }
}
