//! Stuck rows in a real database, with a scripted broker and main loop.

mod fixture;
mod init_rows;
mod kafka;
mod publish_rows;
mod startup;
