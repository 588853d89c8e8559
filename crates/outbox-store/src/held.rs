//! Held keys: rows in `postrider.held` that wait behind a failed row of their ordering key.

use bytes::Bytes;
use outbox::OrderingKey;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::quote::{identifier, table};
use crate::connection::session::Session;
use crate::event_rows::{EventRows, StoredRow};

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

// A missing row may be one whose commit is not visible yet (it waits for a synchronous standby). Its event comes again
// then, and keeps its place in the queue of its key.
const GONE_AFTER_SECONDS: u32 = 60;

/// The held keys of the slot, in the order in which they were held. Called when a relay starts.
///
/// Stale entries are deleted first: of rows that were published since or no longer exist, and of heads whose row is no
/// longer FAILED because an operator changed it.
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
                 when o.{id} is null then k.held_at < now() - interval '{GONE_AFTER_SECONDS} s'
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
        from postrider.held where slot = $1 group by topic, key order by min(seq)";
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

/// The first `rows_max` rows that wait in a key, in order, as they are in the table now. Rows that no longer exist, and
/// rows that are PUBLISH, COMPLETE or FAILED by now, are omitted.
///
/// # Errors
///
/// Those of any query.
pub async fn waiting_rows_of(
    session: &Session,
    names: &Names,
    event_rows: &EventRows,
    key: &OrderingKey,
    rows_max: usize,
) -> Result<Vec<StoredRow>, StoreError> {
    let sql = format!(
        "select {list} from postrider.held as h join {table} as o on o.{id} = h.id
         where h.slot = $1 and h.topic = $2 and h.key = $3 and not h.head
             and (o.{status} in ('PUBLISH', 'COMPLETE', 'FAILED')) is not true
         order by h.seq limit $4",
        list = event_rows.list(),
        status = identifier(&names.columns.status),
        table = table(&names.table),
        id = identifier(&names.columns.id),
    );
    let operation = || format!("reading the held rows of {}", names.table);
    let rows_max = i64::try_from(rows_max).unwrap_or(i64::MAX);
    let parameters: [&(dyn ToSql + Sync); 4] = [&names.slot, &key.topic, &&*key.key, &rows_max];
    let rows = session.client().query(&sql, &parameters).await.map_err(StoreError::postgres(operation()))?;
    Ok(rows.iter().map(|row| event_rows.read(row)).collect())
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

/// The first two columns.
fn ordering_key(row: &Row) -> OrderingKey {
    OrderingKey { topic: row.get(0), key: Bytes::copy_from_slice(row.get(1)) }
}
