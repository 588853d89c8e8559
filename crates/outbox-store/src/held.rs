//! Held keys: rows in `postrider.held` that wait behind a failed row of their ordering key.

use bytes::Bytes;
use outbox::{Event, OrderingKey, Status};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::quote::{identifier, table};
use crate::connection::session::Session;
use crate::event_rows::EventRows;
use crate::held_event;

/// A key whose rows wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldKey {
    /// The ordering key.
    pub key: OrderingKey,
    /// The failed row behind which they wait; `None` while the key is being drained.
    pub head: Option<Uuid>,
    /// How many wait.
    pub waiting: u64,
}

// Entries made before events were kept with them are useless without their row. A missing row may be one whose commit is
// not visible yet (it waits for a synchronous standby).
const GONE_AFTER_SECONDS: u32 = 60;

/// The held keys of the slot, in the order in which they were held. Called when a relay starts.
///
/// Stale entries are deleted first: of rows that were published since, and of heads whose row is no longer FAILED because
/// an operator changed it. An entry whose row was deleted keeps its event and its place.
///
/// # Errors
///
/// Those of any query; not retryable if the role lacks a privilege.
pub async fn load_held_keys(session: &Session, names: &Names) -> Result<Vec<HeldKey>, StoreError> {
    let operation = || format!("reading the held keys of {}", names.table);
    let stale = format!(
        "delete from postrider.held as h
         using (
             select k.slot, k.id
             from postrider.held as k left join {table} as o on o.{id} = k.id
             where k.slot = $1 and case
                 when o.{id} is null then k.event is null and k.held_at < now() - interval '{GONE_AFTER_SECONDS} s'
                 when k.head then o.{status} is distinct from 'FAILED'
                 else o.{status} in ('PUBLISH', 'COMPLETE', 'FAILED')
             end
         ) as stale
         where h.slot = stale.slot and h.id = stale.id",
        table = table(&names.table),
        id = identifier(&names.columns.id),
        status = identifier(&names.columns.status),
    );
    let deleted = session.client().execute(&stale, &[&names.slot]).await;
    let deleted = deleted.map_err(StoreError::postgres(operation()))?;
    if deleted > 0 {
        tracing::info!(rows = deleted, "removed stale entries from postrider.held");
    }
    const KEYS: &str = "
        select topic, key, (array_agg(id order by seq) filter (where head))[1], count(*) filter (where not head)
        from postrider.held where slot = $1 and topic is not null group by topic, key order by min(seq)";
    let keys =
        session.client().query(KEYS, &[&names.slot]).await.map_err(StoreError::postgres(operation()))?;
    Ok(keys
        .iter()
        .map(|row| HeldKey {
            key: ordering_key(row),
            head: row.get(2),
            waiting: row.get::<_, i64>(3).unsigned_abs(),
        })
        .collect())
}

/// Removes the head of a held key, so that its waiting rows can be published. Returns the key; `None` if the row is the
/// head of none.
///
/// # Errors
///
/// Those of any query.
pub async fn release_head(
    session: &Session,
    names: &Names,
    id: Uuid,
) -> Result<Option<OrderingKey>, StoreError> {
    const SQL: &str = "delete from postrider.held where slot = $1 and id = $2 and head returning topic, key";
    let operation = || format!("releasing the rows that wait behind row {id}");
    let row = session.client().query_opt(SQL, &[&names.slot, &id]).await;
    Ok(row.map_err(StoreError::postgres(operation()))?.as_ref().map(ordering_key))
}

/// The first `rows_max` events that wait in a key, in order: as their rows are in the table now, or as they were kept if
/// their rows were deleted. Rows that are PUBLISH, COMPLETE or FAILED by now are omitted.
///
/// # Errors
///
/// Those of any query.
pub async fn waiting_events_of(
    session: &Session,
    names: &Names,
    event_rows: &EventRows,
    key: &OrderingKey,
    events_max: usize,
) -> Result<Vec<Event>, StoreError> {
    let sql = format!(
        "select {list}, o.{id} is not null, h.id, h.head, (extract(epoch from h.created_at) * 1000000)::int8, h.event
         from postrider.held as h left join {table} as o on o.{id} = h.id
         where h.slot = $1 and hashtextextended(h.topic, 0) = hashtextextended($2, 0) and sha256(h.key) = sha256($3) and h.topic = $2 and h.key = $3
             and not h.head and (o.{status} in ('PUBLISH', 'COMPLETE', 'FAILED')) is not true
             and (o.{id} is not null or h.event is not null)
         order by h.seq limit $4",
        list = event_rows.list(),
        status = identifier(&names.columns.status),
        table = table(&names.table),
        id = identifier(&names.columns.id),
    );
    let operation = || format!("reading the held rows of {}", names.table);
    let events_max = i64::try_from(events_max).unwrap_or(i64::MAX);
    let parameters: [&(dyn ToSql + Sync); 4] = [&names.slot, &key.topic, &&*key.key, &events_max];
    let rows = session.client().query(&sql, &parameters).await.map_err(StoreError::postgres(operation()))?;
    let first = event_rows.len();
    let event = |row: &Row| match row.get(first) {
        true => event_rows.read(row).event,
        false => kept_event(row, first + 1),
    };
    Ok(rows.iter().map(event).collect())
}

/// The failed events of these ids whose rows were deleted.
///
/// # Errors
///
/// Those of any query.
pub async fn events_without_row(
    session: &Session,
    names: &Names,
    ids: &[Uuid],
) -> Result<Vec<Event>, StoreError> {
    let sql = format!(
        "select h.id, h.head, (extract(epoch from h.created_at) * 1000000)::int8, h.event
         from postrider.held as h
         where h.slot = $1 and h.id = any($2::uuid[]) and h.head and h.event is not null
             and not exists (select from {table} as o where o.{id} = h.id)
         order by h.seq",
        table = table(&names.table),
        id = identifier(&names.columns.id),
    );
    let operation = || format!("reading the held rows of {}", names.table);
    let rows = session.client().query(&sql, &[&names.slot, &ids]).await;
    let rows = rows.map_err(StoreError::postgres(operation()))?;
    Ok(rows.iter().map(|row| kept_event(row, 0)).collect())
}

/// Deletes the entry of a failed event that holds no key. Returns whether there was one.
///
/// # Errors
///
/// Those of any query.
pub async fn drop_event_without_key(session: &Session, names: &Names, id: Uuid) -> Result<bool, StoreError> {
    const SQL: &str = "delete from postrider.held where slot = $1 and id = $2 and topic is null";
    let deleted = session.client().execute(SQL, &[&names.slot, &id]).await;
    Ok(deleted.map_err(StoreError::postgres("deleting a failed event"))? > 0)
}

/// Deletes the entry of a failed event whose row was deleted. Returns whether there was one. Events that wait behind it are
/// drained by the relay or, if it ends before, by the next one.
///
/// # Errors
///
/// Those of any query.
pub async fn drop_event_without_row(session: &Session, names: &Names, id: Uuid) -> Result<bool, StoreError> {
    let sql = format!(
        "delete from postrider.held as h
         where h.slot = $1 and h.id = $2 and h.head and not exists (select from {table} as o where o.{id} = h.id)",
        table = table(&names.table),
        id = identifier(&names.columns.id),
    );
    let deleted = session.client().execute(&sql, &[&names.slot, &id]).await;
    Ok(deleted.map_err(StoreError::postgres("deleting a failed event"))? > 0)
}

/// Deletes the entries of rows that no longer wait. Returns how many were deleted.
///
/// # Errors
///
/// Those of any query.
pub async fn remove_held(session: &Session, names: &Names, ids: &[Uuid]) -> Result<u64, StoreError> {
    const SQL: &str = "delete from postrider.held where slot = $1 and id = any($2::uuid[])";
    let deleted = session.client().execute(SQL, &[&names.slot, &ids]).await;
    deleted.map_err(StoreError::postgres("deleting held rows"))
}

/// Deletes the entries of rows that failed without holding their key. The event of a row that was deleted is kept, without
/// a key.
///
/// # Errors
///
/// Those of any query.
pub async fn remove_failed(session: &Session, names: &Names, ids: &[Uuid]) -> Result<(), StoreError> {
    let sql = format!(
        "with kept as (
             update postrider.held as h set topic = null, key = null, head = true
             where h.slot = $1 and h.id = any($2::uuid[]) and h.event is not null
                 and not exists (select from {table} as o where o.{id} = h.id)
             returning h.id
         )
         delete from postrider.held as h
         where h.slot = $1 and h.id = any($2::uuid[]) and h.id not in (select k.id from kept as k)",
        table = table(&names.table),
        id = identifier(&names.columns.id),
    );
    let deleted = session.client().execute(&sql, &[&names.slot, &ids]).await;
    deleted.map(drop).map_err(StoreError::postgres("deleting failed rows from postrider.held"))
}

/// From the id, whether it is a head, the time of creation in microseconds and the texts, which begin at this index.
fn kept_event(row: &Row, first: usize) -> Event {
    let status = if row.get(first + 1) { Status::Failed } else { Status::Init };
    held_event::event(row.get(first), status, row.get(first + 2), row.get(first + 3))
}

/// The first two columns.
fn ordering_key(row: &Row) -> OrderingKey {
    OrderingKey { topic: row.get(0), key: Bytes::copy_from_slice(row.get(1)) }
}
