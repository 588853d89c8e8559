//! The task that writes batches.

use std::sync::Arc;
use std::time::Duration;

use outbox::Token;
use outbox_store::{Backoff, RowUpdate, StoreError};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::publish::outage::Outage;
use crate::write_back::batcher::BatchLimits;
use crate::write_back::connector::{BatchWriter as _, Connected, Connector};
use crate::write_back::in_flight::BatchesInFlight;
use crate::write_back::pending::PendingUpdates;
use crate::write_back::receipt_chunk::ReceiptChunk;
use crate::write_back::written::Written;

/// The server executes one batch while the next is on its way. It executes the statements of a connection one after the
/// other, so more batches would only lengthen its queue.
const IN_FLIGHT_MAX: usize = 2;

pub(super) struct WriteBackWorker<C> {
    pub(super) connector: C,
    pub(super) limits: BatchLimits,
    pub(super) updates: mpsc::Receiver<(Token, RowUpdate)>,
    pub(super) receipts: mpsc::Receiver<ReceiptChunk>,
    pub(super) written: mpsc::Sender<Written>,
    pub(super) outage: watch::Sender<Option<Outage>>,
}

impl<C: Connector> WriteBackWorker<C> {
    /// Runs until the [`WriteBack`](crate::WriteBack) is dropped.
    ///
    /// # Errors
    ///
    /// An error of the database that a retry cannot fix.
    pub(super) async fn run(mut self) -> Result<(), StoreError> {
        let mut backoff = None;
        let mut pending = PendingUpdates::new(self.limits);
        loop {
            let outcome = match self.connector.connect().await {
                Ok(Connected { writer, written }) => {
                    pending.start_from(written);
                    // If a batch has to be repeated, the outage ends when it is written.
                    if !pending.has_next() {
                        self.outage_ended(&mut backoff);
                    }
                    let mut in_flight = BatchesInFlight::default();
                    let outcome =
                        self.write_with(Arc::new(writer), &mut in_flight, &mut pending, &mut backoff).await;
                    pending.connection_failed(in_flight);
                    outcome
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(error) if !error.is_retryable() => return Err(error),
                Err(error) => self.outage_continues(&error),
            }
            sleep(next_delay(&mut backoff)).await;
        }
    }

    /// Writes on one connection until it fails.
    async fn write_with(
        &mut self,
        writer: Arc<C::Writer>,
        in_flight: &mut BatchesInFlight,
        pending: &mut PendingUpdates,
        backoff: &mut Option<Backoff>,
    ) -> Result<(), StoreError> {
        let mut updates = Vec::new();
        loop {
            let now = Instant::now();
            pending.expire_early_receipts(now);
            // The relay's updates first, because the slot advances only after them.
            while pending.room() > 0
                && let Ok((token, update)) = self.updates.try_recv()
            {
                pending.add_update(token, update, now);
            }
            pending.fill(now);
            while pending.has_room_for_receipts()
                && let Ok(chunk) = self.receipts.try_recv()
            {
                pending.add_receipts(chunk, now);
            }
            while in_flight.len() < IN_FLIGHT_MAX
                && let Some(batch) = pending.next_batch(now)
            {
                let (writer, updates, in_doubt) = (writer.clone(), batch.updates.clone(), batch.in_doubt);
                in_flight.start(batch, async move { writer.write(&updates, in_doubt).await });
            }
            let room = pending.room();
            let due = pending.due().filter(|_| in_flight.len() < IN_FLIGHT_MAX);
            let due = [due, pending.next_expiry()].into_iter().flatten().min();
            tokio::select! {
                biased;
                completed = in_flight.next_completed() => {
                    let (batch, outcome) = completed?;
                    self.outage_ended(backoff);
                    let written = pending.batch_completed(batch, outcome, in_flight, Instant::now());
                    if !written.is_empty() && self.written.send(written).await.is_err() {
                        return Ok(());
                    }
                }
                received = self.updates.recv_many(&mut updates, room), if room > 0 => {
                    if received == 0 {
                        return Ok(());
                    }
                    let now = Instant::now();
                    updates.drain(..).for_each(|(token, update)| pending.add_update(token, update, now));
                }
                Some(chunk) = self.receipts.recv(), if pending.has_room_for_receipts() => {
                    pending.add_receipts(chunk, Instant::now());
                }
                () = sleep_until_due(due), if due.is_some() => {}
            }
        }
    }

    fn outage_continues(&self, error: &StoreError) {
        let since = match &*self.outage.borrow() {
            Some(outage) => outage.since,
            None => {
                tracing::warn!(%error, "could not write to the outbox table; retrying");
                Instant::now().into_std()
            }
        };
        self.outage.send_replace(Some(Outage { since, reason: error.to_string() }));
    }

    fn outage_ended(&self, backoff: &mut Option<Backoff>) {
        *backoff = None;
        if self.outage.borrow().is_none() {
            return;
        }
        if let Some(outage) = self.outage.send_replace(None) {
            let lasted = Instant::now().into_std().duration_since(outage.since);
            tracing::info!(after_s = lasted.as_secs(), "writing to the outbox table resumed");
        }
    }
}

/// The first attempt after a failure is made at once.
fn next_delay(backoff: &mut Option<Backoff>) -> Duration {
    match backoff {
        Some(backoff) => backoff.next_delay(),
        None => {
            *backoff = Some(Backoff::default());
            Duration::ZERO
        }
    }
}

async fn sleep_until_due(due: Option<Instant>) {
    if let Some(due) = due {
        sleep_until(due).await;
    }
}
