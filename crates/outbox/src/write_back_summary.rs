//! Row counts of one write-back, for the deadlines of the reconciler.

use crate::created_range::CreatedRange;

/// How many rows one write-back statement moved to PUBLISH and COMPLETE. Times are the database's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteBackSummary {
    /// When it was written, in microseconds since 1970-01-01 UTC: the `last_attempt_at` of the rows it published.
    pub at_us: i64,
    /// How many rows became PUBLISH.
    pub published: u64,
    /// The `created_at` range of those; `None` if there are none.
    pub created: Option<CreatedRange>,
    /// How many rows went from PUBLISH to COMPLETE, per bucket of their `last_attempt_at`: microseconds divided by the
    /// bucket's width, rounded down.
    pub completed: Vec<(i64, u64)>,
}
