//! The outbox in the database: every SQL statement about the table, its publication and slot, and schema
//! `postrider`.
//!
//! Questions to the catalog are asked in one place ([`inspect`]); what follows from the answers are pure
//! functions of them ([`plan`] for `init`, [`problems_for_run`] for `run`). The paths that see every row are
//! [`RowWriter`] and [`statuses`].

mod apply;
mod asides;
mod check;
mod columns;
mod error;
mod event_rows;
mod found;
mod held;
mod inspect;
mod log_mark;
mod migrations;
mod month;
mod names;
mod overview;
mod partitions;
mod plan;
#[cfg(test)]
mod plan_tests;
mod problem;
mod progress;
mod quote;
mod replay_preview;
mod replay_requests;
mod replay_rows;
mod replay_selection;
mod replay_watch;
mod retention;
mod row_changes;
mod row_writer;
mod session;
mod slot;
mod statuses;
mod stream_problems;
mod stuck_rows;
mod table_problems;
mod verify_rows;
mod write_sql;

pub use apply::apply;
pub use asides::{Aside, Asides, Why};
pub use check::{RunCheck, RunNeeds, check_for_run, problems_for_run};
pub use error::StoreError;
pub use event_rows::{EventRows, StoredPlace, StoredRow};
pub use found::{
    Found, FoundColumn, FoundIndex, FoundPartition, FoundPublication, FoundRole, FoundSchema, FoundServer,
    FoundSlot, FoundTable, Member,
};
pub use held::{HeldLane, forget_held, load_lanes, release_head, waiting_rows_of};
pub use inspect::inspect;
pub use log_mark::mark_log;
pub use month::Month;
pub use names::Names;
pub use overview::{
    FailedRow, HeldOverview, LaneOverview, OverdueAfter, ReplayOverview, RowsOverview, StateRows,
    held_overview, log_end, replays_overview, rows_overview,
};
pub use partitions::{Ahead, Expired, keep_ahead};
pub use plan::{InitPlan, Line, Shape, Step, plan};
pub use problem::Problem;
pub use progress::{KnownPartition, known_partitions};
pub use replay_preview::{ReplayGroup, ReplayPreview, TemplatePart, preview_replay};
pub use replay_requests::{
    Announcement, Cancelled, REPLAY_CHANNEL, REPLAY_PREFIX, ReplayKind, ReplayProgress, ReplayRequest,
    ReplayState, announced_replays, are_visible, cancel_replay, finish_replay, is_replay_wanted,
    replay_request, request_replay, request_skip, save_replay, start_replay, unfinished_replays,
};
pub use replay_rows::{ReplayKey, ReplayRow, ReplayRows, has_created_at, is_anything_selected};
pub use replay_selection::{RowKey, Selection};
pub use replay_watch::ReplayWatch;
pub use retention::{Mark, Retention, Sweep, Swept};
pub use row_changes::{Happened, RowChange, RowChanges};
pub use row_writer::{Changed, Completed, RowWriter};
pub use session::{Session, Tls, connect, noticing_dead_peers};
pub use slot::{SlotState, slot_state, wal_flush_position};
pub use statuses::{leave_out_sql, statuses, table_oid, waiting_rows};
pub use stuck_rows::{Overview, Pages, PartitionRows, StuckPage, StuckRow, StuckRows, Suspects, YoungRows};
pub use verify_rows::{RowToProve, VerifyRows, VerifySelection};
