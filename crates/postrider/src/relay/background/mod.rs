//! Tasks beside the main loop, for one session.

pub(crate) mod background_tasks;
pub(crate) mod kafka_evidence;
pub(crate) mod retention;
