//! Stuck rows and replays: what is to be sent again, and why.
//!
//! Nothing here publishes. What is planned goes through a [`Publisher`] to the pump that publishes live rows, so
//! that there is one order of sending.

mod account;
mod backoff;
mod broker;
mod buckets;
mod database;
mod deadlines;
#[cfg(test)]
mod deadlines_tests;
mod evidence;
mod planned;
mod replay;
mod stuck;

pub use account::Account;
pub use backoff::{Backoff, Resend};
pub use broker::{Broker, BrokerAway, RecordAt};
pub use database::Database;
pub use deadlines::{BucketNumber, Deadlines, Kind, Overdue};
pub use evidence::{Bounds, Facts, Look, Placed, Verdict, Why, infer, looks, verdict};
pub use planned::{Intake, LifeOver, Origin, Outcome, Planned, Publisher, Work, planning};
pub use replay::{
    Announced, MalformedAnnouncement, Missed, ReplayCounts, ReplayOptions, Told, execute_replays,
    parse_announcement,
};
pub use stuck::{ReconcileOptions, reconcile};
