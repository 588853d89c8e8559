//! From an event to a Kafka record: topic, headers and the record's id.

pub(crate) mod event_router;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod headers;
pub(crate) mod record_id;
pub(crate) mod rejection;
pub(crate) mod routing;
mod template;
pub(crate) mod topics;
