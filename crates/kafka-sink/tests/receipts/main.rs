//! Receipts and the inspector against a real Kafka.

#![allow(missing_docs, reason = "tests are described by their names")]
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in test functions only, not in their helpers")]

mod consuming;
mod evidence;
mod following;
mod outages;
mod recreated;
mod rights;
mod support;
