//! How everything stands, as values.

use std::time::Duration;

use outbox::Lsn;
use outbox_store::{HeldOverview, ReplayOverview, RowsOverview};

/// A part, or why it cannot be told.
pub(crate) type Told<T> = Result<T, String>;

/// Everything that `status` shows.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) table: String,
    /// How long a row may say INIT.
    pub(crate) init_after: Duration,
    /// How long a row may say PUBLISH.
    pub(crate) publish_after: Duration,
    pub(crate) rows: Told<RowsOverview>,
    pub(crate) slot: Slot,
    pub(crate) receipts: Told<Vec<GroupLag>>,
    pub(crate) held: Told<HeldOverview>,
    pub(crate) replays: Told<Vec<ReplayOverview>>,
}

/// The slot, if there is one.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) state: Option<SlotNow>,
}

/// How the slot stands.
#[derive(Debug)]
pub(crate) struct SlotNow {
    pub(crate) active: bool,
    pub(crate) wal_status: Option<String>,
    pub(crate) retained_bytes: u64,
    pub(crate) confirmed: Option<Lsn>,
    /// From there to the log's end.
    pub(crate) lag_bytes: Option<u64>,
}

/// How far a consumer group is behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupLag {
    pub(crate) group: String,
    /// Whether it is Postrider's own.
    pub(crate) own: bool,
    /// Records between what it has committed and the logs' ends.
    pub(crate) records: u64,
    /// The partition that it is behind most in, if it is behind at all.
    pub(crate) worst: Option<PartitionLag>,
}

/// How far a group is behind in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionLag {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) records: u64,
}
