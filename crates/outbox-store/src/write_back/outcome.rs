//! What a batch changed.

use std::collections::HashSet;

use uuid::Uuid;

/// What a batch changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchOutcome {
    /// When it was written, by the database's clock, in microseconds since 1970-01-01 UTC: the `last_attempt_at` of
    /// the rows that were published.
    pub at_us: i64,
    /// How many rows became PUBLISH: from INIT, or by publishing them again.
    pub published: u64,
    /// Which of the consumed rows became COMPLETE.
    pub completed: Completed,
    /// How many of these were PUBLISH before, by their `last_attempt_at` divided by the bucket width.
    pub completed_by_bucket: Vec<(i64, u64)>,
    /// The transactions that were not visible yet, ascending: their rows were not found.
    pub unseen_xids: Vec<u32>,
}

/// Rows that became COMPLETE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Completed {
    /// All rows of the batch that were consumed.
    #[default]
    All,
    /// Only these.
    Only(HashSet<Uuid>),
}

impl Completed {
    /// Whether a consumed row of the batch became COMPLETE.
    pub fn contains(&self, id: &Uuid) -> bool {
        match self {
            Completed::All => true,
            Completed::Only(ids) => ids.contains(id),
        }
    }
}
