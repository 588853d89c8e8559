//! Values and pure decisions of a transactional outbox.
//!
//! No I/O, no clock, no runtime: every type is a value and every decision a function of values, so the seeded
//! simulation in `tests/simulation` covers all of them. [`Metrics`] alone is shared state: atomic counters.

mod columns;
mod created_range;
mod cursor;
mod event;
mod ledger;
mod log_bounds;
mod log_throttle;
mod lsn;
mod metrics;
mod ordering_key;
mod outage;
mod progress;
mod receipt;
mod record_at_offset;
mod record_position;
mod send_queue;
mod shorten;
mod status;
mod table;
mod write_back_summary;

pub use columns::{AcceptedTypes, COLUMN_ROLES, ColumnRole, Columns, EventText, Requirement};
pub use created_range::CreatedRange;
pub use event::Event;
pub use ledger::{
    Admission, InFlightLedger, InFlightLimits, LedgerOptions, LookupOutcome, OutOfOrder, Token,
};
pub use log_bounds::LogBounds;
pub use log_throttle::LogThrottle;
pub use lsn::{Lsn, ParseLsnError};
pub use metrics::{Component, Metrics, RepublishCause};
pub use ordering_key::OrderingKey;
pub use outage::OutageLog;
pub use progress::{Progress, Transaction};
pub use receipt::Receipt;
pub use record_at_offset::RecordAtOffset;
pub use record_position::RecordPosition;
pub use send_queue::SendQueue;
pub use shorten::shorten;
pub use status::{ParseStatusError, Status, needs_publish};
pub use table::{ParseTableNameError, TableName};
pub use write_back_summary::WriteBackSummary;
