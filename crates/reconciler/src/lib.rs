//! The reconciler: finds stuck rows, executes replay requests, and decides which rows are published again.
//!
//! It publishes nothing itself. Its commands go through a [`ResendQueue`] to the main loop that publishes live rows, so
//! that one loop decides the order of all records.

mod deadlines;
mod evidence;
mod replay;
mod resend_command;
mod splitmix;
mod stuck;

pub use deadlines::{BucketNumber, DeadlineTracker};
pub use evidence::{EvidenceUnavailable, KafkaEvidence};
pub use replay::{
    ReplayNotice, ReplayNotices, ReplayNotifier, ReplayOptions, execute_replays, replay_notices,
};
pub use resend_command::{
    QueuedCommand, ResendCause, ResendCommand, ResendIntake, ResendOutcome, ResendQueue, SessionClosed,
    resend_queue,
};
pub use stuck::{ReconcileOptions, StartupScan, reconcile};
