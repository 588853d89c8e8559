//! The configuration of librdkafka's clients.

mod noop_context;
pub(crate) mod properties;
mod property_rules;
