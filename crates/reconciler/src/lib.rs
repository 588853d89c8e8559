//! Stuck rows and replays: what is to be sent again, and why.
//!
//! Nothing here publishes. What is planned goes through a [`Publisher`] to the pump that publishes live rows, so
//! that there is one order of sending.

mod database;
mod deadlines;
mod evidence;
mod replay;
mod resend_command;
mod splitmix;
mod stuck;

pub use database::Database;
pub use deadlines::{Account, BucketNumber, Deadlines, Kind, Overdue};
pub use evidence::{
    Bounds, Broker, BrokerAway, Facts, Look, Placed, RecordAt, Verdict, Why, infer, looks, verdict,
};
pub use replay::{
    Announced, MalformedAnnouncement, Missed, ReplayCounts, ReplayOptions, Told, execute_replays,
    parse_announcement,
};
pub use resend_command::{Intake, LifeOver, Origin, Outcome, Planned, Publisher, Work, planning};
pub use stuck::{Backoff, ReconcileOptions, Resend, reconcile};
