//! Rows that wait for longer than their deadline.

pub(crate) mod cursor;
pub(crate) mod filter;
pub(crate) mod partition_summary;
pub(crate) mod rows;
pub(crate) mod sql;
