//! Reading replay requests.

use uuid::Uuid;

use crate::connection::error::StoreError;
use crate::connection::session::Session;
use crate::replay::request::ReplayRequest;
use crate::replay::request_sql::{RELAY_PRIVILEGES, with_remedy};

/// The request with this id, if it exists.
///
/// # Errors
///
/// As of any query.
pub async fn replay_request(session: &Session, id: Uuid) -> Result<Option<ReplayRequest>, StoreError> {
    let sql =
        format!("select {} from postrider.replay as r where id = $1::uuid", ReplayRequest::select_list());
    let row = session.client().query_opt(&sql, &[&id]).await;
    let row = row.map_err(with_remedy("reading a replay request", RELAY_PRIVILEGES))?;
    Ok(row.as_ref().map(ReplayRequest::from_row))
}

/// The unfinished requests of a slot in the order of their execution: running ones first, then by `requested_at`. At
/// most `requests_max`.
///
/// # Errors
///
/// As of any query.
pub async fn unfinished_replays(
    session: &Session,
    slot: &str,
    requests_max: usize,
) -> Result<Vec<ReplayRequest>, StoreError> {
    let sql = format!(
        "select {} from postrider.replay as r where slot = $1::text and state in ('queued', 'running')
         order by state = 'queued', requested_at, id limit $2",
        ReplayRequest::select_list()
    );
    let limit = i64::try_from(requests_max).unwrap_or(i64::MAX);
    let rows = session.client().query(&sql, &[&slot, &limit]).await;
    let rows = rows.map_err(with_remedy("reading the replay requests", RELAY_PRIVILEGES))?;
    Ok(rows.iter().map(ReplayRequest::from_row).collect())
}

/// Whether a new snapshot sees every transaction from `first_xid` to `last_xid` that has a commit record in the WAL.
///
/// The WAL is read before a transaction becomes visible: between the two the server waits for synchronous standbys
/// (PostgreSQL documentation, "Synchronous Replication"). Other transactions of this range that are still in progress
/// make it return false as well.
///
/// # Errors
///
/// As of any query.
pub async fn are_transactions_visible(
    session: &Session,
    first_xid: u32,
    last_xid: u32,
) -> Result<bool, StoreError> {
    let sql = format!(
        "select last.xid < now.next and not exists (
             select from pg_snapshot_xip(now.s) as x (xid) where x.xid::text::int8 between first.xid and last.xid
         )
         from (select s, pg_snapshot_xmax(s)::text::int8 as next from pg_current_snapshot() as s) as now
         cross join lateral {} as first (xid)
         cross join lateral {} as last (xid)",
        full_xid("$1::int8"),
        full_xid("$2::int8"),
    );
    let row = session.client().query_one(&sql, &[&i64::from(first_xid), &i64::from(last_xid)]).await;
    Ok(row.map_err(StoreError::postgres("checking the visibility of replay requests"))?.get(0))
}

/// The 64-bit transaction id. The WAL has the lower 32 bits; the upper ones are those of the id nearest to the
/// snapshot's `xmax`.
fn full_xid(xid: &str) -> String {
    format!(
        "(select now.next - 2147483648 + ({xid} - (now.next & 4294967295) + 2147483648 + 4294967296) % 4294967296)"
    )
}
