//! Questions about rows that wait, asked when something is known to be overdue, and once when a relay starts.

use outbox::RecordPosition;
use uuid::Uuid;

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::session::Session;
use crate::stuck_rows::sql::Sql;

/// What has to be known of a row to decide whether it is stuck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StuckRow {
    /// The row.
    pub id: Uuid,
    /// When it was created, in microseconds since 1970-01-01 UTC; `None` for NULL and for infinity.
    pub created_at_us: Option<i64>,
    /// How often it was sent.
    pub attempts: u32,
    /// When it was sent last.
    pub last_attempt_at_us: Option<i64>,
    /// The position of its record, if known.
    pub place: Option<RecordPosition>,
}

/// How rows that wait are asked for, given the columns that the table has.
#[derive(Clone, Debug)]
pub struct StuckRows {
    pub(crate) sql: Sql,
}

impl StuckRows {
    /// Asks the catalog for what the statements depend on.
    ///
    /// # Errors
    ///
    /// As of any query.
    pub async fn new(session: &Session, names: &Names) -> Result<StuckRows, StoreError> {
        const SQL: &str = "
            select format_type(a.atttypid, null)
            from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
            where n.nspname::text = $1::text and c.relname::text = $2::text and a.attname::text = $3::text
                and a.attnum > 0 and not a.attisdropped";
        let doing = || format!("looking at the columns of {}", names.table);
        let (schema, name, created_at) = (&names.table.schema, &names.table.name, &names.columns.created_at);
        let found = session
            .client()
            .query_opt(SQL, &[schema, name, created_at])
            .await
            .map_err(StoreError::postgres(doing()))?;
        let created_at_type: Option<String> = found.map(|row| row.get(0));
        Ok(StuckRows { sql: Sql::new(names, created_at_type.as_deref()) })
    }

    /// Which of these rows are still INIT and not held.
    ///
    /// # Errors
    ///
    /// As of any query.
    pub async fn still_init(&self, session: &Session, ids: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
        let Sql { table, id, status, not_held, .. } = &self.sql;
        let sql = format!(
            "select {id} from {table} o where {id} = any($1::uuid[]) and {status}::text = 'INIT' and {not_held}"
        );
        let doing = || format!("checking which rows of {table} are still INIT");
        let rows = session.client().query(&sql, &[&ids]).await.map_err(StoreError::postgres(doing()))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}
