//! Reads the position of a record from a row.

use outbox::RecordPosition;
use tokio_postgres::Row;

/// From topic, partition and offset, which begin at this column; `None` if one of them is NULL.
pub(crate) fn record_position(row: &Row, first: usize) -> Option<RecordPosition> {
    Some(RecordPosition {
        topic: row.get::<_, Option<&str>>(first)?.into(),
        partition: row.get::<_, Option<i32>>(first + 1)?,
        offset: row.get::<_, Option<i64>>(first + 2)?,
    })
}
