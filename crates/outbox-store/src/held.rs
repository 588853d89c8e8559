//! Lanes that are held back.

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

/// A lane of which rows wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLane {
    /// The lane.
    pub lane: OrderingKey,
    /// The row behind which they wait; `None` where it is out of the way.
    pub head: Option<Uuid>,
    /// How many wait.
    pub waiting: u64,
}

// A row that is not there may be one whose commit is not visible yet; its event comes again then, and its place in its
// lane is to be the one it had. A commit that waits longer than this for a standby is one that waits for a person.
const GONE_AFTER_SECONDS: u32 = 60;

/// The lanes that are held back, in the order in which they came to be, as a relay that starts finds them.
///
/// Entries that a relay left behind without its having come to delete them are deleted first: of a row that was
/// sent since, or is gone. A head whose row does not say FAILED any more, because somebody saw to it, is released.
///
/// # Errors
///
/// As of any query; definite where the role may not.
pub async fn load_lanes(session: &Session, names: &Names) -> Result<Vec<HeldLane>, StoreError> {
    let doing = || format!("looking at the rows of {} that are held back", names.table);
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
    let deleted = deleted.map_err(StoreError::postgres(doing()))?;
    if deleted > 0 {
        tracing::info!(rows = deleted, "no longer held back: sent since, seen to by somebody, or gone");
    }
    const LANES: &str = "
        select topic, key, (array_agg(id order by seq) filter (where head))[1], count(*) filter (where not head)
        from postrider.held where slot = $1 group by topic, key order by min(seq)";
    let lanes = session.client().query(LANES, &[&names.slot]).await.map_err(StoreError::postgres(doing()))?;
    Ok(lanes
        .iter()
        .map(|row| HeldLane {
            lane: lane(row),
            head: row.get(2),
            waiting: row.get::<_, i64>(3).unsigned_abs(),
        })
        .collect())
}

/// Lets a lane go on without the row at its head, and says which; `None` if the row is at the head of none.
///
/// # Errors
///
/// As of any query.
pub async fn release_head(
    session: &Session,
    names: &Names,
    id: Uuid,
) -> Result<Option<OrderingKey>, StoreError> {
    const SQL: &str = "delete from postrider.held where slot = $1 and id = $2 and head returning topic, key";
    let doing = || format!("releasing the rows that wait behind row {id}");
    let row = session.client().query_opt(SQL, &[&names.slot, &id]).await;
    Ok(row.map_err(StoreError::postgres(doing()))?.as_ref().map(lane))
}

/// The first `rows_max` rows that wait in a lane, in their order, as they stand. One that is gone is left out, and so
/// is one that was sent or given up since.
///
/// # Errors
///
/// As of any query.
pub async fn waiting_rows_of(
    session: &Session,
    names: &Names,
    event_rows: &EventRows,
    lane: &OrderingKey,
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
    let doing = || format!("reading the rows of {} that wait behind another", names.table);
    let rows_max = i64::try_from(rows_max).unwrap_or(i64::MAX);
    let parameters: [&(dyn ToSql + Sync); 4] = [&names.slot, &lane.topic, &&*lane.key, &rows_max];
    let rows = session.client().query(&sql, &parameters).await.map_err(StoreError::postgres(doing()))?;
    Ok(rows.iter().map(|row| event_rows.read(row)).collect())
}

/// Deletes the entries of rows that wait no more. Returns how many there were.
///
/// # Errors
///
/// As of any query.
pub async fn forget_held(session: &Session, names: &Names, ids: &[Uuid]) -> Result<u64, StoreError> {
    const SQL: &str = "delete from postrider.held where slot = $1 and id = any($2::uuid[])";
    let deleted = session.client().execute(SQL, &[&names.slot, &ids]).await;
    deleted.map_err(StoreError::postgres("taking rows out of the line they waited in"))
}

/// The first two columns.
fn lane(row: &Row) -> OrderingKey {
    OrderingKey { topic: row.get(0), key: Bytes::copy_from_slice(row.get(1)) }
}
