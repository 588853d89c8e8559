//! Events read from the table, with the same bytes as those read from the WAL.

use bytes::Bytes;
use outbox::{AcceptedTypes, ColumnRole, Event, RecordPosition, Status};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::quote::{identifier, table};
use crate::connection::session::Session;
use crate::record_position::record_position;

/// The current version of a row of the outbox table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// What its record is made of; the same bytes as the log brings.
    pub event: Event,
    /// `None` for NULL and for an unknown status.
    pub status: Option<Status>,
    /// How often it was sent; NULL counts as 0.
    pub attempts: u32,
    /// When it was sent last, in microseconds since 1970-01-01 UTC, by the database's clock.
    pub last_attempt_at_us: Option<i64>,
    /// Where its record is, if topic, partition and offset are all there.
    pub place: Option<RecordPosition>,
}

/// The select list with which a statement reads events from the outbox table, which has the alias `o` there.
#[derive(Clone, Debug)]
pub struct EventRows {
    list: String,
    len: usize,
    others: usize,
}

/// The roles that the list begins with; [`EventRows::read`] reads them by these indexes. The texts of a record follow in
/// the order of [`ColumnRole::event_texts`], then the columns that only templates read.
const FIRST: [&str; 8] = [
    "id",
    "created_at",
    "status",
    "attempts",
    "last_attempt_at",
    "kafka_topic",
    "kafka_partition",
    "kafka_offset",
];

impl EventRows {
    /// Reads the column types, on which the expressions depend, from the catalog. A missing column that the table may
    /// lack is read as NULL.
    ///
    /// # Errors
    ///
    /// As of any query.
    pub async fn new(session: &Session, names: &Names) -> Result<EventRows, StoreError> {
        let types = ColumnTypes::of_table(session, names).await?;
        let columns = &names.columns;
        let first = FIRST.iter().filter_map(|key| ColumnRole::by_key(key));
        let texts = ColumnRole::event_texts().map(|(role, _)| role);
        let roles = first.chain(texts).map(|role| (role.accepted, role.name(columns)));
        let others = columns.others.iter().map(|name| (AcceptedTypes::Scalar, name.as_str()));
        let list: Vec<String> =
            roles.chain(others).map(|(accepts, name)| expression(accepts, name, types.get(name))).collect();
        Ok(EventRows { len: list.len(), list: list.join(", "), others: columns.others.len() })
    }

    /// The expressions, separated by commas: [`read`](Self::read) expects them as the first of the row.
    pub fn list(&self) -> &str {
        &self.list
    }

    /// How many columns of the row the list takes; what the caller selects besides begins at this index.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the list is empty, which it never is.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The row, from what the list selected.
    pub fn read(&self, row: &Row) -> StoredRow {
        let text = |index: usize| row.get::<_, Option<&[u8]>>(index).map(Bytes::copy_from_slice);
        let status: Option<Status> = row.get::<_, Option<&str>>(2).and_then(|text| text.parse().ok());
        let mut event = Event {
            created_at_us: row.get(1),
            status,
            others: (self.len - self.others..self.len).map(text).collect(),
            ..Event::new(row.get(0))
        };
        for (index, (_, field)) in (FIRST.len()..).zip(ColumnRole::event_texts()) {
            field.set(&mut event, text(index));
        }
        StoredRow {
            event,
            status,
            attempts: row.get::<_, Option<i32>>(3).and_then(|n| n.try_into().ok()).unwrap_or(0),
            last_attempt_at_us: row.get(4),
            place: record_position(row, 5),
        }
    }

    /// The rows of these ids as they stand now, in one query. A row that is gone is left out.
    ///
    /// # Errors
    ///
    /// As of any query.
    pub async fn by_ids(
        &self,
        session: &Session,
        names: &Names,
        ids: &[Uuid],
    ) -> Result<Vec<StoredRow>, StoreError> {
        let sql = format!(
            "select {} from {} o where o.{} = any($1::uuid[])",
            self.list,
            table(&names.table),
            identifier(&names.columns.id)
        );
        let doing = || format!("reading rows of {} by their ids", names.table);
        let rows = session.client().query(&sql, &[&ids]).await.map_err(StoreError::postgres(doing()))?;
        Ok(rows.iter().map(|row| self.read(row)).collect())
    }
}

/// The types of the outbox table's columns, as `format_type` names them.
pub(crate) struct ColumnTypes(Vec<(String, String)>);

impl ColumnTypes {
    pub(crate) async fn of_table(session: &Session, names: &Names) -> Result<ColumnTypes, StoreError> {
        const SQL: &str = "
            select a.attname::text, format_type(a.atttypid, null)
            from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
            where n.nspname::text = $1::text and c.relname::text = $2::text and a.attnum > 0 and not a.attisdropped";
        let doing = || format!("looking at the columns of {}", names.table);
        let columns = session
            .client()
            .query(SQL, &[&names.table.schema, &names.table.name])
            .await
            .map_err(StoreError::postgres(doing()))?;
        Ok(ColumnTypes(columns.iter().map(|row| (row.get(0), row.get(1))).collect()))
    }

    /// `None` where there is no such column.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, of)| of.as_str())
    }
}

/// Reads a column as the role's type; a column without a type does not exist and is read as NULL. The texts of a record
/// are read as bytes, whatever the column's type.
pub(crate) fn expression(accepts: AcceptedTypes, name: &str, type_name: Option<&str>) -> String {
    let column = format!("o.{}", identifier(name));
    let (expression, sql_type) = match accepts {
        AcceptedTypes::Uuid => (column, "uuid"),
        AcceptedTypes::Timestamp => {
            let us = format!("(extract(epoch from {column}) * 1000000)::int8");
            (format!("case when isfinite({column}) then {us} end"), "int8")
        }
        AcceptedTypes::Text => (format!("{column}::text"), "text"),
        AcceptedTypes::Integer | AcceptedTypes::Integer4 => (format!("{column}::int4"), "int4"),
        AcceptedTypes::Integer8 => (format!("{column}::int8"), "int8"),
        AcceptedTypes::Scalar | AcceptedTypes::Payload | AcceptedTypes::Json => {
            let bytes = match type_name {
                Some("bytea") => column,
                // A cast would remove the trailing blanks, which belong to the value.
                Some("character") => {
                    as_bytes(&format!("case when {column} is not null then concat({column}) end"))
                }
                _ => as_bytes(&format!("{column}::text")),
            };
            (bytes, "bytea")
        }
    };
    match type_name {
        // Without its id column the table cannot be read; the query fails and names the column.
        None if accepts != AcceptedTypes::Uuid => format!("null::{sql_type}"),
        _ => expression,
    }
}

fn as_bytes(text: &str) -> String {
    format!("convert_to({text}, 'UTF8')")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_rows_begin_with_known_roles() {
        assert!(
            FIRST.iter().all(|key| ColumnRole::by_key(key).is_some_and(|role| role.event_text.is_none()))
        );
    }
}
