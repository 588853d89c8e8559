//! What works beside the main loop for one session.

pub(crate) mod kafka_evidence;
pub(crate) mod retention;
pub(crate) mod tasks;
