//! Against a real server.

mod fixture;
mod found_but_wrong;
mod held;
mod init;
mod row_changes;
mod row_writer;
mod run;
mod session;
mod statuses;
mod write_plan;
mod overview;
mod publish;
mod publish_plan;
mod run;
mod session;
mod statuses;
mod verify_rows;
