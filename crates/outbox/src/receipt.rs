//! Evidence that a record was consumed.

use uuid::Uuid;

use crate::record_position::RecordPosition;

/// A record that was consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The row's primary key, from the record's header `id`.
    pub id: Uuid,
    /// Where the record is.
    pub at: RecordPosition,
    /// Whether a replay request sent it: its header `postrider-replay` has the id of one.
    pub by_request: bool,
}
