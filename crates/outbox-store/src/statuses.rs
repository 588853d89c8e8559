use std::collections::HashMap;

use outbox::Status;
use uuid::Uuid;

use crate::names::Names;
use crate::{Session, StoreError, quote};

/// What the rows of these ids say, in one query. A row that is gone has no entry; one whose status is NULL or
/// a text that is none of ours has `None`.
///
/// # Errors
///
/// As of any query; definite where the table or a column is missing or may not be read.
pub async fn statuses(
    session: &Session,
    names: &Names,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, Option<Status>>, StoreError> {
    let sql = format!(
        "select {id}, {status}::text from {table} where {id} = any($1::uuid[])",
        id = quote::identifier(&names.columns.id),
        status = quote::identifier(&names.columns.status),
        table = quote::table(&names.table),
    );
    let doing = || format!("asking {} for the status of rows sent again", names.table);
    let rows = session.client().query(&sql, &[&ids]).await.map_err(StoreError::postgres(doing()))?;
    Ok(rows
        .into_iter()
        .map(|row| (row.get(0), row.get::<_, Option<&str>>(1).and_then(|status| status.parse().ok())))
        .collect())
}
