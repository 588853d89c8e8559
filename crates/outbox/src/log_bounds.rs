//! The offsets that a partition holds.

/// The offsets that a partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// The log start offset: that of the oldest record, or `end` if there is none.
    pub start: i64,
    /// The log end offset: the offset that the next record gets.
    pub end: i64,
}

impl LogBounds {
    /// Whether the offset is within the log. Compaction may have removed its record.
    pub fn contains(self, offset: i64) -> bool {
        (self.start..self.end).contains(&offset)
    }
}
