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
    /// The values of [`Columns::others`], in that order.
    pub others: Vec<Option<Bytes>>,
}

impl Event {
    /// The bytes of the event's values, for the in-flight limits.
    pub fn size_bytes(&self) -> usize {
        let fields = [
            &self.aggregate_type,
            &self.aggregate_id,
            &self.event_type,
            &self.payload,
            &self.headers,
            &self.topic,
            &self.partition_key,
        ];
        let others = self.others.iter();
        fields.into_iter().chain(others).map(|field| field.as_ref().map_or(0, Bytes::len)).sum()
    }
}

/// The names of the outbox table's columns, by role.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is named after the role of its column")]
pub struct Columns {
    pub id: String,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub event_type: String,
    pub payload: String,
    pub headers: String,
    pub topic: String,
    pub partition_key: String,
    pub status: String,
    pub created_at: String,
    pub published_at: String,
    pub completed_at: String,
    pub kafka_topic: String,
    pub kafka_partition: String,
    pub kafka_offset: String,
    pub attempts: String,
    pub last_attempt_at: String,
    pub last_error: String,
    /// Further columns that a topic or key template reads.
    pub others: Vec<String>,
}

impl Default for Columns {
    fn default() -> Self {
        let name = str::to_owned;
        Columns {
            id: name("id"),
            aggregate_type: name("aggregate_type"),
            aggregate_id: name("aggregate_id"),
            event_type: name("event_type"),
            payload: name("payload"),
            headers: name("headers"),
            topic: name("topic"),
            partition_key: name("partition_key"),
            status: name("status"),
            created_at: name("created_at"),
            published_at: name("published_at"),
            completed_at: name("completed_at"),
            kafka_topic: name("kafka_topic"),
            kafka_partition: name("kafka_partition"),
            kafka_offset: name("kafka_offset"),
            attempts: name("attempts"),
            last_attempt_at: name("last_attempt_at"),
            last_error: name("last_error"),
            others: Vec::new(),
        }
    }
}
