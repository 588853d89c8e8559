//! The sections of the configuration: what each holds, and how it is read.

pub(crate) mod columns;
pub(crate) mod failure;
pub(crate) mod kafka;
pub(crate) mod kafka_properties;
pub(crate) mod limits;
pub(crate) mod log;
pub(crate) mod log_filter;
pub(crate) mod postgres;
pub(crate) mod receipts;
pub(crate) mod reconcile;
pub(crate) mod retention;
pub(crate) mod routing;
