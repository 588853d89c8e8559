//! A replay request: a row of table `postrider.replay`.

use std::fmt;

use outbox::Status;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::replay::selection::{RowKey, Selection, microseconds};

/// A replay request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayRequest {
    /// Its id.
    pub id: Uuid,
    /// What it asks for.
    pub kind: ReplayKind,
    /// Its state.
    pub state: ReplayState,
    /// The number of selected rows; `None` until they are counted.
    pub rows_total: Option<u64>,
    /// Its progress, as saved last.
    pub progress: ReplayProgress,
    /// Why it failed.
    pub last_error: Option<String>,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayKind {
    /// Send rows again.
    Replay {
        /// The rows.
        selection: Selection,
        /// When it was requested, in microseconds since 1970-01-01 UTC. Rows created later are not selected.
        requested_us: i64,
        /// The maximum rate.
        rows_per_second: Option<u32>,
    },
    /// Release the rows that are held behind this one.
    Skip(Uuid),
}

/// The state of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayState {
    /// Not started.
    Queued,
    /// Started.
    Running,
    /// Every selected row is finished.
    Done,
    /// Stopped by an error.
    Failed,
    /// Cancelled by an operator.
    Cancelled,
}

/// The progress of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayProgress {
    /// Rows that were sent.
    pub sent: u64,
    /// Rows that could not be published.
    pub failed: u64,
    /// Rows that needed nothing, or are held behind another.
    pub passed: u64,
    /// The last finished row; all rows before it are finished.
    pub last: Option<RowKey>,
}

impl ReplayProgress {
    /// The number of finished rows.
    pub fn rows(&self) -> u64 {
        self.sent + self.failed + self.passed
    }
}

impl ReplayState {
    const ALL: [ReplayState; 5] = [
        ReplayState::Queued,
        ReplayState::Running,
        ReplayState::Done,
        ReplayState::Failed,
        ReplayState::Cancelled,
    ];

    /// The text in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            ReplayState::Queued => "queued",
            ReplayState::Running => "running",
            ReplayState::Done => "done",
            ReplayState::Failed => "failed",
            ReplayState::Cancelled => "cancelled",
        }
    }

    /// Whether the state is final.
    pub const fn is_finished(self) -> bool {
        matches!(self, ReplayState::Done | ReplayState::Failed | ReplayState::Cancelled)
    }

    /// A check constraint admits no other text.
    pub(super) fn parse(text: &str) -> ReplayState {
        ReplayState::ALL.into_iter().find(|state| state.as_str() == text).unwrap_or(ReplayState::Failed)
    }
}

impl fmt::Display for ReplayState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ReplayRequest {
    /// The select list of [`from_row`](Self::from_row), for the table under the alias `r`.
    pub(super) fn select_list() -> String {
        format!(
            "r.id, r.kind, r.ids, r.statuses, {} as created_from_us, {} as created_before_us, r.until_now,
             r.aggregate_type, r.aggregate_id, r.rows_max, r.rows_per_second, r.state, r.rows_total, r.rows_sent,
             r.rows_failed, r.rows_passed, {} as last_created_at_us, r.last_id, r.last_error",
            microseconds("r.created_from"),
            microseconds("r.created_before"),
            microseconds("r.last_created_at"),
        )
    }

    pub(super) fn from_row(row: &Row) -> ReplayRequest {
        let ids: Vec<Uuid> = row.get::<_, Option<Vec<Uuid>>>("ids").unwrap_or_default();
        let created_before_us = row.get::<_, Option<i64>>("created_before_us");
        let kind = match row.get::<_, &str>("kind") {
            "skip" => ReplayKind::Skip(ids.first().copied().unwrap_or_default()),
            _ => ReplayKind::Replay {
                selection: Selection {
                    ids,
                    statuses: row
                        .get::<_, Option<Vec<String>>>("statuses")
                        .unwrap_or_default()
                        .iter()
                        .filter_map(|status| status.parse::<Status>().ok())
                        .collect(),
                    from_us: row.get("created_from_us"),
                    to_us: created_before_us.filter(|_| !row.get::<_, bool>("until_now")),
                    aggregate_type: row.get("aggregate_type"),
                    aggregate_id: row.get("aggregate_id"),
                    rows_max: row.get::<_, Option<i64>>("rows_max").map(i64::unsigned_abs),
                },
                requested_us: created_before_us.unwrap_or(i64::MAX),
                rows_per_second: row.get::<_, Option<i32>>("rows_per_second").map(i32::unsigned_abs),
            },
        };
        let count = |column: &str| row.get::<_, i64>(column).unsigned_abs();
        let last_id = row.get::<_, Option<Uuid>>("last_id");
        ReplayRequest {
            id: row.get("id"),
            kind,
            state: ReplayState::parse(row.get("state")),
            rows_total: row.get::<_, Option<i64>>("rows_total").map(i64::unsigned_abs),
            progress: ReplayProgress {
                sent: count("rows_sent"),
                failed: count("rows_failed"),
                passed: count("rows_passed"),
                last: last_id.map(|id| RowKey { created_at_us: row.get("last_created_at_us"), id }),
            },
            last_error: row.get("last_error"),
        }
    }
}
