//! Writes batches of row updates.

use std::time::Duration;

use outbox::RecordPosition;
use tokio_postgres::Statement;
use tokio_postgres::types::Type;

use crate::connection::error::StoreError;
use crate::connection::names::Names;
use crate::connection::quote::table;
use crate::connection::session::Session;
use crate::record_position::record_position;
use crate::write_back::batch::{BatchRows, RowUpdateBatch};
use crate::write_back::column_types::WrittenColumnTypes;
use crate::write_back::delivery_statement::{DeliveryParameters, delivery_sql};
use crate::write_back::fail_or_hold_statement::{FailOrHoldParameters, fail_or_hold_sql};
use crate::write_back::outcome::BatchOutcome;

/// Every row is found through the primary key, however small the table is and whatever its statistics were when the
/// statement was planned: a plan for an empty table would scan the whole table for every batch once it has grown. With
/// these settings the plan stays right, so it is made once.
const SETTINGS: &str = "
set enable_seqscan = off;
set enable_bitmapscan = off;
set enable_hashjoin = off;
set enable_mergejoin = off;
set plan_cache_mode = force_generic_plan;
";

/// Writes row updates, on a connection of its own.
///
/// A batch is one statement, hence one transaction. The connection executes batches in the order in which the futures
/// returned by [`write`](Self::write) are first polled; futures that are polled together are pipelined.
///
/// A committed row may not be visible yet: the WAL delivers a commit before other transactions see it, with synchronous
/// replication until a standby has answered. The transactions of such rows are reported.
#[derive(Debug)]
pub struct RowWriter {
    session: Session,
    deliveries: Statement,
    fail_or_hold: Statement,
    slot: String,
    bucket_width_us: i64,
    context: String,
    remedy: String,
}

impl RowWriter {
    /// Prepares the statements on the connection. Rows that become COMPLETE are counted by their `last_attempt_at` in
    /// buckets of this width.
    ///
    /// # Errors
    ///
    /// Not retryable if the table, a column or schema `postrider` is missing, or the role may not write there.
    pub async fn new(
        session: Session,
        names: &Names,
        bucket_width: Duration,
    ) -> Result<RowWriter, StoreError> {
        let context = format!("writing to the rows of {}", names.table);
        let remedy = format!(
            "grant the role SELECT and UPDATE on {}, USAGE on schema postrider, SELECT, INSERT and UPDATE on \
             postrider.progress, and SELECT, INSERT, UPDATE and DELETE on postrider.held",
            table(&names.table)
        );
        session.run(SETTINGS, &context).await?;
        let types = WrittenColumnTypes::of(&session, names).await?;
        let prepare = async |sql: String, parameters: Vec<Type>| {
            let prepared = session.client().prepare_typed(&sql, &parameters).await;
            prepared.map_err(|error| with_grant(StoreError::postgres(&*context)(error), &remedy))
        };
        let deliveries = prepare(delivery_sql(names, &types), DeliveryParameters::types()).await?;
        let fail_or_hold = prepare(fail_or_hold_sql(names, &types), FailOrHoldParameters::types()).await?;
        let bucket_width_us = i64::try_from(bucket_width.as_micros()).unwrap_or(i64::MAX).max(1);
        let slot = names.slot.clone();
        Ok(RowWriter { session, deliveries, fail_or_hold, slot, bucket_width_us, context, remedy })
    }

    /// Writes a batch; when it returns, the batch is durable except for the rows of
    /// [`unseen_xids`](BatchOutcome::unseen_xids), which have to be written again a little later. The entries of these
    /// rows in `postrider.held` are durable, too. Rows that were not changed because they are in a later state or were
    /// deleted are no error. A batch whose outcome is unknown is repeated `in_doubt`: it changes nothing twice, and
    /// rows that it published count as published now.
    ///
    /// # Errors
    ///
    /// Nothing of the batch was written or, if the connection was lost, all of it or nothing.
    pub async fn write(&self, batch: &RowUpdateBatch, in_doubt: bool) -> Result<BatchOutcome, StoreError> {
        let (client, slot, xids) = (self.session.client(), &*self.slot, &*batch.xids);
        let outcome = match &batch.rows {
            BatchRows::Deliveries(deliveries) => {
                let width_us = self.bucket_width_us;
                let parameters = DeliveryParameters::of(deliveries, xids, slot, width_us, in_doubt);
                parameters.write(client, &self.deliveries).await
            }
            BatchRows::FailOrHold(rows) => {
                FailOrHoldParameters::of(rows, xids, slot, in_doubt).write(client, &self.fail_or_hold).await
            }
        };
        outcome.map_err(|error| self.explained(error))
    }

    /// How far each partition has been written back through this slot.
    ///
    /// # Errors
    ///
    /// As of any query.
    pub async fn written_positions(&self) -> Result<Vec<RecordPosition>, StoreError> {
        const SQL: &str = "select topic, partition, \"offset\" from postrider.progress where slot = $1";
        let rows = self.session.client().query(SQL, &[&self.slot]).await;
        let rows = rows.map_err(|error| self.explained(error))?;
        Ok(rows.iter().filter_map(|row| record_position(row, 0)).collect())
    }

    fn explained(&self, error: tokio_postgres::Error) -> StoreError {
        with_grant(StoreError::postgres(&*self.context)(error), &self.remedy)
    }
}

fn with_grant(error: StoreError, remedy: &str) -> StoreError {
    if error.code() == Some("42501") { error.with_remedy(remedy) } else { error }
}
