//! The status report.

use std::time::Duration;

use outbox::Lsn;
use outbox_store::{HeldReport, ReplayReport, RowsReport};

/// A section, or why it is unavailable.
pub(crate) type Section<T> = Result<T, String>;

/// Everything that `status` shows.
#[derive(Debug)]
pub(crate) struct StatusReport {
    pub(crate) table: String,
    /// How long a row may be INIT.
    pub(crate) init_after: Duration,
    /// How long a row may be PUBLISH.
    pub(crate) publish_after: Duration,
    pub(crate) rows: Section<RowsReport>,
    pub(crate) slot: Slot,
    pub(crate) receipts: Section<Vec<GroupLag>>,
    pub(crate) held: Section<HeldReport>,
    pub(crate) replays: Section<Vec<ReplayReport>>,
}

/// The slot, if there is one.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) state: Option<SlotReport>,
}

/// The state of the slot.
#[derive(Debug)]
pub(crate) struct SlotReport {
    pub(crate) active: bool,
    pub(crate) wal_status: Option<String>,
    pub(crate) retained_bytes: u64,
    pub(crate) confirmed: Option<Lsn>,
    /// From there to the end of the WAL.
    pub(crate) lag_bytes: Option<u64>,
}

/// The lag of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupLag {
    pub(crate) group: String,
    /// Whether it is the receipts group.
    pub(crate) own: bool,
    /// The records between its committed offsets and the log ends.
    pub(crate) records: u64,
    /// The partition with the most lag.
    pub(crate) worst: Option<PartitionLag>,
}

/// The lag in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionLag {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) records: u64,
}
