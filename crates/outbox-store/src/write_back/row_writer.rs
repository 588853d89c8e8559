use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Statement;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::quote::table;
use crate::connection::session::Session;
use crate::write_back::asides::Asides;
use crate::write_back::row_changes::Consumed;
use crate::write_back::row_changes::RowChanges;
use crate::write_back::write_sql::{ColumnTypes, asides_sql, changes_sql};

// Each row is found through the primary key, however small the table is or how little the planner knows of it
// when the statement is planned: a plan made for an empty table would scan the whole of it for every batch once
// it has grown. The plan is then good for ever, so it is made once.
const SETTINGS: &str = "
set enable_seqscan = off;
set enable_bitmapscan = off;
set enable_hashjoin = off;
set enable_mergejoin = off;
set plan_cache_mode = force_generic_plan;
";

/// What became of a batch of changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// When it was written, by the database's clock, in microseconds since 1970-01-01 UTC: the `last_attempt_at` of
    /// the rows that were sent.
    pub at_us: i64,
    /// How many rows say PUBLISH because of it: from INIT, or sent again.
    pub published: u64,
    /// Which of the rows that were consumed are COMPLETE now and were not before.
    pub completed: Completed,
    /// How many of these said PUBLISH, by the time of their last sending divided by the bucket's width.
    pub completed_by_bucket: Vec<(i64, u64)>,
    /// The transactions that were not visible yet, ascending: their rows were not found.
    pub unseen_xids: Vec<u32>,
}

/// Rows that became COMPLETE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Completed {
    /// All that were consumed.
    #[default]
    All,
    /// Only these.
    Only(HashSet<Uuid>),
}

impl Completed {
    /// Whether the row of a batch that was consumed became COMPLETE.
    pub fn contains(&self, id: &Uuid) -> bool {
        match self {
            Completed::All => true,
            Completed::Only(ids) => ids.contains(id),
        }
    }
}

/// Writes what happened to the rows' records to the rows, on a connection of its own.
///
/// One statement, hence one transaction, per batch. A connection executes the batches in the order in which the
/// returned futures are first polled, and those that are awaited at the same time are pipelined.
///
/// A row can be there and not be seen: the log tells of a commit before other transactions see it, and with
/// synchronous replication that lasts until a standby has answered. Such rows are reported, not passed over.
#[derive(Debug)]
pub struct RowWriter {
    session: Session,
    changes: Statement,
    asides: Statement,
    slot: String,
    bucket_width_us: i64,
    doing: String,
    remedy: String,
}

impl RowWriter {
    /// Takes the connection over and prepares the statements on it. Rows that become COMPLETE are counted by the
    /// time of their last sending, in buckets of this width.
    ///
    /// # Errors
    ///
    /// Definite where the table, a column or schema `postrider` is missing, or the role may not write there.
    pub async fn new(
        session: Session,
        names: &Names,
        bucket_width: Duration,
    ) -> Result<RowWriter, StoreError> {
        let doing = format!("writing to the rows of {}", names.table);
        let remedy = format!(
            "grant the role SELECT and UPDATE on {}, USAGE on schema postrider, SELECT, INSERT and UPDATE on \
             postrider.progress, and SELECT, INSERT, UPDATE and DELETE on postrider.held",
            table(&names.table)
        );
        session.run(SETTINGS, &doing).await?;
        let types = ColumnTypes::of(&session, names).await?;
        let prepare = async |sql: &str, parameters: &[Type]| {
            let prepared = session.client().prepare_typed(sql, parameters).await;
            prepared.map_err(|error| explained(StoreError::postgres(&*doing)(error), &remedy))
        };
        let changes = prepare(&changes_sql(names, &types), &CHANGES).await?;
        let asides = prepare(&asides_sql(names, &types), &ASIDES).await?;
        let bucket_width_us = i64::try_from(bucket_width.as_micros()).unwrap_or(i64::MAX).max(1);
        Ok(RowWriter { session, changes, asides, slot: names.slot.clone(), bucket_width_us, doing, remedy })
    }

    /// Writes a batch. Rows of the transactions that it returns could not be seen yet and are to be written
    /// again a little later; that others were not changed, because they say more already or are gone, is success.
    /// When it returns, the rest of the batch is durable. A batch whose outcome is unknown is repeated `in_doubt`: what
    /// it did is not done twice, and rows that it published are counted as if they were published now.
    ///
    /// # Errors
    ///
    /// Nothing of the batch was written, or, where the connection was lost, all of it or nothing.
    pub async fn write(&self, batch: &RowChanges, in_doubt: bool) -> Result<Changed, StoreError> {
        let rows = &batch.rows;
        let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
        let topics: Vec<&str> = rows.iter().map(|row| &*row.topic).collect();
        let partitions: Vec<Option<i32>> = rows.iter().map(|row| row.offset.map(|_| row.partition)).collect();
        let offsets: Vec<Option<i64>> = rows.iter().map(|row| row.offset).collect();
        let resent: Vec<i16> = rows.iter().map(|row| row.resent).collect();
        let consumed: Vec<i16> = rows.iter().map(|row| row.consumed as i16).collect();
        debug_assert!(
            rows.iter().all(|row| row.published || row.resent > 0 || row.consumed != Consumed::Not)
        );
        let highest = &batch.highest;
        let highest_topics: Vec<&str> = highest.iter().map(|(topic, ..)| &**topic).collect();
        let highest_partitions: Vec<i32> = highest.iter().map(|(_, partition, _)| *partition).collect();
        let highest_offsets: Vec<i64> = highest.iter().map(|(_, _, offset)| *offset).collect();
        let xids: Vec<i64> = batch.xids.iter().copied().map(i64::from).collect();
        let consumed_count = i64::try_from(batch.consumed).unwrap_or(i64::MAX);
        let answer = self
            .session
            .client()
            .query_one(
                &self.changes,
                &[
                    &ids,
                    &topics,
                    &partitions,
                    &offsets,
                    &resent,
                    &consumed,
                    &self.slot,
                    &highest_topics,
                    &highest_partitions,
                    &highest_offsets,
                    &xids,
                    &self.bucket_width_us,
                    &consumed_count,
                    &in_doubt,
                ],
            )
            .await
            .map_err(|error| self.failed(error))?;
        let completed: Option<Vec<Uuid>> = answer.get(2);
        let buckets: Vec<i64> = answer.get(3);
        let counts: Vec<i64> = answer.get(4);
        Ok(Changed {
            at_us: answer.get(0),
            published: answer.get::<_, i64>(1).unsigned_abs(),
            completed: completed.map_or(Completed::All, |ids| Completed::Only(ids.into_iter().collect())),
            completed_by_bucket: buckets.into_iter().zip(counts.into_iter().map(i64::unsigned_abs)).collect(),
            unseen_xids: to_xids(answer.get(5)),
        })
    }

    /// Sets rows aside: FAILED with its reason, or in line behind another row. Returns the transactions that were not
    /// visible yet, as [`write`](Self::write) does; the rows of these have their places in their lanes already. A
    /// batch whose outcome is unknown is repeated `in_doubt`.
    ///
    /// # Errors
    ///
    /// As of [`write`](Self::write).
    pub async fn set_aside(&self, batch: &Asides, in_doubt: bool) -> Result<Vec<u32>, StoreError> {
        let rows = &batch.rows;
        let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
        let failed: Vec<bool> = rows.iter().map(|row| row.failed).collect();
        let sent: Vec<bool> = rows.iter().map(|row| row.sent).collect();
        let live: Vec<bool> = rows.iter().map(|row| row.live).collect();
        let errors: Vec<&str> = rows.iter().map(|row| &*row.error).collect();
        let lane = |row: &'_ crate::write_back::asides::AsideRow| row.lane.clone().unzip();
        let (topics, keys): (Vec<Option<String>>, Vec<_>) = rows.iter().map(lane).unzip();
        let keys: Vec<Option<&[u8]>> = keys.iter().map(Option::as_deref).collect();
        let numbers: Vec<i32> = rows.iter().map(|row| row.number).collect();
        let xids: Vec<i64> = batch.xids.iter().copied().map(i64::from).collect();
        let answer = self
            .session
            .client()
            .query_one(
                &self.asides,
                &[
                    &ids, &failed, &sent, &errors, &topics, &keys, &numbers, &self.slot, &xids, &in_doubt,
                    &live,
                ],
            )
            .await
            .map_err(|error| self.failed(error))?;
        Ok(to_xids(answer.get(0)))
    }

    /// How far each partition has been written back.
    ///
    /// # Errors
    ///
    /// As of any query.
    pub async fn progress(&self) -> Result<Vec<(Arc<str>, i32, i64)>, StoreError> {
        const SQL: &str = "select topic, partition, \"offset\" from postrider.progress where slot = $1";
        let rows = self.session.client().query(SQL, &[&self.slot]).await;
        let rows = rows.map_err(|error| self.failed(error))?;
        Ok(rows.iter().map(|row| (row.get::<_, &str>(0).into(), row.get(1), row.get(2))).collect())
    }

    fn failed(&self, error: tokio_postgres::Error) -> StoreError {
        explained(StoreError::postgres(&*self.doing)(error), &self.remedy)
    }
}

const CHANGES: [Type; 14] = [
    Type::UUID_ARRAY,
    Type::TEXT_ARRAY,
    Type::INT4_ARRAY,
    Type::INT8_ARRAY,
    Type::INT2_ARRAY,
    Type::INT2_ARRAY,
    Type::TEXT,
    Type::TEXT_ARRAY,
    Type::INT4_ARRAY,
    Type::INT8_ARRAY,
    Type::INT8_ARRAY,
    Type::INT8,
    Type::INT8,
    Type::BOOL,
];

const ASIDES: [Type; 11] = [
    Type::UUID_ARRAY,
    Type::BOOL_ARRAY,
    Type::BOOL_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::BYTEA_ARRAY,
    Type::INT4_ARRAY,
    Type::TEXT,
    Type::INT8_ARRAY,
    Type::BOOL,
    Type::BOOL_ARRAY,
];

fn to_xids(xids: Vec<i64>) -> Vec<u32> {
    xids.into_iter().filter_map(|xid| xid.try_into().ok()).collect()
}

fn explained(error: StoreError, remedy: &str) -> StoreError {
    if error.code() == Some("42501") { error.with_remedy(remedy) } else { error }
}
