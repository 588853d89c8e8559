//! Against a real server.

mod fixture;
mod found_but_wrong;
mod init;
mod row_writer;
mod run;
mod session;
mod statuses;
mod write_plan;
