//! Receipts that are reported on together.

use outbox::Receipt;
use tokio::sync::oneshot;

/// Receipts that are reported on together.
#[derive(Debug)]
pub struct ReceiptChunk {
    /// Receipts of one partition are in the order of their offsets.
    pub receipts: Vec<Receipt>,
    /// Gets the outcome once every receipt is durable or changes nothing. Dropped without one if the write-back ends
    /// before.
    pub done: oneshot::Sender<ChunkOutcome>,
}

/// What a chunk of receipts changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkOutcome {
    /// Rows that became COMPLETE.
    pub completed: u64,
    /// Receipts that changed nothing: the row was deleted, was COMPLETE already or is FAILED.
    pub idle: u64,
}
