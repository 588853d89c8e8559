//! A range of `created_at` values.

/// A range that contains the `created_at` of every row of a set. A row without `created_at` makes it unbounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreatedRange {
    /// The earliest, in microseconds since 1970-01-01 UTC.
    pub from_us: i64,
    /// The latest, inclusive.
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

    /// The smallest range that contains both.
    #[must_use]
    pub fn and(self, other: CreatedRange) -> Self {
        CreatedRange { from_us: self.from_us.min(other.from_us), to_us: self.to_us.max(other.to_us) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn created_range_is_unbounded_with_a_row_without_created_at() {
        let range = CreatedRange::of(Some(5)).and(CreatedRange::of(Some(2)));
        assert_eq!(range, CreatedRange { from_us: 2, to_us: 5 });
        assert_eq!(range.and(CreatedRange::of(None)), CreatedRange { from_us: i64::MIN, to_us: i64::MAX });
    }
}
