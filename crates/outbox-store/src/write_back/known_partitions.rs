use crate::connection::error::StoreError;
use crate::connection::session::Session;

/// A partition that records were written to, by `postrider.progress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPartition {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The highest offset that was written back.
    pub offset: i64,
}

/// Every partition that a relay of this database has written back from, whichever slot it read: rows published
/// through an earlier slot are in the same table.
///
/// # Errors
///
/// As of any query.
pub async fn known_partitions(session: &Session) -> Result<Vec<KnownPartition>, StoreError> {
    const SQL: &str = "
        select topic, partition, max(\"offset\") from postrider.progress group by topic, partition order by 1, 2";
    let rows = session
        .client()
        .query(SQL, &[])
        .await
        .map_err(StoreError::postgres("reading which partitions were written to"))?;
    let known = |row: tokio_postgres::Row| KnownPartition {
        topic: row.get(0),
        partition: row.get(1),
        offset: row.get(2),
    };
    Ok(rows.into_iter().map(known).collect())
}
