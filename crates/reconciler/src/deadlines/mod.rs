//! Deadlines of rows in INIT and PUBLISH, counted in buckets of time.

mod buckets;
pub(crate) mod schedule;
#[cfg(test)]
mod schedule_tests;
pub(crate) mod tracker;

pub use schedule::{BucketNumber, Deadlines, Kind, Overdue};
pub use tracker::Account;
