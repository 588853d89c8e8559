use tokio_postgres::Statement;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::names::Names;
use crate::quote::{identifier, table};
use crate::{PublishRows, Session, StoreError};

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

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// How many rows went from INIT to PUBLISH.
    pub rows: u64,
    /// The transactions that were not visible yet, ascending: their rows were not found.
    pub unseen_xids: Vec<u32>,
}

/// Writes acknowledged events to their rows, on a connection of its own.
///
/// One statement, hence one transaction, per batch: rows that still say INIT become PUBLISH with their place,
/// and the progress of each partition moves up. Rows that say anything else, or are gone, are left as they are.
///
/// A row can be there and not be seen: the log tells of a commit before other transactions see it, and with
/// synchronous replication that lasts until a standby has answered. Such rows are reported, not passed over.
#[derive(Debug)]
pub struct PublishWriter {
    session: Session,
    statement: Statement,
    slot: String,
    doing: String,
    remedy: String,
}

impl PublishWriter {
    /// Takes the connection over and prepares the statement on it.
    ///
    /// # Errors
    ///
    /// Definite where the table, a column or schema `postrider` is missing, or the role may not write there.
    pub async fn new(session: Session, names: &Names) -> Result<PublishWriter, StoreError> {
        let doing = format!("writing PUBLISH back to {}", names.table);
        let remedy = format!(
            "grant the role SELECT and UPDATE on {}, USAGE on schema postrider, and SELECT, INSERT and UPDATE on \
             postrider.progress",
            table(&names.table)
        );
        session.run(SETTINGS, &doing).await?;
        let types = [
            Type::UUID_ARRAY,
            Type::TEXT_ARRAY,
            Type::INT4_ARRAY,
            Type::INT8_ARRAY,
            Type::TEXT,
            Type::TEXT_ARRAY,
            Type::INT4_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
        ];
        let prepared = session.client().prepare_typed(&sql(names), &types).await;
        let statement = prepared.map_err(|error| explained(StoreError::postgres(&*doing)(error), &remedy))?;
        Ok(PublishWriter { session, statement, slot: names.slot.clone(), doing, remedy })
    }

    /// Writes a batch. Rows of the transactions that it returns could not be seen yet and are to be written
    /// again a little later; for all others fewer rows updated than the batch has is success.
    /// When it returns, the rest of the batch is durable. To write the same batch again does no harm, so one whose outcome
    /// is unknown is simply repeated. Batches that are awaited at the same time are pipelined.
    ///
    /// # Errors
    ///
    /// Nothing of the batch was written, or, where the connection was lost, all of it or nothing.
    pub async fn write(&self, batch: &PublishRows) -> Result<Written, StoreError> {
        let ids: Vec<Uuid> = batch.rows.iter().map(|row| row.id).collect();
        let topics: Vec<&str> = batch.rows.iter().map(|row| &*row.topic).collect();
        let partitions: Vec<i32> = batch.rows.iter().map(|row| row.partition).collect();
        let offsets: Vec<i64> = batch.rows.iter().map(|row| row.offset).collect();
        let highest = &batch.highest;
        let highest_topics: Vec<&str> = highest.iter().map(|(topic, ..)| &**topic).collect();
        let highest_partitions: Vec<i32> = highest.iter().map(|(_, partition, _)| *partition).collect();
        let highest_offsets: Vec<i64> = highest.iter().map(|(_, _, offset)| *offset).collect();
        let xids: Vec<i64> = batch.xids.iter().copied().map(i64::from).collect();
        self.session
            .client()
            .query_one(
                &self.statement,
                &[
                    &ids,
                    &topics,
                    &partitions,
                    &offsets,
                    &self.slot,
                    &highest_topics,
                    &highest_partitions,
                    &highest_offsets,
                    &xids,
                ],
            )
            .await
            .map(|row| Written {
                rows: row.get::<_, i64>(0).unsigned_abs(),
                unseen_xids: row
                    .get::<_, Vec<i64>>(1)
                    .into_iter()
                    .filter_map(|xid| xid.try_into().ok())
                    .collect(),
            })
            .map_err(|error| explained(StoreError::postgres(&*self.doing)(error), &self.remedy))
    }

    /// Whether the connection is known to be gone.
    pub fn is_closed(&self) -> bool {
        self.session.is_closed()
    }
}

fn explained(error: StoreError, remedy: &str) -> StoreError {
    if error.code() == Some("42501") { error.with_remedy(remedy) } else { error }
}

// now() is when the statement's transaction began. That was after the row's commit record was written, or its
// event would not have been read from the log, so published_at is never before the created_at of the same clock.
//
// Whether a transaction is visible is asked of the very snapshot with which the rows were looked for. The log
// names transactions by 32 bits; the other 32 are those of the number nearest to the snapshot's.
fn sql(names: &Names) -> String {
    let columns = &names.columns;
    format!(
        r#"
with batch as materialized (
    select * from unnest($1::uuid[], $2::text[], $3::int4[], $4::int8[]) as b (id, topic, "partition", "offset")
), written as (
    update {table} as o
    set {status} = 'PUBLISH',
        {published_at} = now(),
        {kafka_topic} = b.topic,
        {kafka_partition} = b."partition",
        {kafka_offset} = b."offset",
        {attempts} = coalesce(o.{attempts}, 0) + 1,
        {last_attempt_at} = now(),
        {last_error} = null
    from batch as b
    where o.{id} = b.id and o.{status} = 'INIT'
    returning 1
), moved as (
    insert into postrider.progress as p (slot, topic, partition, "offset", written_at)
    select $5::text, h.topic, h."partition", h."offset", now()
    from unnest($6::text[], $7::int4[], $8::int8[]) as h (topic, "partition", "offset")
    on conflict (slot, topic, partition) do update
    set "offset" = excluded."offset", written_at = excluded.written_at
    where excluded."offset" > p."offset"
)
select
    (select count(*) from written),
    array(
        select x.xid
        from unnest($9::int8[]) as x (xid),
            (select s, pg_snapshot_xmax(s)::text::int8 from pg_current_snapshot() as s) as now (snapshot, next),
            lateral (
                select now.next - 2147483648
                    + (x.xid - (now.next & 4294967295) + 2147483648 + 4294967296) % 4294967296
            ) as whole (xid)
        where whole.xid > 2 and not pg_visible_in_snapshot(whole.xid::text::xid8, now.snapshot)
    )"#,
        table = table(&names.table),
        id = identifier(&columns.id),
        status = identifier(&columns.status),
        published_at = identifier(&columns.published_at),
        kafka_topic = identifier(&columns.kafka_topic),
        kafka_partition = identifier(&columns.kafka_partition),
        kafka_offset = identifier(&columns.kafka_offset),
        attempts = identifier(&columns.attempts),
        last_attempt_at = identifier(&columns.last_attempt_at),
        last_error = identifier(&columns.last_error),
    )
}
