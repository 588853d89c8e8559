//! The producer: it takes events, publishes their records and reports what became of each.

pub(crate) mod delivery_report;
mod delivery_reports;
pub(crate) mod error;
mod error_class;
mod first_records;
pub(crate) mod outage;
mod partitioner;
mod producer;
mod producer_context;
pub(crate) mod sink;
