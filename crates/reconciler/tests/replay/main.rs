//! Replays on a real PostgreSQL, with a main loop that only records its commands.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod fixture;
mod main_loop;
mod order;
mod requests;
mod resumed;
