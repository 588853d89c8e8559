//! Deleting rows that are COMPLETE and old.

use std::time::Duration;

use outbox::{Lsn, TableName};
use tokio_postgres::Statement;
use tokio_postgres::types::{PgLsn, Type};
use uuid::Uuid;

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::quote::{identifier, literal, table};
use crate::connection::session::Session;
use crate::retention::month::Month;
use crate::slot::slot_state;

// Times go to the server and back as text. A deletion that a crash of the server undoes is made again by the next
// pass, so none waits for the disk, nor for a standby.
const SETTINGS: &str = "
set datestyle = 'ISO, MDY';
set synchronous_commit = off;
";

// Rows are found in the order of the index whatever the planner believes of the table, and each again by its key.
const SWEEP_SETTINGS: &str = "
set enable_seqscan = off;
set enable_bitmapscan = off;
set enable_hashjoin = off;
set enable_mergejoin = off;
set plan_cache_mode = force_generic_plan;
";

// A batch locks its rows for a few milliseconds, and no service waits for a COMPLETE row.
const BATCH_ROWS: u32 = 500;

// No row is kept for longer than a server can count.
const KEPT_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A connection for one pass of retention over the outbox table.
///
/// A row that is gone is one that the relay knows nothing of: if the log brought it again, it would be published
/// again. So a pass begins with a [`Mark`], and nothing is deleted before the slot is past it for good.
#[derive(Debug)]
pub struct Retention<'a> {
    pub(crate) session: Session,
    pub(crate) names: &'a Names,
}

/// Which rows a pass may delete, and from when on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// A position of the log. Every row that counts as old was inserted by a transaction that ends before it: it
    /// was read from the log before it was completed, and completed before the position was taken.
    pub position: Lsn,
    /// Rows that were completed before it are old.
    pub(crate) cutoff: String,
    /// The month of the cutoff.
    pub(crate) month: Month,
}

impl<'a> Retention<'a> {
    /// Takes the connection over.
    ///
    /// # Errors
    ///
    /// As of any statement.
    pub async fn new(session: Session, names: &'a Names) -> Result<Retention<'a>, StoreError> {
        session.run(SETTINGS, "beginning a pass of retention").await?;
        Ok(Retention { session, names })
    }

    /// Writes a mark to the WAL, so that the WAL advances past it on an idle server.
    ///
    /// # Errors
    ///
    /// Transient also on a standby.
    pub async fn mark(&self, complete_after: Duration) -> Result<Mark, StoreError> {
        const SQL: &str = "
            select pg_logical_emit_message(false, 'postrider.mark', ''), t.cutoff::text,
                   (extract(year from t.cutoff at time zone 'UTC') * 12
                    + extract(month from t.cutoff at time zone 'UTC'))::int4 - 1
            from (select now() - make_interval(secs => $1::float8)) as t (cutoff)";
        let seconds = complete_after.min(KEPT_MAX).as_secs_f64();
        let row = self.session.client().query_one(SQL, &[&seconds]).await;
        let row = row.map_err(StoreError::postgres("marking where a pass of retention begins"))?;
        Ok(Mark {
            position: Lsn::from_u64(row.get::<_, PgLsn>(0).into()),
            cutoff: row.get(1),
            month: Month::from_number(row.get(2)),
        })
    }

    /// Whether nothing from before the mark can be sent again, not even after a crash of the server.
    ///
    /// It is the slot's `restart_lsn` that tells. Its `confirmed_flush_lsn` is on the server's disk only when that
    /// moves too; after a crash the server sends again from what it has there.
    ///
    /// # Errors
    ///
    /// As of any query.
    pub async fn is_past(&self, mark: &Mark) -> Result<bool, StoreError> {
        let slot = slot_state(&self.session, &self.names.slot).await?;
        Ok(slot.and_then(|slot| slot.restart_lsn).is_some_and(|position| position >= mark.position))
    }

    /// Prepares the deletion of a table's old rows one by one: of the outbox table, or of one of its partitions.
    ///
    /// # Errors
    ///
    /// Definite where the table or a column is missing, or the role may not delete.
    pub async fn sweep(&self, of: &TableName, mark: &Mark) -> Result<Sweep<'_>, StoreError> {
        let doing = format!("deleting old rows of {of}");
        self.session.run(SWEEP_SETTINGS, &doing).await?;
        let created_at = self.created_at_type(&doing).await?;
        let types = [Type::TEXT, Type::UUID, Type::TEXT];
        let prepared = self.session.client().prepare_typed(&sql(self.names, of, &created_at), &types).await;
        Ok(Sweep {
            session: &self.session,
            statement: prepared.map_err(|error| self.explained(StoreError::postgres(&*doing)(error), of))?,
            cutoff: mark.cutoff.clone(),
            after: ("-infinity".to_owned(), Uuid::nil()),
            remedy: remedy(of),
            doing,
        })
    }

    async fn created_at_type(&self, doing: &str) -> Result<String, StoreError> {
        let sql = format!(
            "select format_type(atttypid, null) from pg_attribute where attrelid = {}::regclass and attname::text = $1::text",
            literal(&table(&self.names.table))
        );
        let created_at = &self.names.columns.created_at;
        let row = self.session.client().query_opt(&sql, &[created_at]).await;
        row.map_err(StoreError::postgres(doing))?.map(|row| row.get(0)).ok_or_else(|| {
            let cause = format!("{} has no column {created_at}", self.names.table);
            StoreError::definite(doing, cause, "unset retention.complete_after, or add the column")
        })
    }

    pub(crate) fn explained(&self, error: StoreError, of: &TableName) -> StoreError {
        explained(error, &remedy(of))
    }
}

fn remedy(of: &TableName) -> String {
    format!("grant the role SELECT, UPDATE and DELETE on {}, or unset retention.complete_after", table(of))
}

fn explained(error: StoreError, remedy: &str) -> StoreError {
    if error.code() == Some("42501") { error.with_remedy(remedy) } else { error }
}

/// The deletion of a table's old rows, batch by batch.
///
/// Batches are pages of the table in the order of `created_at` and id. Each begins where the one before ended:
/// the index keeps the entries of deleted rows until it is vacuumed, and a batch that began at the first row would
/// wade through them again.
#[derive(Debug)]
pub struct Sweep<'a> {
    session: &'a Session,
    statement: Statement,
    cutoff: String,
    /// The last row that was looked at.
    after: (String, Uuid),
    doing: String,
    remedy: String,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    /// How many rows were looked at.
    pub looked_at: u64,
    /// How many were COMPLETE and old, and are gone.
    pub deleted: u64,
    /// Whether it was the last batch.
    pub last: bool,
}

impl Sweep<'_> {
    /// Deletes old COMPLETE rows among the next rows. A row that another session has locked is left for the next pass, and
    /// so is one that is in another state once it is locked.
    ///
    /// # Errors
    ///
    /// As of any statement; the same batch can be tried again.
    pub async fn batch(&mut self) -> Result<Swept, StoreError> {
        let (created_at, id) = &self.after;
        let row = self
            .session
            .client()
            .query_one(&self.statement, &[created_at, id, &self.cutoff])
            .await
            .map_err(|error| explained(StoreError::postgres(&*self.doing)(error), &self.remedy))?;
        let [looked_at, deleted] = [0, 1].map(|column| row.get::<_, i64>(column).unsigned_abs());
        if let Some(after) = row.get::<_, Option<String>>(2) {
            self.after = (after, row.get(3));
        }
        Ok(Swept { looked_at, deleted, last: looked_at < u64::from(BATCH_ROWS) })
    }
}

// A page is bounded in the rows that it looks at, not in those that it deletes: where nothing has to be deleted,
// each statement is as short as where everything is. A row that claims to have been created later than it was
// completed is found once its created_at is old too.
fn sql(names: &Names, of: &TableName, created_at_type: &str) -> String {
    let columns = &names.columns;
    format!(
        "
with page as materialized (
    select o.{created_at} as created_at, o.{id} as id
    from {table} as o
    where (o.{created_at}, o.{id}) > ($1::text::{created_at_type}, $2::uuid)
      and o.{created_at} < $3::text::timestamptz
    order by o.{created_at}, o.{id}
    limit {BATCH_ROWS}
), old as materialized (
    select o.{created_at} as created_at, o.{id} as id
    from page as p join {table} as o on o.{id} = p.id and o.{created_at} = p.created_at
    where o.{status} = 'COMPLETE' and o.{completed_at} < $3::text::timestamptz
    order by o.{id}
    for update of o skip locked
), gone as (
    delete from {table} as o using old as d
    where o.{id} = d.id and o.{created_at} = d.created_at
    returning 1
)
select (select count(*) from page), (select count(*) from gone), last.created_at, last.id
from (select 1) as one left join lateral (
    select p.created_at::text, p.id from page as p order by p.created_at desc, p.id desc limit 1
) as last (created_at, id) on true",
        table = table(of),
        created_at = identifier(&columns.created_at),
        id = identifier(&columns.id),
        status = identifier(&columns.status),
        completed_at = identifier(&columns.completed_at),
    )
}
