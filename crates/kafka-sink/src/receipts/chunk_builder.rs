//! A chunk of receipts in the making.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use outbox::Receipt;

use super::commits::Index;

/// The most receipts of a chunk: half a batch of the write-back.
pub(super) const RECEIPTS_MAX: usize = 500;

/// How long a receipt may wait for others.
const LINGER: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
pub(super) struct Gathering {
    receipts: Vec<Receipt>,
    ends: BTreeMap<Index, i64>,
    since: Option<Instant>,
}

impl Gathering {
    /// A record has been read, which has a receipt unless it is of no row.
    pub(super) fn add(&mut self, index: Index, offset: i64, receipt: Option<Receipt>, now: Instant) {
        self.receipts.extend(receipt);
        self.ends.insert(index, offset + 1);
        self.since.get_or_insert(now);
    }

    /// How long it may still grow; `None` while there is nothing in it.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        let since = self.since?;
        let is_full = self.receipts.len() >= RECEIPTS_MAX;
        Some(if is_full { Duration::ZERO } else { LINGER.saturating_sub(now.duration_since(since)) })
    }

    /// The receipts and the positions behind them.
    pub(super) fn take(&mut self) -> (Vec<Receipt>, BTreeMap<Index, i64>) {
        let Gathering { receipts, ends, since: _ } = std::mem::take(self);
        (receipts, ends)
    }

    pub(super) fn has_receipts(&self) -> bool {
        !self.receipts.is_empty()
    }
}
