//! The vocabulary and the decisions of a transactional outbox.
//!
//! Nothing here does I/O: every type is a value, every decision a function of values.

mod cursor;
mod event;
mod lane;
mod lsn;
mod metrics;
mod pipeline;
mod progress;
mod send_queue;
mod status;
mod table;
mod tally;

pub use event::{Columns, Event};
pub use lane::Lane;
pub use lsn::{Lsn, ParseLsnError};
pub use metrics::{Component, Metrics, RepublishCause};
pub use pipeline::{Admission, Limits, OutOfOrder, Pipeline, Start, Token, Verdict};
pub use progress::{Progress, Transaction};
pub use send_queue::SendQueue;
pub use status::{ParseStatusError, Status, resend_is_needed};
pub use table::{ParseTableNameError, TableName};
pub use tally::{CreatedRange, Tally};
