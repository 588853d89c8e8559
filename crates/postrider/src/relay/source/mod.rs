//! From the slot to events: the replication connection, decoding, and deduplication after a restart.

pub(crate) mod connection;
pub(crate) mod decode;
pub(crate) mod dedup;
pub(crate) mod replay_requests;
pub(crate) mod shutdown_probe;
