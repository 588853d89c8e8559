//! The partitions that records were written to.

use outbox::RecordPosition;

use crate::connection::error::StoreError;
use crate::connection::session::Session;
use crate::record_position::record_position;

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
    Ok(rows.iter().filter_map(|row| record_position(row, 0)).collect())
}
