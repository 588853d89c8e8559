//! An outbox row as the service inserted it.

use bytes::Bytes;
use uuid::Uuid;

use crate::status::Status;

/// One inserted outbox row.
///
/// Texts are the UTF-8 bytes that PostgreSQL sent, not copied; `None` is SQL NULL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The row's primary key, which addresses the row.
    pub id: Uuid,
    /// The kind of business object, such as `order`.
    pub aggregate_type: Option<Bytes>,
    /// The business object's own key.
    pub aggregate_id: Option<Bytes>,
    /// What happened, such as `order_placed`.
    pub event_type: Option<Bytes>,
    /// The record's value, byte for byte; `None` becomes a tombstone.
    pub payload: Option<Bytes>,
    /// Further headers of the record: the text of a JSON object.
    pub headers: Option<Bytes>,
    /// The topic; `None` if it is made from the template.
    pub topic: Option<Bytes>,
    /// The record's key; `None` if it is made from the template.
    pub partition_key: Option<Bytes>,
    /// When the row was created, in microseconds since 1970-01-01 UTC.
    pub created_at_us: Option<i64>,
    /// The transaction that inserted the row, which the WAL may bring before other transactions see the row. `None` if
    /// the row was read from the table.
    pub xid: Option<u32>,
    /// The status with which the row was inserted; `None` for an unknown text, or if the table has no status column.
    pub status: Option<Status>,
    /// The values of [`Columns::others`](crate::Columns::others), in that order.
    pub others: Vec<Option<Bytes>>,
}

impl Event {
    /// A row of NULLs, read from the table.
    pub fn new(id: Uuid) -> Self {
        Event {
            id,
            aggregate_type: None,
            aggregate_id: None,
            event_type: None,
            payload: None,
            headers: None,
            topic: None,
            partition_key: None,
            created_at_us: None,
            xid: None,
            status: None,
            others: Vec::new(),
        }
    }
}
