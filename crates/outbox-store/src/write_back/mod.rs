//! Writing the status of rows: row updates, batches of them, and the two statements that write a batch.

pub(crate) mod batch;
mod coalesced_update;
mod column_types;
mod delivery_statement;
mod fail_or_hold;
mod fail_or_hold_statement;
pub(crate) mod known_partitions;
pub(crate) mod outcome;
mod parameters;
pub(crate) mod row_update;
pub(crate) mod row_writer;
pub(crate) mod statuses;
mod unseen;
