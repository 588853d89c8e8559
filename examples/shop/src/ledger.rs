//! The record of the outbox rows that the shop wrote.

use std::time::Instant;

use crate::OutboxRow;

/// Receives the outcome of every outbox row as soon as its transaction ends.
///
/// Called from the workers' tasks: a slow implementation slows the shop down.
pub trait Ledger: Send + Sync {
    /// The transaction of the rows committed; `at` was read when the server acknowledged COMMIT. The rows of one
    /// key are reported in commit order.
    fn committed(&self, rows: &[OutboxRow], at: Instant);

    /// The rows were inserted and rolled back, with their transaction or to a savepoint: they must not be published.
    fn rolled_back(&self, rows: &[OutboxRow]);

    /// The connection broke between COMMIT and its acknowledgement: the rows may be committed or not.
    fn in_doubt(&self, rows: &[OutboxRow]);
}
