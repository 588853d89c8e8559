//! Which row's record is at an offset.

use uuid::Uuid;

/// Which row's record is at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordAtOffset {
    /// The record of the row with this id.
    Row(Uuid),
    /// A record of no row: another producer's, or a dead letter.
    Foreign,
    /// No record: compaction removed it, it is the end of a transaction, or the offset is outside the log.
    Absent,
}
