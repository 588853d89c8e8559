//! Replays on a real PostgreSQL, with a pump that only notes what it is given.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod announced;
mod fixture;
mod order;
mod pump;
mod resumed;
