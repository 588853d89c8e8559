//! Rows read as rows, as the log would have brought them.

use bytes::Bytes;
use outbox::{Event, Status};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::quote::{identifier, table};
use crate::connection::session::Session;
use crate::setup::columns::COLUMNS;

/// A row of the outbox table as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// What its record is made of; the same bytes as the log brings.
    pub event: Event,
    /// `None` for NULL and for a text that is none of ours.
    pub status: Option<Status>,
    /// How often it was sent; NULL counts as 0.
    pub attempts: u32,
    /// When it was sent last, in microseconds since 1970-01-01 UTC, by the database's clock.
    pub last_attempt_at_us: Option<i64>,
    /// Where its record is, if topic, partition and offset are all there.
    pub place: Option<StoredPlace>,
}

/// Where a row says that its record is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoredPlace {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
}

/// How rows of the outbox table are selected and read: a list of expressions that goes into a statement of the
/// caller's, over the table under the alias `o`.
#[derive(Clone, Debug)]
pub struct EventRows {
    list: String,
    others: usize,
}

/// The parts in the order of the list.
const PLAYED: [&str; 15] = [
    "id",
    "aggregate_type",
    "aggregate_id",
    "event_type",
    "payload",
    "headers",
    "topic",
    "partition_key",
    "created_at",
    "status",
    "attempts",
    "last_attempt_at",
    "kafka_topic",
    "kafka_partition",
    "kafka_offset",
];

impl EventRows {
    /// How many columns the list has before those that templates read.
    const PARTS: usize = PLAYED.len();

    /// Asks the catalog for the columns' types, on which the expressions depend. A column that the table may lack
    /// and lacks is read as NULL.
    ///
    /// # Errors
    ///
    /// As of any query.
    pub async fn new(session: &Session, names: &Names) -> Result<EventRows, StoreError> {
        let types = ColumnTypes::of_table(session, names).await?;
        let type_of = |name: &str| types.get(name);
        let played = PLAYED.iter().map(|key| {
            let name =
                COLUMNS.iter().find(|role| role.key == *key).map_or("", |role| role.name(&names.columns));
            expression(key, name, type_of(name))
        });
        let others = names.columns.others.iter().map(|name| expression("other", name, type_of(name)));
        let list: Vec<String> = played.chain(others).collect();
        Ok(EventRows { list: list.join(", "), others: names.columns.others.len() })
    }

    /// The expressions, separated by commas: [`read`](Self::read) expects them as the first of the row.
    pub fn list(&self) -> &str {
        &self.list
    }

    /// How many columns of the row the list takes; what the caller selects besides begins at this index.
    pub fn len(&self) -> usize {
        Self::PARTS + self.others
    }

    /// Whether the list is empty, which it never is.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The row, from what the list selected.
    pub fn read(&self, row: &Row) -> StoredRow {
        let text = |index: usize| row.get::<_, Option<&[u8]>>(index).map(Bytes::copy_from_slice);
        let place = || {
            Some(StoredPlace {
                topic: row.get::<_, Option<String>>(12)?,
                partition: row.get::<_, Option<i32>>(13)?,
                offset: row.get::<_, Option<i64>>(14)?,
            })
        };
        let status: Option<Status> = row.get::<_, Option<&str>>(9).and_then(|text| text.parse().ok());
        StoredRow {
            event: Event {
                id: row.get(0),
                aggregate_type: text(1),
                aggregate_id: text(2),
                event_type: text(3),
                payload: text(4),
                headers: text(5),
                topic: text(6),
                partition_key: text(7),
                created_at_us: row.get(8),
                xid: None,
                status,
                others: (Self::PARTS..self.len()).map(text).collect(),
            },
            status,
            attempts: row.get::<_, Option<i32>>(10).and_then(|n| n.try_into().ok()).unwrap_or(0),
            last_attempt_at_us: row.get(11),
            place: place(),
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

/// Texts come as the bytes of their text, so that a payload is one whatever its type.
pub(crate) fn expression(key: &str, name: &str, of: Option<&str>) -> String {
    let column = format!("o.{}", identifier(name));
    let time =
        || format!("case when isfinite({column}) then (extract(epoch from {column}) * 1000000)::int8 end");
    match (key, of) {
        ("created_at" | "last_attempt_at", None) => "null::int8".to_owned(),
        ("created_at" | "last_attempt_at", Some(_)) => time(),
        ("id", _) => column,
        ("status" | "kafka_topic", Some(_)) => format!("{column}::text"),
        ("attempts" | "kafka_partition", Some(_)) => format!("{column}::int4"),
        ("kafka_offset", Some(_)) => format!("{column}::int8"),
        ("status" | "kafka_topic", None) => "null::text".to_owned(),
        ("attempts" | "kafka_partition", None) => "null::int4".to_owned(),
        ("kafka_offset", None) => "null::int8".to_owned(),
        (_, None) => "null::bytea".to_owned(),
        (_, Some("bytea")) => column,
        // A cast would cut the blanks off that belong to the value.
        (_, Some("character")) => {
            as_bytes(&format!("case when {column} is not null then concat({column}) end"))
        }
        (_, Some(_)) => as_bytes(&format!("{column}::text")),
    }
}

fn as_bytes(text: &str) -> String {
    format!("convert_to({text}, 'UTF8')")
}
