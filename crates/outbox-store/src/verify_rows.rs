//! Delivered rows for `verify`, ordered by position.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::SystemTime;

use bytes::Bytes;
use futures_core::Stream as _;
use outbox::{AcceptedTypes, Status};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, RowStream};
use uuid::Uuid;

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::quote::{identifier, table};
use crate::connection::session::Session;
use crate::event_rows::StoredPlace;
use crate::event_rows::{ColumnTypes, expression};

// Places are compared as Kafka's tools would list them, and many times faster than by a language's rules. What is
// sorted is a few megabytes per hundred thousand rows, because large payloads stay out of the table until they are
// sent; the rest of a very large table is sorted on disk.
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
    /// So many of them, at random.
    pub sample: Option<u64>,
}

/// A delivered row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowToProve {
    /// Its primary key.
    pub id: Uuid,
    /// PUBLISH or COMPLETE.
    pub status: Status,
    /// The position that it records; a negative offset is unknown.
    pub place: Option<StoredPlace>,
    /// The payload, as the bytes that the log brought; `None` for NULL.
    pub payload: Option<Bytes>,
}

/// All rows of a selection in one snapshot, by topic, partition and offset; those without a place come last.
///
/// The server sends no faster than they are taken, so memory stays flat whatever the table's size.
pub struct VerifyRows {
    total: u64,
    /// `None` once it has ended; asked again it would say that the connection is closed.
    rows: Option<Pin<Box<RowStream>>>,
    doing: String,
    /// Behind the stream, which it serves.
    _session: Session,
}

impl VerifyRows {
    /// Takes the snapshot, counts the rows and begins to read them. The connection is used up.
    ///
    /// # Errors
    ///
    /// As of any query; definite where the table or a column is missing or may not be read, and where rows are to
    /// be told by their time and have none.
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
                format!("there is no column {created_at} by which to tell them"),
                "set columns.created_at to the one that there is, or verify without --from and --to",
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

    /// How many rows there are in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The next rows, `rows_max` at most and no more once their payloads reach `bytes_max`; none at the end.
    ///
    /// # Errors
    ///
    /// As of any query. The rest cannot be read.
    pub async fn next(&mut self, rows_max: usize, bytes_max: usize) -> Result<Vec<RowToProve>, StoreError> {
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

fn read(row: &Row) -> RowToProve {
    let place = || {
        Some(StoredPlace {
            topic: row.get::<_, Option<String>>(2)?,
            partition: row.get::<_, Option<i32>>(3)?,
            offset: row.get::<_, Option<i64>>(4)?,
        })
    };
    RowToProve {
        id: row.get(0),
        status: if row.get(1) { Status::Complete } else { Status::Publish },
        place: place(),
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

// The payload is made text only after the sort, so that one that the table keeps aside is not carried through it;
// `offset 0` keeps the planner from pulling that forward.
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
