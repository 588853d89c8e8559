use outbox::Lsn;
use tokio_postgres::types::PgLsn;

use crate::connection::error::StoreError;
use crate::connection::session::Session;

/// Writes a message of no meaning to the log and answers where: every row that was visible before is brought by the
/// log before that position, and the log is read past it soon.
///
/// The message is a transaction of its own, because its commit is flushed at once; one outside of a transaction would
/// reach a reader when something else is flushed, on a quiet server after up to 15 s.
///
/// # Errors
///
/// As of any query.
pub async fn mark_log(session: &Session) -> Result<Lsn, StoreError> {
    let row = session
        .client()
        .query_one("select pg_logical_emit_message(true, 'postrider.mark', '')", &[])
        .await
        .map_err(StoreError::postgres("marking the log"))?;
    Ok(Lsn::from_u64(row.get::<_, PgLsn>(0).into()))
}
