//! The partitions that records were written to.

use outbox::RecordPosition;

use crate::connection::error::StoreError;
use crate::connection::session::Session;

/// The highest offset written back of every partition, through any slot: rows published through an earlier slot are in
/// the same table.
///
/// # Errors
///
/// As of any query.
pub async fn known_partitions(session: &Session) -> Result<Vec<RecordPosition>, StoreError> {
    const SQL: &str = "
        select topic, partition, max(\"offset\") from postrider.progress group by topic, partition order by 1, 2";
    let rows = session
        .client()
        .query(SQL, &[])
        .await
        .map_err(StoreError::postgres("reading the known partitions from postrider.progress"))?;
    let position = |row: tokio_postgres::Row| RecordPosition {
        topic: row.get::<_, &str>(0).into(),
        partition: row.get(1),
        offset: row.get(2),
    };
    Ok(rows.into_iter().map(position).collect())
}
