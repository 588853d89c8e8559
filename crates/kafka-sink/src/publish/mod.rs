//! The producer: it takes events, publishes them and reports what became of each.

mod context;
mod delivery_reports;
pub(crate) mod error;
pub(crate) mod outage;
mod producer;
pub(crate) mod sink;
