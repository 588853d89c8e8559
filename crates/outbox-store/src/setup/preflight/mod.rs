//! What keeps the relay from running, found before it starts.

pub(crate) mod check;
pub(crate) mod needs;
pub(crate) mod problem;
pub(crate) mod stream_problems;
pub(crate) mod table_problems;
