//! Delivered rows for `verify`, ordered by position.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::SystemTime;

use bytes::Bytes;
use futures_core::Stream as _;
use outbox::{AcceptedTypes, RecordPosition, Status};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, RowStream};
use uuid::Uuid;

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::quote::{identifier, table};
use crate::connection::session::Session;
use crate::event_rows::{ColumnTypes, expression};
use crate::record_position::record_position;

// The sort needs a few megabytes per 100,000 rows, because large payloads stay in the TOAST table; a very large selection
// is sorted on disk.
const SETTINGS: &str = "
begin transaction isolation level repeatable read, read only;
set local work_mem = '64MB';
set local jit = off;
";

/// The selection of PUBLISH and COMPLETE rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifySelection {
    /// Those created then or later.
    pub from: Option<SystemTime>,
    /// Those created before.
    pub to: Option<SystemTime>,
    /// A random sample of this many.
    pub sample: Option<u64>,
}

/// A delivered row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowToVerify {
    /// The primary key.
    pub id: Uuid,
    /// PUBLISH or COMPLETE.
    pub status: Status,
    /// The position on the row; a negative offset is unknown.
    pub place: Option<RecordPosition>,
    /// The payload, with the same bytes as in the WAL; `None` for NULL.
    pub payload: Option<Bytes>,
}

/// All rows of a selection in one snapshot, ordered by topic, partition and offset; rows without a position come last.
///
/// The server sends rows only as fast as they are read, so memory does not depend on the size of the table.
pub struct VerifyRows {
    total: u64,
    /// `None` at its end: a stream must not be polled again.
    rows: Option<Pin<Box<RowStream>>>,
    doing: String,
    /// Dropped after the stream, which reads from it.
    _session: Session,
}

impl VerifyRows {
    /// Takes the snapshot, counts the rows and starts to read them. Keeps the connection.
    ///
    /// # Errors
    ///
    /// Those of any query; not retryable if the table or a column is missing or the role may not read it, and if the
    /// selection has times and the table no `created_at`.
    pub async fn open(
        session: Session,
        names: &Names,
        selection: VerifySelection,
    ) -> Result<VerifyRows, StoreError> {
        let doing = format!("reading the rows of {} that were delivered", names.table);
        let types = ColumnTypes::of_table(&session, names).await?;
        let created_at = &names.columns.created_at;
        let has_times = selection.from.is_some() || selection.to.is_some();
        if has_times && types.get(created_at).is_none() && types.get(&names.columns.id).is_some() {
            return Err(StoreError::definite(
                doing,
                format!("the table has no column {created_at} to compare with --from and --to"),
                "set columns.created_at, or omit --from and --to",
            ));
        }
        session.run(SETTINGS, &doing).await?;
        let condition = condition(names, has_times);
        let (from, to) = (selection.from, selection.to);
        let times: [&(dyn ToSql + Sync); 2] = [&from, &to];
        let times: &[&(dyn ToSql + Sync)] = if has_times { &times } else { &[] };
        let counting = format!("select count(*) from {} as o where {condition}", table(&names.table));
        let counted =
            session.client().query_one(&counting, times).await.map_err(StoreError::postgres(&*doing))?;
        let matching = counted.get::<_, i64>(0).unsigned_abs();
        let sql = sql(names, types.get(&names.columns.payload), &condition, selection.sample);
        let rows = session
            .client()
            .query_raw(&sql, times.iter().copied())
            .await
            .map_err(StoreError::postgres(&*doing))?;
        Ok(VerifyRows {
            total: selection.sample.map_or(matching, |sample| sample.min(matching)),
            rows: Some(Box::pin(rows)),
            doing,
            _session: session,
        })
    }

    /// The number of selected rows.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The next rows: at most `rows_max`, and none after their payloads exceed `bytes_max`. Empty at the end.
    ///
    /// # Errors
    ///
    /// Those of any query. The remaining rows cannot be read.
    pub async fn next(&mut self, rows_max: usize, bytes_max: usize) -> Result<Vec<RowToVerify>, StoreError> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        while rows.len() < rows_max && bytes < bytes_max {
            let Some(stream) = &mut self.rows else { break };
            let next = poll_fn(|context| stream.as_mut().poll_next(context)).await;
            let Some(row) = next.transpose().map_err(StoreError::postgres(&*self.doing))? else {
                self.rows = None;
                break;
            };
            let row = read(&row);
            bytes += row.payload.as_ref().map_or(0, Bytes::len);
            rows.push(row);
        }
        Ok(rows)
    }
}

fn read(row: &Row) -> RowToVerify {
    RowToVerify {
        id: row.get(0),
        status: if row.get(1) { Status::Complete } else { Status::Publish },
        place: record_position(row, 2),
        payload: row.get::<_, Option<&[u8]>>(5).map(Bytes::copy_from_slice),
    }
}

fn condition(names: &Names, has_times: bool) -> String {
    let mut condition = format!("o.{}::text in ('PUBLISH', 'COMPLETE')", identifier(&names.columns.status));
    if has_times {
        let created_at = identifier(&names.columns.created_at);
        condition.push_str(&format!(
            " and ($1::timestamptz is null or o.{created_at} >= $1::timestamptz)
              and ($2::timestamptz is null or o.{created_at} < $2::timestamptz)"
        ));
    }
    condition
}

// The payload becomes text after the sort, so that the sort carries TOAST pointers only; `offset 0` keeps the planner
// from moving the cast into the subquery.
fn sql(names: &Names, payload_type: Option<&str>, condition: &str, sample: Option<u64>) -> String {
    let columns = &names.columns;
    let selected = format!(
        r#"select o.{id}, o.{status}::text = 'COMPLETE',
                  case when o.{kafka_offset}::int8 >= 0 then o.{kafka_topic}::text end collate "C",
                  o.{kafka_partition}::int4, o.{kafka_offset}::int8, o.{payload}
           from {table} as o where {condition}"#,
        id = identifier(&columns.id),
        status = identifier(&columns.status),
        kafka_topic = identifier(&columns.kafka_topic),
        kafka_partition = identifier(&columns.kafka_partition),
        kafka_offset = identifier(&columns.kafka_offset),
        payload = identifier(&columns.payload),
        table = table(&names.table),
    );
    let selected = match sample {
        None => selected,
        Some(rows) => format!("select * from ({selected} order by random() limit {rows}) as s"),
    };
    format!(
        r#"select o.id, o.complete, o.topic, o."partition", o."offset", {payload}
           from ({selected} order by 3, 4, 5 offset 0) as o (id, complete, topic, "partition", "offset", payload)"#,
        payload = expression(AcceptedTypes::Payload, "payload", payload_type),
    )
}
