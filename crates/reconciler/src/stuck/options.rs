use std::time::Duration;

/// When a row counts as stuck, and how often it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconcileOptions {
    /// How long a row may be INIT after it was read from the WAL.
    pub init_after: Duration,
    /// How long a row may be PUBLISH before its record is checked, and the shortest pause between two sends; `None` if
    /// rows are not followed beyond PUBLISH.
    pub publish_after: Option<Duration>,
    /// How often a row is sent at most; `None` for no limit.
    pub attempts_max: Option<u32>,
}
