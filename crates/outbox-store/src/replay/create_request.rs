//! Statements of the `replay` command: they insert and cancel requests.

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::session::Session;
use crate::replay::request::ReplayState;
use crate::replay::request_sql::{COMMAND_PRIVILEGES, REPLAY_CHANNEL, signed, timestamp, with_remedy};
use crate::replay::selection::{CreatedAtType, Selection};

/// The result of [`cancel_replay`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancellation {
    /// The request is cancelled.
    Cancelled,
    /// It was in this final state before.
    AlreadyFinished(ReplayState),
    /// There is no such request.
    NotFound,
}

/// Inserts a replay request. The relay reads it from the WAL, because `postrider.replay` is in the publication.
/// Returns its id once it is durable.
///
/// # Errors
///
/// Not retryable if schema `postrider` does not exist or the role may not insert requests.
pub async fn request_replay(
    session: &Session,
    names: &Names,
    selection: &Selection,
    rows_per_second: Option<u32>,
) -> Result<Uuid, StoreError> {
    // By the clock that fills created_at: a column without a time zone has the wall clock time of its session, and rows
    // of the last hours could be later than now in UTC.
    let now = match CreatedAtType::of_table(session, names).await? {
        CreatedAtType::Naive => "clock_timestamp()::timestamp at time zone 'UTC'",
        CreatedAtType::Absent | CreatedAtType::Zoned => "clock_timestamp()",
    };
    let from = timestamp("$4::int8");
    let to = timestamp("$5::int8");
    let sql = format!(
        "insert into postrider.replay (id, slot, ids, statuses, created_from, created_before, until_now,
             aggregate_type, aggregate_id, rows_max, rows_per_second)
         select gen_random_uuid(), $1::text, $2::uuid[], $3::text[], earliest, least(latest, now),
             latest is null or latest > now, $6::text, $7::text, $8::int8, $9::int4
         from (select {now} as now, {from} as earliest, {to} as latest) as limits
         returning id"
    );
    let ids = (!selection.ids.is_empty()).then_some(&selection.ids);
    let statuses: Vec<&str> = selection.statuses.iter().map(|status| status.as_str()).collect();
    let statuses = (!statuses.is_empty()).then_some(statuses);
    let rows_max = selection.rows_max.map(signed);
    let rate = rows_per_second.map(|rows| i32::try_from(rows).unwrap_or(i32::MAX));
    let parameters: [&(dyn ToSql + Sync); 9] = [
        &names.slot,
        &ids,
        &statuses,
        &selection.from_us,
        &selection.to_us,
        &selection.aggregate_type,
        &selection.aggregate_id,
        &rows_max,
        &rate,
    ];
    let inserted = session.client().query_one(&sql, &parameters).await;
    Ok(inserted.map_err(with_remedy("requesting a replay", COMMAND_PRIVILEGES))?.get(0))
}

/// Inserts a request to release the rows that are held behind a row, which the relay reads from the WAL. Returns its
/// id once it is durable, or `None` if no rows are held behind that row; then nothing is inserted.
///
/// # Errors
///
/// As of [`request_replay`].
pub async fn request_skip(session: &Session, names: &Names, row: Uuid) -> Result<Option<Uuid>, StoreError> {
    const SQL: &str = "
        insert into postrider.replay (id, slot, kind, ids)
        select gen_random_uuid(), $1::text, 'skip', array[$2::uuid]
        where exists (select from postrider.held where slot = $1::text and id = $2::uuid and head)
        returning id";
    let inserted = session.client().query_opt(SQL, &[&names.slot, &row]).await;
    let inserted = inserted.map_err(with_remedy("requesting a skip", COMMAND_PRIVILEGES))?;
    Ok(inserted.map(|row| row.get(0)))
}

/// Cancels a request. A relay that executes it stops within about a second.
///
/// # Errors
///
/// As of any query.
pub async fn cancel_replay(session: &Session, slot: &str, id: Uuid) -> Result<Cancellation, StoreError> {
    let sql = format!(
        "with cancelled as (
            update postrider.replay set state = 'cancelled', finished_at = clock_timestamp()
            where id = $1::uuid and slot = $2::text and state in ('queued', 'running')
            returning id
         ), notified as (select pg_notify('{REPLAY_CHANNEL}', id::text) from cancelled)
         select state, exists (select from cancelled), (select count(*) from notified)
         from postrider.replay where id = $1::uuid and slot = $2::text"
    );
    let found = session.client().query_opt(&sql, &[&id, &slot]).await;
    let found = found.map_err(with_remedy("cancelling a replay", COMMAND_PRIVILEGES))?;
    Ok(match found {
        None => Cancellation::NotFound,
        Some(row) if row.get(1) => Cancellation::Cancelled,
        Some(row) => Cancellation::AlreadyFinished(ReplayState::parse(row.get(0))),
    })
}
