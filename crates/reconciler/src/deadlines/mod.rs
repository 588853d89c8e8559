//! The deadlines of INIT and PUBLISH rows, kept as counts per time bucket.

mod buckets;
pub(crate) mod schedule;
#[cfg(test)]
mod schedule_tests;
pub(crate) mod tracker;

pub use schedule::BucketNumber;
pub use tracker::DeadlineTracker;
