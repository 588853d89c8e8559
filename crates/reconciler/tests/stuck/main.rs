//! Stuck rows in a real database, with a broker and a pump that do as they are told.

mod consumed;
mod fixture;
mod init;
mod kafka;
mod start;
