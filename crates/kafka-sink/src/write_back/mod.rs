//! The write-back: from acknowledgements, receipts and failures to the status on the row.

mod batch;
mod batcher;
mod connector;
mod early_receipts;
mod entry;
#[cfg(test)]
mod fixture;
mod in_flight;
mod not_yet_visible;
mod open_chunks;
mod pending;
pub(crate) mod receipt_chunk;
#[cfg(test)]
mod receipt_tests;
#[cfg(test)]
mod scripted_database;
mod worker;
#[cfg(test)]
mod worker_tests;
pub(crate) mod written;

use std::any::Any;
use std::time::Duration;

use outbox::Token;
use outbox_store::{Database, RowUpdate, StoreError};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::publish::outage::Outage;
use crate::write_back::batcher::BatchLimits;
use crate::write_back::connector::{Connector, PostgresConnector};
use crate::write_back::receipt_chunk::ReceiptChunk;
use crate::write_back::worker::WriteBackWorker;
use crate::write_back::written::Written;

/// There is one completion for each batch; the worker waits while this many are not received.
const COMPLETIONS_MAX: usize = 16;

/// Enough that the next chunk is ready when one has been added to a batch.
const RECEIPT_CHUNKS_MAX: usize = 4;

/// How updates are batched and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteBackOptions {
    /// The most rows of a batch; receipts may add a quarter of it.
    pub batch_rows_max: usize,
    /// The most bytes of a batch's parameters.
    pub batch_bytes_max: usize,
    /// How long an update may wait for others to share its batch.
    pub linger: Duration,
    /// The most updates between [`WriteBack::submit`] and [`WriteBack::written`].
    pub queue_max: usize,
    /// The width of the buckets of [`outbox::WriteBackSummary::completed`].
    pub bucket_width: Duration,
}

impl Default for WriteBackOptions {
    fn default() -> Self {
        WriteBackOptions {
            batch_rows_max: 1000,
            batch_bytes_max: 1 << 20,
            linger: Duration::from_millis(3),
            queue_max: 1 << 16,
            bucket_width: Duration::from_secs(10),
        }
    }
}

/// Why updates cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteBackError {
    /// An error of the database that a retry cannot fix.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The worker panicked.
    #[error("the write-back panicked ({0}); this is a bug in Postrider, please report it")]
    Panicked(String),
    /// The worker has ended, and its error was returned before.
    #[error("the write-back has ended")]
    Ended,
    /// More updates were submitted than [`WriteBackOptions::queue_max`].
    #[error(
        "more than {0} row updates are waiting to be written; this is a bug in Postrider, please report it"
    )]
    Overrun(usize),
}

/// Writes row updates in batches, on a connection of its own.
///
/// The updates of a row are written in the order of their submission. Outages of the database are retried without a
/// limit; a batch whose outcome is unknown is written again, which changes nothing twice. Dropping it ends the worker;
/// updates that were not returned by [`WriteBack::written`] may or may not be durable.
///
/// Receipts have a queue of their own, whose backpressure reaches the consumer and never the relay. A receipt that
/// changes nothing may precede the delivery report of its record: it waits up to two seconds for the report and is
/// written with it.
#[derive(Debug)]
pub struct WriteBack {
    updates: mpsc::Sender<(Token, RowUpdate)>,
    receipts: mpsc::Sender<ReceiptChunk>,
    written: mpsc::Receiver<Written>,
    outage: watch::Receiver<Option<Outage>>,
    worker: JoinHandle<Result<(), StoreError>>,
    worker_is_joined: bool,
    queue_max: usize,
}

impl WriteBack {
    /// Starts the worker, which connects by itself. Must be called on a tokio runtime.
    pub fn start(database: Database, options: WriteBackOptions) -> Self {
        let bucket_width = options.bucket_width;
        Self::with_connector(PostgresConnector { database, bucket_width }, options)
    }

    fn with_connector(connector: impl Connector, options: WriteBackOptions) -> Self {
        let queue_max = options.queue_max.max(1);
        let (updates, submitted) = mpsc::channel(queue_max);
        let (receipts, received) = mpsc::channel(RECEIPT_CHUNKS_MAX);
        let (completed, written) = mpsc::channel(COMPLETIONS_MAX);
        let (outage_changes, outage) = watch::channel(None);
        let limits = BatchLimits {
            rows_max: options.batch_rows_max.max(1),
            bytes_max: options.batch_bytes_max.max(1),
            linger: options.linger,
        };
        let worker = WriteBackWorker {
            connector,
            limits,
            updates: submitted,
            receipts: received,
            written: completed,
            outage: outage_changes,
        };
        let worker = tokio::spawn(worker.run());
        WriteBack { updates, receipts, written, outage, worker, worker_is_joined: false, queue_max }
    }

    /// Submits an update of the event with this token. Never blocks.
    ///
    /// # Errors
    ///
    /// The worker has ended ([`WriteBack::written`] returns its error), or more updates than `queue_max` are pending.
    pub fn submit(&mut self, token: Token, update: RowUpdate) -> Result<(), WriteBackError> {
        self.updates.try_send((token, update)).map_err(|error| match error {
            TrySendError::Full(_) => WriteBackError::Overrun(self.queue_max),
            TrySendError::Closed(_) => WriteBackError::Ended,
        })
    }

    /// The queue of receipts, which holds a few chunks. A chunk is done once every receipt is durable or changes
    /// nothing. Its receipts stay in memory until then: the sender bounds how many there are.
    pub fn receipts(&self) -> mpsc::Sender<ReceiptChunk> {
        self.receipts.clone()
    }

    /// Waits until updates or receipts are durable and appends them. Cancel-safe: what a cancelled call did not append,
    /// a later one does. Must be called even if no update is pending, because receipts have summaries, too.
    ///
    /// # Errors
    ///
    /// The worker has ended: an error of the database that a retry cannot fix, or a panic.
    pub async fn written(&mut self, into: &mut Written) -> Result<(), WriteBackError> {
        let Some(first) = self.written.recv().await else { return Err(self.worker_error().await) };
        into.append(first);
        while let Ok(more) = self.written.try_recv() {
            into.append(more);
        }
        Ok(())
    }

    /// The outage that keeps updates from being written; `None` if there is none.
    pub fn outage(&self) -> Option<Outage> {
        self.outage.borrow().clone()
    }

    async fn worker_error(&mut self) -> WriteBackError {
        if self.worker_is_joined {
            return WriteBackError::Ended;
        }
        let outcome = (&mut self.worker).await;
        self.worker_is_joined = true;
        match outcome {
            Ok(Ok(())) => WriteBackError::Ended,
            Ok(Err(error)) => WriteBackError::Store(error),
            Err(error) if error.is_panic() => WriteBackError::Panicked(panic_message(&*error.into_panic())),
            Err(_) => WriteBackError::Ended,
        }
    }
}

impl Drop for WriteBack {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
