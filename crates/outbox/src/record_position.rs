//! Where a record is.

use std::sync::Arc;

/// The position of a record in Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordPosition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
    /// The record's offset in the partition. Negative if the broker acknowledged the record without its offset: it had
    /// the record already, and the first acknowledgement was lost.
    pub offset: i64,
}

impl RecordPosition {
    /// The offset, if it is known.
    pub fn known_offset(&self) -> Option<i64> {
        Some(self.offset).filter(|offset| *offset >= 0)
    }
}
