//! The program itself, through its command line.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod configuration;
mod init;
mod outbox;
mod postrider;
mod replay;
mod status;
mod tls;
mod usage;
mod verify;
