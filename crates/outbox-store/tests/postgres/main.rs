//! Against a real server.

mod fixture;
mod found_but_wrong;
mod init;
mod publish;
mod publish_plan;
mod run;
mod session;
mod statuses;
