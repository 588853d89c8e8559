//! Saving the state and the progress of a replay request. Each change is notified on the channel of the requests.

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::connection::error::StoreError;
use crate::connection::session::Session;
use crate::replay::request::ReplayProgress;
use crate::replay::request_sql::{RELAY_PRIVILEGES, REPLAY_CHANNEL, signed, timestamp, with_remedy};

/// Marks a request as running and saves the number of its rows unless that is saved already. Returns false if it is
/// finished or deleted.
///
/// # Errors
///
/// As of any query.
pub async fn start_replay(session: &Session, id: Uuid, rows_total: u64) -> Result<bool, StoreError> {
    let sql = update_sql(
        "state = 'running', started_at = coalesce(started_at, clock_timestamp()),
         rows_total = coalesce(rows_total, $2::int8)",
        "state in ('queued', 'running')",
    );
    update(session, "starting a replay", &sql, &[&id, &signed(rows_total)]).await
}

/// Saves the progress of a request. Returns false if it is no longer running.
///
/// # Errors
///
/// As of any query.
pub async fn save_replay(session: &Session, id: Uuid, progress: &ReplayProgress) -> Result<bool, StoreError> {
    let sql = update_sql(&progress_assignments(), "state = 'running'");
    update_progress(session, "saving the progress of a replay", &sql, id, progress, None).await
}

/// Whether a request is queued or running.
///
/// # Errors
///
/// As of any query.
pub async fn is_replay_wanted(session: &Session, id: Uuid) -> Result<bool, StoreError> {
    const SQL: &str = "select state in ('queued', 'running') from postrider.replay where id = $1::uuid";
    let row = session.client().query_opt(SQL, &[&id]).await;
    let row = row.map_err(with_remedy("reading a replay request", RELAY_PRIVILEGES))?;
    Ok(row.is_some_and(|row| row.get(0)))
}

/// Marks a request as done, or as failed for a reason, and saves its progress. A cancelled one stays cancelled.
/// Idempotent.
///
/// # Errors
///
/// As of any query.
pub async fn finish_replay(
    session: &Session,
    id: Uuid,
    progress: &ReplayProgress,
    failure: Option<&str>,
) -> Result<(), StoreError> {
    let sql = update_sql(
        &format!(
            "{}, state = case when state = 'cancelled' then state when $7::text is null then 'done' else 'failed' end,
             last_error = coalesce($7::text, last_error), finished_at = clock_timestamp()",
            progress_assignments()
        ),
        "state in ('queued', 'running', 'cancelled')",
    );
    update_progress(session, "finishing a replay", &sql, id, progress, Some(failure)).await.map(drop)
}

fn progress_assignments() -> String {
    format!(
        "rows_sent = $2::int8, rows_failed = $3::int8, rows_passed = $4::int8, last_created_at = {}, last_id = $6::uuid",
        timestamp("$5::int8")
    )
}

fn update_sql(assignments: &str, condition: &str) -> String {
    format!(
        "with updated as (
            update postrider.replay set {assignments} where id = $1::uuid and {condition} returning id
         )
         select pg_notify('{REPLAY_CHANNEL}', id::text) from updated"
    )
}

async fn update_progress(
    session: &Session,
    doing: &str,
    sql: &str,
    id: Uuid,
    progress: &ReplayProgress,
    failure: Option<Option<&str>>,
) -> Result<bool, StoreError> {
    let [sent, failed, passed] = [progress.sent, progress.failed, progress.passed].map(signed);
    let created_at = progress.last.and_then(|last| last.created_at_us);
    let last = progress.last.map(|last| last.id);
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&id, &sent, &failed, &passed, &created_at, &last];
    if let Some(failure) = &failure {
        parameters.push(failure);
    }
    update(session, doing, sql, &parameters).await
}

/// Returns whether the row was updated.
async fn update(
    session: &Session,
    doing: &str,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<bool, StoreError> {
    let updated = session.client().query_opt(sql, parameters).await;
    Ok(updated.map_err(with_remedy(doing, RELAY_PRIVILEGES))?.is_some())
}
