//! The chunk of receipts that is being collected.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use outbox::Receipt;

use crate::receipts::commits::PartitionIndex;

/// The most receipts of a chunk: half a batch of the write-back.
const RECEIPTS_MAX: usize = 500;

/// How long a receipt may wait for others.
const LINGER: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
pub(super) struct ChunkBuilder {
    receipts: Vec<Receipt>,
    /// The offset after the last record of each partition.
    ends: BTreeMap<PartitionIndex, i64>,
    since: Option<Instant>,
}

impl ChunkBuilder {
    /// Adds a record that was read; it has no receipt if it belongs to no row.
    pub(super) fn add(&mut self, index: PartitionIndex, offset: i64, receipt: Option<Receipt>, now: Instant) {
        self.receipts.extend(receipt);
        self.ends.insert(index, offset + 1);
        self.since.get_or_insert(now);
    }

    /// How long the chunk may wait for more; `None` if it is empty.
    pub(super) fn time_left(&self, now: Instant) -> Option<Duration> {
        let since = self.since?;
        let is_full = self.receipts.len() >= RECEIPTS_MAX;
        Some(if is_full { Duration::ZERO } else { LINGER.saturating_sub(now.duration_since(since)) })
    }

    /// The receipts, and the offset after the last record of each partition.
    pub(super) fn take(&mut self) -> (Vec<Receipt>, BTreeMap<PartitionIndex, i64>) {
        let ChunkBuilder { receipts, ends, since: _ } = std::mem::take(self);
        (receipts, ends)
    }

    pub(super) fn has_receipts(&self) -> bool {
        !self.receipts.is_empty()
    }
}
