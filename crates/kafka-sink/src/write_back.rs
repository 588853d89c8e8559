//! The write-back of PUBLISH: from the broker's acknowledgement to a durable status on the row.

mod batch;
mod hidden;
mod retry;
mod worker;
#[cfg(test)]
mod worker_tests;

use std::time::Duration;

use outbox::Token;
use outbox_store::{Names, StoreError, Tls};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::{Outage, Published};
use batch::Limits;
use worker::{Database, PostgreSql, Worker};

// Completions are one message per batch, and the worker waits while this many are not fetched.
const COMPLETIONS_MAX: usize = 16;

/// How acknowledged events are gathered into batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteBackOptions {
    /// The most rows of a batch.
    pub batch_rows_max: usize,
    /// The most bytes of a batch's parameters.
    pub batch_bytes_max: usize,
    /// How long an event may wait for others to be written with it.
    pub linger: Duration,
    /// The most events between [`WriteBack::submit`] and [`WriteBack::written`].
    pub queue_max: usize,
}

impl Default for WriteBackOptions {
    fn default() -> Self {
        WriteBackOptions {
            batch_rows_max: 1000,
            batch_bytes_max: 1 << 20,
            linger: Duration::from_millis(3),
            queue_max: 1 << 16,
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
    /// More events were submitted than announced.
    #[error("more than {0} events await their write-back; this is a bug in Postrider, please report it")]
    Overrun(usize),
}

/// Writes acknowledged events back to their rows, in batches, on a connection of its own.
///
/// A database that cannot be reached is waited out; a batch whose outcome is unknown is written again, which
/// does no harm. Dropping it ends the work; what has not been reported as written may or may not be.
#[derive(Debug)]
pub struct WriteBack {
    published: mpsc::Sender<Published>,
    written: mpsc::Receiver<Vec<Token>>,
    outage: watch::Receiver<Option<Outage>>,
    worker: JoinHandle<Result<(), StoreError>>,
    worker_is_joined: bool,
    queue_max: usize,
}

impl WriteBack {
    /// Starts the work, which opens its connection by itself. Must be called on a tokio runtime.
    pub fn start(config: tokio_postgres::Config, tls: Tls, names: Names, options: WriteBackOptions) -> Self {
        Self::over(PostgreSql { config, tls, names }, options)
    }

    fn over(database: impl Database, options: WriteBackOptions) -> Self {
        let queue_max = options.queue_max.max(1);
        let (published, to_write) = mpsc::channel(queue_max);
        let (completed, written) = mpsc::channel(COMPLETIONS_MAX);
        let (away, outage) = watch::channel(None);
        let limits = Limits {
            rows_max: options.batch_rows_max.max(1),
            bytes_max: options.batch_bytes_max.max(1),
            linger: options.linger,
        };
        let worker = Worker { database, limits, published: to_write, written: completed, outage: away };
        let worker = tokio::spawn(worker.run());
        WriteBack { published, written, outage, worker, worker_is_joined: false, queue_max }
    }

    /// Hands over an acknowledged event. Never blocks.
    ///
    /// # Errors
    ///
    /// The worker has ended ([`WriteBack::written`] says why), or more events than `queue_max` are on their way.
    pub fn submit(&mut self, published: Published) -> Result<(), WriteBackError> {
        self.published.try_send(published).map_err(|error| match error {
            TrySendError::Full(_) => WriteBackError::Overrun(self.queue_max),
            TrySendError::Closed(_) => WriteBackError::Ended,
        })
    }

    /// Waits until events are written durably and appends their tokens. Cancel-safe: what a cancelled call did
    /// not append, a later one does.
    ///
    /// # Errors
    ///
    /// The worker has ended: the database refuses for good, or it panicked.
    pub async fn written(&mut self, into: &mut Vec<Token>) -> Result<(), WriteBackError> {
        let Some(tokens) = self.written.recv().await else { return Err(self.ended().await) };
        into.extend(tokens);
        while let Ok(more) = self.written.try_recv() {
            into.extend(more);
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

impl Drop for WriteBack {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
