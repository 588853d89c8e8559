//! The loop that writes.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use outbox_store::{Changed, Names, RowWriter, StoreError, Tls, connect};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::Written;
use super::batch::Rows;
use super::batcher::Limits;
use super::in_flight::Flights;
use super::pending::Unwritten;
use super::retry::Retry;
use crate::publish::outage::Outage;
use crate::write_back::receipt::ReceiptChunk;
use crate::write_back::row_update::RowChange;

// One batch is executed while the next is on its way. More would only lengthen the queue at the server, which
// executes a connection's statements one after the other.
const IN_FLIGHT_MAX: usize = 2;

/// Where a writer comes from.
pub(super) trait Database: Send + 'static {
    type Writer: Writer;
    fn open(&mut self) -> impl Future<Output = Result<Opened<Self::Writer>, StoreError>> + Send;
}

/// A writer, and how far each partition was written before: topic, partition, offset.
pub(super) struct Opened<W> {
    pub(super) writer: W,
    pub(super) progress: Vec<(Arc<str>, i32, i64)>,
}

/// What writes a batch durably, as [`RowWriter`] does.
pub(super) trait Writer: Send + Sync + 'static {
    fn write(&self, rows: &Rows, in_doubt: bool) -> impl Future<Output = Result<Answer, StoreError>> + Send;
}

/// What became of a batch.
pub(super) enum Answer {
    Changed(Changed),
    Aside { unseen_xids: Vec<u32> },
}

pub(super) struct PostgreSql {
    pub(super) config: tokio_postgres::Config,
    pub(super) tls: Tls,
    pub(super) names: Names,
    pub(super) bucket_width: Duration,
}

impl Database for PostgreSql {
    type Writer = RowWriter;

    async fn open(&mut self) -> Result<Opened<RowWriter>, StoreError> {
        let session = connect(&self.config, &self.tls).await?;
        let writer = RowWriter::new(session, &self.names, self.bucket_width).await?;
        let progress = writer.progress().await?;
        Ok(Opened { writer, progress })
    }
}

impl Writer for RowWriter {
    async fn write(&self, rows: &Rows, in_doubt: bool) -> Result<Answer, StoreError> {
        match rows {
            Rows::Changes(rows) => RowWriter::write(self, rows, in_doubt).await.map(Answer::Changed),
            Rows::Asides(rows) => {
                let unseen_xids = self.set_aside(rows, in_doubt).await?;
                Ok(Answer::Aside { unseen_xids })
            }
        }
    }
}

pub(super) struct Worker<D> {
    pub(super) database: D,
    pub(super) limits: Limits,
    pub(super) changes: mpsc::Receiver<RowChange>,
    pub(super) receipts: mpsc::Receiver<ReceiptChunk>,
    pub(super) written: mpsc::Sender<Written>,
    pub(super) outage: watch::Sender<Option<Outage>>,
}

impl<D: Database> Worker<D> {
    /// Ends well when nobody listens any more, and with the error when the database refuses for good.
    pub(super) async fn run(mut self) -> Result<(), StoreError> {
        let mut retry = Retry::default();
        let mut unwritten = Unwritten::new(self.limits);
        loop {
            let outcome = match self.database.open().await {
                Ok(Opened { writer, progress }) => {
                    unwritten.was_written(progress);
                    // With something to repeat, only a batch that is written proves the database to be back.
                    if !unwritten.has_next() {
                        self.back(&mut retry);
                    }
                    let mut flights = Flights::default();
                    let outcome =
                        self.write_with(Arc::new(writer), &mut flights, &mut unwritten, &mut retry).await;
                    unwritten.connection_failed(flights);
                    outcome
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(error) if error.is_definite() => return Err(error),
                Err(error) => self.away(&error),
            }
            sleep(retry.next()).await;
        }
    }

    /// Writes over one connection until it fails.
    async fn write_with(
        &mut self,
        writer: Arc<D::Writer>,
        flights: &mut Flights,
        unwritten: &mut Unwritten,
        retry: &mut Retry,
    ) -> Result<(), StoreError> {
        let mut changes = Vec::new();
        loop {
            let now = Instant::now();
            unwritten.give_up_waiting(now);
            // The changes first, for the slot waits for them; receipts have what they leave, and their share.
            while unwritten.room() > 0
                && let Ok(change) = self.changes.try_recv()
            {
                unwritten.take_change(change, now);
            }
            unwritten.fill(now);
            while unwritten.takes_receipts()
                && let Ok(chunk) = self.receipts.try_recv()
            {
                unwritten.take_receipts(chunk, now);
            }
            while flights.len() < IN_FLIGHT_MAX
                && let Some(batch) = unwritten.next_batch(now)
            {
                let (writer, rows, in_doubt) = (writer.clone(), batch.rows.clone(), batch.in_doubt);
                flights.start(batch, async move { writer.write(&rows, in_doubt).await });
            }
            let room = unwritten.room();
            let due = unwritten.due().filter(|_| flights.len() < IN_FLIGHT_MAX);
            let due = [due, unwritten.give_up_due()].into_iter().flatten().min();
            tokio::select! {
                biased;
                landed = flights.landed() => {
                    let (batch, answer) = landed?;
                    self.back(retry);
                    let written = unwritten.answered(batch, answer, flights, Instant::now());
                    if !written.is_empty() && self.written.send(written).await.is_err() {
                        return Ok(());
                    }
                }
                taken = self.changes.recv_many(&mut changes, room), if room > 0 => {
                    if taken == 0 {
                        return Ok(());
                    }
                    let now = Instant::now();
                    changes.drain(..).for_each(|change| unwritten.take_change(change, now));
                }
                Some(chunk) = self.receipts.recv(), if unwritten.takes_receipts() => {
                    unwritten.take_receipts(chunk, Instant::now());
                }
                () = until(due), if due.is_some() => {}
            }
        }
    }

    fn away(&self, error: &StoreError) {
        let since = match &*self.outage.borrow() {
            Some(outage) => outage.since,
            None => {
                tracing::warn!(%error, "write-back cannot reach PostgreSQL; waiting");
                Instant::now().into_std()
            }
        };
        self.outage.send_replace(Some(Outage { since, reason: error.to_string() }));
    }

    fn back(&self, retry: &mut Retry) {
        retry.succeeded();
        if self.outage.borrow().is_none() {
            return;
        }
        if let Some(outage) = self.outage.send_replace(None) {
            let lasted = Instant::now().into_std().duration_since(outage.since);
            tracing::info!(after_s = lasted.as_secs(), "write-back reaches PostgreSQL again");
        }
    }
}

async fn until(due: Option<Instant>) {
    if let Some(due) = due {
        sleep_until(due).await;
    }
}
