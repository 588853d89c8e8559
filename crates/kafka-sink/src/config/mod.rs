//! The configuration of librdkafka's clients, and their logs.

pub(crate) mod client_log;
mod noop_context;
pub(crate) mod properties;
mod property_rules;
