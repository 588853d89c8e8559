//! Replay requests, and the rows that they select.

pub(crate) mod create_request;
pub(crate) mod preview;
pub(crate) mod read_request;
pub(crate) mod request;
mod request_sql;
pub(crate) mod rows;
pub(crate) mod save_request;
pub(crate) mod selection;
pub(crate) mod watch;
