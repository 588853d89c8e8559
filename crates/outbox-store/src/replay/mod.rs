//! Replay requests, and the rows that they select.

pub(crate) mod preview;
pub(crate) mod requests;
pub(crate) mod rows;
pub(crate) mod selection;
pub(crate) mod watch;
