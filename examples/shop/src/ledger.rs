//! Who keeps the books of what the shop wrote.

use std::time::Instant;

use crate::OutboxRow;

/// Is told the fate of every outbox row the shop wrote, right when the shop knows it.
///
/// Calls come from the shop's own task: an implementation that takes long slows the shop down.
pub trait Ledger: Send + Sync {
    /// The rows' transaction is committed; `at` was read right after the server said so. The rows of one key
    /// are reported in their commit order.
    fn committed(&self, rows: &[OutboxRow], at: Instant);

    /// The rows were written and then rolled back, with their transaction or to a savepoint: nobody may ever
    /// see them.
    fn rolled_back(&self, rows: &[OutboxRow]);

    /// The connection broke after the commit was sent and before the server answered: the rows may be there
    /// or not.
    fn in_doubt(&self, rows: &[OutboxRow]);
}
