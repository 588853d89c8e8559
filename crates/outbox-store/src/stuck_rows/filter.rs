use outbox::{CreatedRange, Status};

/// Which rows are asked for. Rows that are held behind another of their key never are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StuckRowFilter {
    /// What they say.
    pub status: Status,
    /// When they were created. An unbounded range has the rows without a time in it.
    pub created: CreatedRange,
    /// When they were sent last, in microseconds, both ends included; `None`: at any time, or never.
    pub attempted: Option<(i64, i64)>,
    /// For how long they have waited at least, in microseconds, by the database's clock: since they were sent last,
    /// else since they were published or created. A row without any of these has waited for long enough.
    pub waited_us: Option<i64>,
}
