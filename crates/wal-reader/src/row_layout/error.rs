//! Errors of a table or a row that cannot be read as outbox events.

use uuid::Uuid;

/// A relation that does not have the configured columns of an outbox table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowLayoutError {
    /// A required column is not published.
    #[error(
        "table {table} has no column '{column}' in the publication; add it, publish it, or map another column \
         under [columns]"
    )]
    Missing {
        /// The table, as named in the stream.
        table: String,
        /// Name of the column.
        column: String,
    },
    /// A column has a type that cannot be read for its purpose.
    #[error("column '{column}' of table {table} has an unsupported type (OID {type_oid}); use {accepted}")]
    Type {
        /// The table, as named in the stream.
        table: String,
        /// Name of the column.
        column: String,
        /// OID of the column's type in `pg_type`.
        type_oid: u32,
        /// The accepted types.
        accepted: &'static str,
    },
}

/// A row with a value that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column '{column}' {problem}")]
pub struct UnreadableRow {
    /// The row's id; `None` if the id itself cannot be read.
    pub id: Option<Uuid>,
    pub(crate) column: String,
    pub(crate) problem: &'static str,
}
