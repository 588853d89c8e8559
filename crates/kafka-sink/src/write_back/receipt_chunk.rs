//! What a consumer has seen, on its way to the rows.

use std::sync::Arc;

use tokio::sync::oneshot;
use uuid::Uuid;

/// A record that was consumed, as its row is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The row's primary key, from the record's header `id`.
    pub id: Uuid,
    /// The topic.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
    /// The record's offset.
    pub offset: i64,
    /// Whether a person had it sent again: its header `postrider-replay` is a request's id.
    pub by_request: bool,
}

/// Receipts that are reported on together.
#[derive(Debug)]
pub struct ReceiptChunk {
    /// In the order of each partition.
    pub receipts: Vec<Receipt>,
    /// To be told once every one is durable. Dropped without a word when the write-back ends before.
    pub done: oneshot::Sender<Receipted>,
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipted {
    /// Rows that are COMPLETE now and were not before.
    pub completed: u64,
    /// Receipts that changed nothing: the row is gone, was COMPLETE already or has FAILED.
    pub idle: u64,
}
