use outbox::Lsn;
use tokio_postgres::types::PgLsn;

use crate::connection::error::StoreError;
use crate::connection::session::Session;

/// How a replication slot stands (PostgreSQL documentation, "pg_replication_slots").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// Up to where the slot's reader has confirmed; absent until a new slot is ready.
    pub confirmed_flush_lsn: Option<Lsn>,
    /// From where the server reads again: what was committed before is never sent again, not even after a crash of
    /// the server, for this position is on its disk as soon as it moves. `confirmed_flush_lsn` is ahead of it and
    /// may go back to it in a crash (PostgreSQL documentation, "Logical Decoding Concepts").
    pub restart_lsn: Option<Lsn>,
    /// Whether a process streams from it.
    pub active: bool,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// How many bytes of log the server keeps for the slot.
    pub retained_bytes: u64,
}

/// The end of what has been flushed to the log: everything that was committed before is before it.
///
/// # Errors
///
/// Transient also on a standby, which is what a failover looks like for a while.
pub async fn wal_flush_position(session: &Session) -> Result<Lsn, StoreError> {
    let row = session
        .client()
        .query_one("select case when not pg_is_in_recovery() then pg_current_wal_flush_lsn() end", &[])
        .await
        .map_err(StoreError::postgres("reading the log's position"))?;
    row.get::<_, Option<PgLsn>>(0)
        .map(lsn)
        .ok_or_else(|| StoreError::retryable("reading the log's position", "the server is a standby"))
}

/// How the slot stands; `None` if there is no slot of that name.
///
/// # Errors
///
/// As of any query.
pub async fn slot_state(session: &Session, slot: &str) -> Result<Option<SlotState>, StoreError> {
    const SQL: &str = "
        select confirmed_flush_lsn, active, wal_status,
               greatest(0, pg_wal_lsn_diff(
                   case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end,
                   restart_lsn))::int8, restart_lsn
        from pg_replication_slots where slot_name::text = $1::text";
    let row = session
        .client()
        .query_opt(SQL, &[&slot])
        .await
        .map_err(StoreError::postgres(format!("reading how slot {slot} stands")))?;
    Ok(row.map(|row| SlotState {
        confirmed_flush_lsn: row.get::<_, Option<PgLsn>>(0).map(lsn),
        restart_lsn: row.get::<_, Option<PgLsn>>(4).map(lsn),
        active: row.get(1),
        wal_status: row.get(2),
        retained_bytes: row.get::<_, Option<i64>>(3).unwrap_or(0).unsigned_abs(),
    }))
}

fn lsn(position: PgLsn) -> Lsn {
    Lsn::from_u64(position.into())
}
