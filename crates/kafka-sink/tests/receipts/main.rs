//! Receipts and evidence against a real Kafka.

#![allow(missing_docs, reason = "tests say what they do by their names")]
#![allow(clippy::unwrap_used, reason = "a test's own helpers may; clippy.toml lets only the test functions")]

mod consuming;
mod evidence;
mod following;
mod outages;
mod recreated;
mod rights;
mod support;
