use std::collections::HashMap;

use outbox::Status;
use uuid::Uuid;

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::quote;
use crate::connection::session::Session;

/// What the rows of these ids say, in one query. A row that is gone has no entry; one whose status is NULL or
/// an unknown text has `None`.
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

/// The number of INIT rows, counted up to `max`: rows that a new slot does not bring.
///
/// # Errors
///
/// As of any query.
pub async fn waiting_rows(session: &Session, names: &Names, max: i64) -> Result<i64, StoreError> {
    let sql = format!(
        "select count(*) from (select from {table} where {status} = 'INIT' limit $1) as waiting",
        status = quote::identifier(&names.columns.status),
        table = quote::table(&names.table),
    );
    let doing = || format!("counting the INIT rows of {}", names.table);
    let row = session.client().query_one(&sql, &[&max]).await.map_err(StoreError::postgres(doing()))?;
    Ok(row.get(0))
}

/// The table's OID, by which the log knows it whatever it is called; `None` if there is none of that name.
///
/// # Errors
///
/// As of any query.
pub async fn table_oid(session: &Session, names: &Names) -> Result<Option<u32>, StoreError> {
    const SQL: &str = "select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname::text = $1::text and c.relname::text = $2::text";
    let doing = || format!("looking for {}", names.table);
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
        [&names.table.schema, &names.table.name];
    let row = session.client().query_opt(SQL, &parameters).await.map_err(StoreError::postgres(doing()))?;
    Ok(row.map(|row| row.get(0)))
}

/// The statement with which an operator excludes a row.
pub fn leave_out_sql(names: &Names, id: Uuid) -> String {
    format!(
        "UPDATE {table} SET {status} = 'FAILED' WHERE {key} = '{id}'",
        table = quote::table(&names.table),
        status = quote::identifier(&names.columns.status),
        key = quote::identifier(&names.columns.id),
    )
}
