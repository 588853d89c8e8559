//! What a batch of written rows means for deadlines.

/// When the rows of some set were created, by their `created_at`: a range that holds them all. A row without one
/// makes it unbounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreatedRange {
    /// The earliest, in microseconds since 1970-01-01 UTC.
    pub from_us: i64,
    /// The latest, itself included.
    pub to_us: i64,
}

impl CreatedRange {
    /// The range of one row.
    pub fn of(created_at_us: Option<i64>) -> Self {
        match created_at_us {
            Some(us) => CreatedRange { from_us: us, to_us: us },
            None => CreatedRange { from_us: i64::MIN, to_us: i64::MAX },
        }
    }

    /// The smallest range that holds both.
    #[must_use]
    pub fn and(self, other: CreatedRange) -> Self {
        CreatedRange { from_us: self.from_us.min(other.from_us), to_us: self.to_us.max(other.to_us) }
    }
}

/// What one write-back changed, counted for deadlines. Times are the database's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// When it was written, in microseconds since 1970-01-01 UTC: the `last_attempt_at` of what it published.
    pub at_us: i64,
    /// How many rows say PUBLISH since.
    pub published: u64,
    /// When those were created; `None` when there are none.
    pub created: Option<CreatedRange>,
    /// How many rows that said PUBLISH became COMPLETE, by the time of their last sending: `last_attempt_at` in
    /// microseconds, divided by the bucket's width and rounded down.
    pub completed: Vec<(i64, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_a_time_may_be_anywhere() {
        let range = CreatedRange::of(Some(5)).and(CreatedRange::of(Some(2)));
        assert_eq!(range, CreatedRange { from_us: 2, to_us: 5 });
        assert_eq!(range.and(CreatedRange::of(None)), CreatedRange { from_us: i64::MIN, to_us: i64::MAX });
    }
}
