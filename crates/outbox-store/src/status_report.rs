//! The database's part of the status report.

use std::time::Duration;

use outbox::{Lsn, OrderingKey, Status};
use tokio_postgres::Row;
use tokio_postgres::types::PgLsn;
use uuid::Uuid;

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::quote::{identifier, table};
use crate::connection::session::Session;
use crate::event_rows::ColumnTypes;

/// The rows of one state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateRows {
    /// How many there are.
    pub rows: u64,
    /// How long ago the oldest was created.
    pub oldest: Option<Duration>,
    /// How many have been in the state for too long.
    pub overdue: u64,
    /// For how long the one of those that has been there longest.
    pub overdue_oldest: Option<Duration>,
}

/// The rows of the outbox table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowsReport {
    /// Those that are INIT.
    pub init: StateRows,
    /// Those that say PUBLISH.
    pub publish: StateRows,
    /// Those that say COMPLETE.
    pub complete: StateRows,
    /// Those that say FAILED.
    pub failed: StateRows,
    /// Those that say anything else, or nothing.
    pub other: StateRows,
    /// Of those that say FAILED the last ones, the newest first.
    pub failed_newest: Vec<FailedRow>,
}

/// A row that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRow {
    /// Its primary key.
    pub id: Uuid,
    /// Why.
    pub last_error: Option<String>,
}

/// How long a row may be in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverdueAfter {
    /// INIT, counted from its creation.
    pub init: Duration,
    /// PUBLISH, counted from when it was sent last.
    pub publish: Duration,
}

/// Rows that wait behind one that could not be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldReport {
    /// How many keys are held back.
    pub lanes_total: u64,
    /// How many rows wait, of all keys.
    pub waiting: u64,
    /// The number of overdue INIT rows among them.
    pub overdue: u64,
    /// The keys that have been held back longest.
    pub lanes: Vec<HeldKeyReport>,
    /// The newest failed events whose rows were deleted.
    pub without_row: Vec<FailedRow>,
}

/// A key that is held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldKeyReport {
    /// Topic and key.
    pub lane: OrderingKey,
    /// The row that could not be sent; `None` when it is out of the way and the others are about to be sent.
    pub head: Option<Uuid>,
    /// How many rows wait behind it.
    pub waiting: u64,
    /// For how long.
    pub held: Duration,
}

/// A request to send rows again, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayReport {
    /// Its id.
    pub id: Uuid,
    /// `replay` or `skip`.
    pub kind: String,
    /// `queued`, `running`, `done`, `failed` or `cancelled`.
    pub state: String,
    /// When it was made, in microseconds since 1970-01-01 UTC.
    pub requested_at_us: i64,
    /// By whom.
    pub requested_by: String,
    /// How many rows it is about, once that is known.
    pub rows_total: Option<u64>,
    /// How many were sent.
    pub rows_sent: u64,
    /// How many could not be sent.
    pub rows_failed: u64,
    /// How many needed nothing.
    pub rows_passed: u64,
    /// What went wrong.
    pub last_error: Option<String>,
}

/// Counts the rows by state in one scan of the table, and reads the last `failed_max` of those that FAILED, if there
/// are any, in another.
///
/// # Errors
///
/// As of any query; definite where the table or a column is missing or may not be read.
pub async fn rows_report(
    session: &Session,
    names: &Names,
    overdue_after: OverdueAfter,
    failed_max: usize,
) -> Result<RowsReport, StoreError> {
    let doing = || format!("counting the rows of {}", names.table);
    let created = created_at(&ColumnTypes::of_table(session, names).await?, names);
    let columns = &names.columns;
    // What is infinitely old is overdue, but has no age.
    let sql = format!(
        "
        select state, count(*),
               extract(epoch from now() - min(created) filter (where isfinite(created)))::float8,
               count(*) filter (where overdue),
               extract(epoch from now() - min(since) filter (where overdue and isfinite(since)))::float8
        from (
            select state, created, since,
                   case state when 'INIT' then since < now() - make_interval(secs => $1)
                              when 'PUBLISH' then since < now() - make_interval(secs => $2) end as overdue
            from (
                select case when o.{status}::text in ('INIT', 'PUBLISH', 'COMPLETE', 'FAILED')
                            then o.{status}::text else 'other' end as state,
                       {created} as created,
                       case when o.{status}::text = 'PUBLISH' then coalesce(o.{last_attempt_at}, {created})
                            else {created} end as since
                from {table} as o
            ) as o
        ) as o
        group by state",
        status = identifier(&columns.status),
        last_attempt_at = identifier(&columns.last_attempt_at),
        table = table(&names.table),
    );
    let rows = session
        .client()
        .query(&sql, &[&seconds(overdue_after.init), &seconds(overdue_after.publish)])
        .await
        .map_err(StoreError::postgres(doing()))?;
    let mut overview = RowsReport::default();
    for row in rows {
        let place = match row.get::<_, &str>(0).parse::<Status>() {
            Ok(Status::Init) => &mut overview.init,
            Ok(Status::Publish) => &mut overview.publish,
            Ok(Status::Complete) => &mut overview.complete,
            Ok(Status::Failed) => &mut overview.failed,
            Err(_) => &mut overview.other,
        };
        *place = StateRows {
            rows: count(&row, 1),
            oldest: age(&row, 2),
            overdue: count(&row, 3),
            overdue_oldest: age(&row, 4),
        };
    }
    if overview.failed.rows > 0 {
        overview.failed_newest = failed_newest(session, names, &created, failed_max).await?;
    }
    Ok(overview)
}

async fn failed_newest(
    session: &Session,
    names: &Names,
    created: &str,
    max: usize,
) -> Result<Vec<FailedRow>, StoreError> {
    let columns = &names.columns;
    let sql = format!(
        "select o.{id}, o.{last_error}::text from {table} as o where o.{status}::text = 'FAILED'
         order by coalesce(o.{last_attempt_at}, {created}) desc nulls last, o.{id} desc limit $1",
        id = identifier(&columns.id),
        last_error = identifier(&columns.last_error),
        status = identifier(&columns.status),
        last_attempt_at = identifier(&columns.last_attempt_at),
        table = table(&names.table),
    );
    let doing = || format!("reading the rows of {} that say FAILED", names.table);
    let rows = session.client().query(&sql, &[&limit(max)]).await.map_err(StoreError::postgres(doing()))?;
    Ok(rows.iter().map(|row| FailedRow { id: row.get(0), last_error: row.get(1) }).collect())
}

/// The keys that are held back under this slot, the first `lanes_max` of them by name.
///
/// # Errors
///
/// As of any query; definite where schema `postrider` is missing or may not be read.
pub async fn held_report(
    session: &Session,
    names: &Names,
    init_overdue_after: Duration,
    lanes_max: usize,
) -> Result<HeldReport, StoreError> {
    let without_row = failed_without_row(session, names, lanes_max).await?;
    const LANES: &str = "
        select topic, key, min(id::text) filter (where head), count(*) filter (where not head),
               extract(epoch from now() - min(held_at))::float8,
               count(*) over (), (sum(count(*) filter (where not head)) over ())::int8
        from postrider.held where slot = $1::text and topic is not null
        group by topic, key order by min(held_at), topic, key limit $2";
    const DOING: &str = "reading the rows that are held back";
    let rows = session
        .client()
        .query(LANES, &[&names.slot, &limit(lanes_max)])
        .await
        .map_err(StoreError::postgres(DOING))?;
    let Some(first) = rows.first() else { return Ok(HeldReport { without_row, ..HeldReport::default() }) };
    let overdue = format!(
        "select count(*) from postrider.held as h join {table} as o on o.{id} = h.id
         where h.slot = $1::text and not h.head and o.{status}::text = 'INIT'
           and {created} < now() - make_interval(secs => $2)",
        table = table(&names.table),
        id = identifier(&names.columns.id),
        status = identifier(&names.columns.status),
        created = created_at(&ColumnTypes::of_table(session, names).await?, names),
    );
    let overdue = session
        .client()
        .query_one(&overdue, &[&names.slot, &seconds(init_overdue_after)])
        .await
        .map_err(StoreError::postgres(DOING))?;
    Ok(HeldReport {
        without_row,
        lanes_total: count(first, 5),
        waiting: count(first, 6),
        overdue: count(&overdue, 0),
        lanes: rows
            .iter()
            .map(|row| HeldKeyReport {
                lane: OrderingKey { topic: row.get(0), key: row.get::<_, Vec<u8>>(1).into() },
                head: row.get::<_, Option<&str>>(2).and_then(|id| id.parse().ok()),
                waiting: count(row, 3),
                held: age(row, 4).unwrap_or_default(),
            })
            .collect(),
    })
}

async fn failed_without_row(
    session: &Session,
    names: &Names,
    rows_max: usize,
) -> Result<Vec<FailedRow>, StoreError> {
    let sql = format!(
        "select h.id, h.last_error from postrider.held as h
         where h.slot = $1::text and h.head and not exists (select from {table} as o where o.{id} = h.id)
         order by h.seq desc limit $2",
        table = table(&names.table),
        id = identifier(&names.columns.id),
    );
    let rows = session.client().query(&sql, &[&names.slot, &limit(rows_max)]).await;
    let rows = rows.map_err(StoreError::postgres("reading the failed events without a row"))?;
    Ok(rows.iter().map(|row| FailedRow { id: row.get(0), last_error: row.get(1) }).collect())
}

/// The requests of this slot: those that are not finished in the order in which they were made, `unfinished_max` at
/// most, and then of the others the last `finished_max`, the newest first.
///
/// # Errors
///
/// As of any query; definite where schema `postrider` is missing or may not be read.
pub async fn replays_report(
    session: &Session,
    slot: &str,
    unfinished_max: usize,
    finished_max: usize,
) -> Result<Vec<ReplayReport>, StoreError> {
    const SQL: &str = "
        select id, kind, state, (extract(epoch from requested_at) * 1000000)::int8, requested_by,
               rows_total, rows_sent, rows_failed, rows_passed, last_error
        from (
            (select 0 as part, row_number() over (order by requested_at, id) as n, r.*
             from postrider.replay as r where slot = $1::text and state in ('queued', 'running')
             order by requested_at, id limit $2)
            union all
            (select 1, row_number() over (order by finished_at desc nulls last, id), r.*
             from postrider.replay as r where slot = $1::text and state not in ('queued', 'running')
             order by finished_at desc nulls last, id limit $3)
        ) as r
        order by part, n";
    let rows = session
        .client()
        .query(SQL, &[&slot, &limit(unfinished_max), &limit(finished_max)])
        .await
        .map_err(StoreError::postgres("reading the replay requests"))?;
    Ok(rows
        .iter()
        .map(|row| ReplayReport {
            id: row.get(0),
            kind: row.get(1),
            state: row.get(2),
            requested_at_us: row.get(3),
            requested_by: row.get(4),
            rows_total: row.get::<_, Option<i64>>(5).map(i64::unsigned_abs),
            rows_sent: count(row, 6),
            rows_failed: count(row, 7),
            rows_passed: count(row, 8),
            last_error: row.get(9),
        })
        .collect())
}

/// Where the log ends: on a standby, how far it has been replayed.
///
/// # Errors
///
/// As of any query.
pub async fn log_end(session: &Session) -> Result<Lsn, StoreError> {
    const SQL: &str =
        "select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end";
    let row = session
        .client()
        .query_one(SQL, &[])
        .await
        .map_err(StoreError::postgres("reading the log's position"))?;
    let end = row.get::<_, Option<PgLsn>>(0);
    end.map(|end| Lsn::from_u64(end.into())).ok_or_else(|| {
        StoreError::retryable(
            "reading the log's position",
            "the server is a standby that has replayed nothing",
        )
    })
}

/// When a row was created, as an expression over the table under the alias `o`.
fn created_at(types: &ColumnTypes, names: &Names) -> String {
    let name = &names.columns.created_at;
    match types.get(name) {
        Some(_) => format!("o.{}::timestamptz", identifier(name)),
        None => "null::timestamptz".to_owned(),
    }
}

/// As `make_interval` takes it; a century is as good as for ever, and still a time that PostgreSQL can reckon with.
fn seconds(duration: Duration) -> f64 {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    duration.min(CENTURY).as_secs_f64()
}

fn limit(max: usize) -> i64 {
    i64::try_from(max).unwrap_or(i64::MAX)
}

fn count(row: &Row, index: usize) -> u64 {
    row.get::<_, Option<i64>>(index).unwrap_or(0).unsigned_abs()
}

/// What lies in the future by the database's clock has no age yet.
fn age(row: &Row, index: usize) -> Option<Duration> {
    let seconds = row.get::<_, Option<f64>>(index)?;
    Some(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}
