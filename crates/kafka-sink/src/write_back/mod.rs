//! The write-back: from what became of an event, or was seen by a consumer, to a durable status on the row.

mod batch;
mod batcher;
mod early_receipts;
#[cfg(test)]
mod fixture;
mod in_flight;
mod not_yet_visible;
mod open_chunks;
mod pending;
pub(crate) mod receipt;
mod retry;
pub(crate) mod row_update;
mod worker;
#[cfg(test)]
mod worker_tests;

use std::time::Duration;

use outbox::{Token, WriteBackSummary};
use outbox_store::{Names, StoreError, Tls};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::publish::outage::Outage;
use crate::write_back::receipt::ReceiptChunk;
use crate::write_back::row_update::RowChange;
use batcher::Limits;
use worker::{Database, PostgreSql, Worker};

// Completions are one message per batch, and the worker waits while this many are not fetched.
const COMPLETIONS_MAX: usize = 16;

// Enough that the next chunk is there when one has been taken apart.
const RECEIPT_CHUNKS_MAX: usize = 4;

/// How changes are gathered into batches, and how they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteBackOptions {
    /// The most rows of a batch; a quarter of it comes on top for receipts, where there are some.
    pub batch_rows_max: usize,
    /// The most bytes of a batch's parameters.
    pub batch_bytes_max: usize,
    /// How long a change may wait for others to be written with it.
    pub linger: Duration,
    /// The most changes between [`WriteBack::submit`] and [`WriteBack::written`].
    pub queue_max: usize,
    /// The width of the buckets of [`WriteBackSummary::completed`].
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

/// The write-back has ended, or must not go on.
#[derive(Debug, thiserror::Error)]
pub enum WriteBackError {
    /// The database refuses for good.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The worker panicked.
    #[error("the write-back panicked ({0}); this is a bug in Postrider, please report it")]
    Panicked(String),
    /// The worker has ended, and has said why before.
    #[error("the write-back has ended")]
    Ended,
    /// More changes were submitted than announced.
    #[error("more than {0} changes await their write-back; this is a bug in Postrider, please report it")]
    Overrun(usize),
}

/// What has been written durably.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The tokens of the changes.
    pub tokens: Vec<Token>,
    /// What it means for deadlines: one for each batch that means anything.
    pub summaries: Vec<WriteBackSummary>,
}

/// Writes what became of events to their rows, in batches, on a connection of its own.
///
/// Of each row, what was submitted first is written first. A database that cannot be reached is waited out; a batch
/// whose outcome is unknown is written again, which does no harm. Dropping it ends the work; what has not been
/// reported as written may or may not be.
///
/// Receipts go by a way of their own, on which a consumer is held up and never the pump. One that finds nothing to
/// change may have come before the record's delivery report: then it waits for that, for two seconds at most, and is
/// written with it.
#[derive(Debug)]
pub struct WriteBack {
    changes: mpsc::Sender<RowChange>,
    receipts: mpsc::Sender<ReceiptChunk>,
    written: mpsc::Receiver<Written>,
    outage: watch::Receiver<Option<Outage>>,
    worker: JoinHandle<Result<(), StoreError>>,
    worker_is_joined: bool,
    queue_max: usize,
}

impl WriteBack {
    /// Starts the work, which opens its connection by itself. Must be called on a tokio runtime.
    pub fn start(config: tokio_postgres::Config, tls: Tls, names: Names, options: WriteBackOptions) -> Self {
        let bucket_width = options.bucket_width;
        Self::over(PostgreSql { config, tls, names, bucket_width }, options)
    }

    fn over(database: impl Database, options: WriteBackOptions) -> Self {
        let queue_max = options.queue_max.max(1);
        let (changes, to_write) = mpsc::channel(queue_max);
        let (receipts, received) = mpsc::channel(RECEIPT_CHUNKS_MAX);
        let (completed, written) = mpsc::channel(COMPLETIONS_MAX);
        let (away, outage) = watch::channel(None);
        let limits = Limits {
            rows_max: options.batch_rows_max.max(1),
            bytes_max: options.batch_bytes_max.max(1),
            linger: options.linger,
        };
        let worker = Worker {
            database,
            limits,
            changes: to_write,
            receipts: received,
            written: completed,
            outage: away,
        };
        let worker = tokio::spawn(worker.run());
        WriteBack { changes, receipts, written, outage, worker, worker_is_joined: false, queue_max }
    }

    /// Hands over a change. Never blocks.
    ///
    /// # Errors
    ///
    /// The worker has ended ([`WriteBack::written`] says why), or more changes than `queue_max` are on their way.
    pub fn submit(&mut self, change: RowChange) -> Result<(), WriteBackError> {
        self.changes.try_send(change).map_err(|error| match error {
            TrySendError::Full(_) => WriteBackError::Overrun(self.queue_max),
            TrySendError::Closed(_) => WriteBackError::Ended,
        })
    }

    /// The way for receipts, on which few chunks wait at a time. A chunk is done once every receipt of it is durable
    /// or has turned out to change nothing. What a chunk holds is held until then: the sender bounds how much that is.
    pub fn receipts(&self) -> mpsc::Sender<ReceiptChunk> {
        self.receipts.clone()
    }

    /// Waits until something is written durably and appends it. Cancel-safe: what a cancelled call did not append, a
    /// later one does. To be called also while no change is on its way, for receipts have their summaries.
    ///
    /// # Errors
    ///
    /// The worker has ended: the database refuses for good, or it panicked.
    pub async fn written(&mut self, into: &mut Written) -> Result<(), WriteBackError> {
        let Some(first) = self.written.recv().await else { return Err(self.ended().await) };
        into.append(first);
        while let Ok(more) = self.written.try_recv() {
            into.append(more);
        }
        Ok(())
    }

    /// Since when and why nothing can be written; `None` while the database answers.
    pub fn outage(&self) -> Option<Outage> {
        self.outage.borrow().clone()
    }

    async fn ended(&mut self) -> WriteBackError {
        if self.worker_is_joined {
            return WriteBackError::Ended;
        }
        let outcome = (&mut self.worker).await;
        self.worker_is_joined = true;
        match outcome {
            Ok(Ok(())) => WriteBackError::Ended,
            Ok(Err(error)) => WriteBackError::Store(error),
            Err(error) if error.is_panic() => WriteBackError::Panicked(message(&*error.into_panic())),
            Err(_) => WriteBackError::Ended,
        }
    }
}

impl Written {
    fn append(&mut self, more: Written) {
        self.tokens.extend(more.tokens);
        self.summaries.extend(more.summaries);
    }

    fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.summaries.is_empty()
    }
}

impl Drop for WriteBack {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
