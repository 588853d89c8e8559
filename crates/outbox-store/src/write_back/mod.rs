//! Writing deliveries, receipts and failures to the rows.

pub(crate) mod asides;
pub(crate) mod progress;
pub(crate) mod row_changes;
pub(crate) mod row_writer;
pub(crate) mod statuses;
pub(crate) mod write_sql;
