//! Receipts that came before the row could be seen.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::open_chunks::ChunkNumber;
use crate::write_back::receipt::Receipt;

// A delivery report is at most this late after its record was consumed; the pump is told of it within milliseconds.
const WAIT: Duration = Duration::from_secs(2);
const MAX: usize = 10_000;

/// Receipts that changed nothing and whose record may be one of which the delivery report is still to come: they
/// are written again with it. Those that wait too long, and the oldest of too many, are given back.
#[derive(Debug, Default)]
pub(super) struct Early {
    waiting: HashMap<Uuid, Vec<Waiting>>,
    /// When each has waited long enough. One that was taken meanwhile stays here until then.
    order: VecDeque<(Instant, Uuid)>,
}

pub(super) type Waiting = (Receipt, ChunkNumber);

impl Early {
    pub(super) fn keep(&mut self, receipt: Receipt, chunk: ChunkNumber, now: Instant) {
        self.order.push_back((now + WAIT, receipt.id));
        self.waiting.entry(receipt.id).or_default().push((receipt, chunk));
    }

    /// Those of this row, to be written with its delivery report.
    pub(super) fn take(&mut self, id: &Uuid) -> Vec<Waiting> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        self.waiting.remove(id).unwrap_or_default()
    }

    /// When the first has waited long enough.
    pub(super) fn due(&self) -> Option<Instant> {
        self.order.front().map(|(until, _)| *until)
    }

    /// Those that have waited long enough or are too many.
    pub(super) fn given_up(&mut self, now: Instant) -> Vec<Waiting> {
        let mut given_up = Vec::new();
        while let Some((until, id)) = self.order.front()
            && (*until <= now || self.order.len() > MAX)
        {
            given_up.extend(self.waiting.remove(id).unwrap_or_default());
            self.order.pop_front();
        }
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::a_receipt;
    use super::*;

    #[test]
    fn a_receipt_waits_so_long_and_no_longer() {
        let now = Instant::now();
        let mut early = Early::default();
        early.keep(a_receipt(1), 7, now);
        assert_eq!(early.given_up(now + WAIT - Duration::from_millis(1)), []);
        assert_eq!(early.due(), Some(now + WAIT));
        assert_eq!(early.given_up(now + WAIT), [(a_receipt(1), 7)]);
        assert_eq!(early.due(), None);
    }

    #[test]
    fn one_whose_report_comes_is_taken_with_every_other_of_its_row() {
        let now = Instant::now();
        let mut early = Early::default();
        early.keep(a_receipt(1), 7, now);
        early.keep(a_receipt(2), 7, now);
        early.keep(a_receipt(1), 8, now);
        assert_eq!(early.take(&a_receipt(1).id), [(a_receipt(1), 7), (a_receipt(1), 8)]);
        assert_eq!(early.given_up(now + WAIT), [(a_receipt(2), 7)]);
    }

    #[test]
    fn of_too_many_the_oldest_are_given_up() {
        let now = Instant::now();
        let mut early = Early::default();
        for id in 0..MAX + 3 {
            early.keep(a_receipt(id), 7, now);
        }
        let given_up: Vec<_> = early.given_up(now).iter().map(|(receipt, _)| receipt.id.as_u128()).collect();
        assert_eq!(given_up, [0, 1, 2]);
    }
}
