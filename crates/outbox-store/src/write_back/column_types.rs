//! The types of the columns that the write-back assigns to.

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::session::Session;

/// Types of columns as casts name them, with length and precision.
pub(crate) struct WrittenColumnTypes {
    pub(crate) last_attempt_at: String,
    pub(crate) completed_at: String,
    pub(crate) last_error: String,
}

impl WrittenColumnTypes {
    pub(crate) async fn of(session: &Session, names: &Names) -> Result<WrittenColumnTypes, StoreError> {
        const SQL: &str = "
            select a.attname::text, format_type(a.atttypid, a.atttypmod)
            from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
            where n.nspname::text = $1::text and c.relname::text = $2::text and a.attname::text = any($3::text[])
              and a.attnum > 0 and not a.attisdropped";
        let columns = &names.columns;
        let wanted = [&columns.last_attempt_at, &columns.completed_at, &columns.last_error];
        let found = session
            .client()
            .query(SQL, &[&names.table.schema, &names.table.name, &&wanted[..]])
            .await
            .map_err(StoreError::postgres(format!("reading the column types of {}", names.table)))?;
        // Preparing the statement that assigns to a missing column names the column.
        let of = |name: &str, default: &str| {
            let row = found.iter().find(|row| row.get::<_, &str>(0) == name);
            row.map_or_else(|| default.to_owned(), |row| row.get(1))
        };
        Ok(WrittenColumnTypes {
            last_attempt_at: of(&columns.last_attempt_at, "timestamptz"),
            completed_at: of(&columns.completed_at, "timestamptz"),
            last_error: of(&columns.last_error, "text"),
        })
    }
}
