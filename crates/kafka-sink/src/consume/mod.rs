//! Consumers that join no group: what Kafka has of a record, and how far consumer groups are.

pub(crate) mod consumer;
pub(crate) mod groups;
pub(crate) mod inspect_error;
pub(crate) mod inspector;
mod looker;
pub(crate) mod partition_reader;
