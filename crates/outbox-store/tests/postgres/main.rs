//! Against a real server.

mod fixture;
mod found_but_wrong;
mod held;
mod init;
mod overview;
mod partitions;
mod replay;
mod retention;
mod row_updates;
mod row_writer;
mod run;
mod session;
mod statuses;
mod stuck_rows;
mod verify_rows;
mod write_plan;
