//! The outbox in the database: every SQL statement about the table, its publication and slot, and schema
//! `postrider`.
//!
//! Questions to the catalog are asked in one place ([`inspect`]); what follows from the answers are pure
//! functions of them ([`plan`] for `init`, [`problems_for_run`] for `run`). The paths that see every row are
//! [`RowWriter`] and [`statuses`].

mod connection;
mod event_rows;
mod held;
mod held_event;
mod log_mark;
mod record_position;
mod replay;
mod retention;
mod setup;
mod slot;
mod status_report;
mod stuck_rows;
mod verify_rows;
mod write_back;

pub use connection::backoff::Backoff;
pub use connection::database::Database;
pub use connection::error::StoreError;
pub use connection::names::Names;
pub use connection::session::{Session, Tls, connect, noticing_dead_peers};
pub use event_rows::{EventRows, StoredRow};
pub use held::{
    HeldKey, drop_event_without_key, drop_event_without_row, events_without_row, load_held_keys,
    release_head, remove_failed, remove_held, waiting_events_of,
};
pub use log_mark::mark_log;
pub use replay::create_request::{Cancellation, cancel_replay, request_replay, request_skip};
pub use replay::preview::{ReplayGroup, ReplayPreview, TemplatePart, preview_replay};
pub use replay::read_request::{are_transactions_visible, replay_request, unfinished_replays};
pub use replay::request::{ReplayKind, ReplayProgress, ReplayRequest, ReplayState};
pub use replay::rows::{ReplayKey, ReplayRow, ReplayRows, has_created_at, is_anything_selected};
pub use replay::save_request::{finish_replay, is_replay_wanted, save_replay, start_replay};
pub use replay::selection::{RowKey, Selection};
pub use replay::watch::ReplayWatch;
pub use retention::month::Month;
pub use retention::partitions::{Ahead, Expired, keep_ahead};
pub use retention::pass::{Mark, Retention, Sweep, Swept};
pub use setup::apply::apply;
pub use setup::catalog::{
    CatalogColumn, CatalogIndex, CatalogPartition, CatalogPublication, CatalogRole, CatalogSchema,
    CatalogServer, CatalogSlot, CatalogSnapshot, CatalogTable, PublishedTable,
};
pub use setup::inspect::inspect;
pub use setup::plan::{InitPlan, Line, Shape, Step, plan};
pub use setup::preflight::check::{RunCheck, check_for_run, problems_for_run};
pub use setup::preflight::needs::RunNeeds;
pub use setup::preflight::problem::Problem;
pub use slot::{SlotState, slot_state, wal_flush_position};
pub use status_report::{
    FailedRow, HeldKeyReport, HeldReport, OverdueAfter, ReplayReport, RowsReport, StateRows, held_report,
    log_end, replays_report, rows_report,
};
pub use stuck_rows::cursor::{StuckPage, StuckRowCursor};
pub use stuck_rows::filter::StuckRowFilter;
pub use stuck_rows::partition_summary::{NotYetDue, PartitionRows, PartitionSummary};
pub use stuck_rows::rows::{StuckRow, StuckRows};
pub use verify_rows::{RowToVerify, VerifyRows, VerifySelection};
pub use write_back::batch::RowUpdateBatch;
pub use write_back::known_partitions::known_partitions;
pub use write_back::outcome::{BatchOutcome, Completed};
pub use write_back::row_update::{RowUpdate, RowUpdateKind};
pub use write_back::row_writer::RowWriter;
pub use write_back::statuses::{leave_out_sql, statuses, table_oid, waiting_rows};
