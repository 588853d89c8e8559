//! Receipts: consumes the records that Postrider publishes and reports which rows' records were consumed.

mod chunk_builder;
mod commits;
mod lag_poll;
mod log_once;
pub(crate) mod options;
mod partition_updates;
mod partitions;
mod session;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use outbox::{Metrics, RecordPosition};
use tokio::sync::{mpsc, oneshot};

use crate::consume::inspect_error::{InspectError, InspectErrorKind};
use crate::receipts::options::ReceiptsOptions;
use crate::receipts::partition_updates::{PartitionObserver, PartitionUpdates};
use crate::receipts::session::ConsumerSession;
use crate::receipts::worker::ReceiptsWorker;
use crate::stop_on_drop::StopOnDrop;
use crate::write_back::receipt_chunk::ReceiptChunk;

/// The longest wait for the worker to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Consumes the partitions that Postrider publishes to, on a thread of its own.
///
/// Partitions are assigned manually: no group membership, no rebalance, no session timeout after a crash. Offsets are
/// committed for the group. A partition is read from the committed offset, or from its beginning if there is none.
/// Records whose receipts were not reported durable are read again after a restart; none is skipped.
///
/// Outages of Kafka are retried without a limit. Memory is bounded, whatever the backlog and the lag of followed groups.
pub struct Receipts {
    observer: PartitionObserver,
    metrics: Metrics,
    stop: StopOnDrop,
    thread: JoinHandle<()>,
    ended: oneshot::Receiver<()>,
}

impl Receipts {
    /// Starts the worker. It sends chunks of receipts and expects an outcome of each in `done`. It ends when the channel
    /// is closed, or when a `done` is dropped without an outcome.
    ///
    /// # Errors
    ///
    /// librdkafka rejects the configuration.
    pub fn start(options: ReceiptsOptions, chunks: mpsc::Sender<ReceiptChunk>) -> Result<Self, InspectError> {
        let updates = Arc::new(PartitionUpdates::default());
        let metrics = options.metrics.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let session = ConsumerSession::start(&options)?;
        let (end, ended) = oneshot::channel();
        let work = {
            let (updates, stop) = (Arc::clone(&updates), Arc::clone(&stop));
            move || {
                // Created here, because a runtime must not be dropped inside another one.
                match tokio::runtime::Builder::new_current_thread().enable_time().build() {
                    Ok(timer) => ReceiptsWorker::new(options, session, updates, chunks, timer, stop).run(),
                    Err(error) => tracing::error!(target: "kafka", %error, "could not consume receipts"),
                }
                let _ = end.send(());
            }
        };
        let thread = thread::Builder::new().name("kafka-receipts".to_owned()).spawn(work);
        let thread = thread.map_err(|error| InspectErrorKind::NotCreated(error.to_string()))?;
        let observer = PartitionObserver::new(updates);
        Ok(Receipts { observer, metrics, stop: StopOnDrop::new(&stop), thread, ended })
    }

    /// There is a record of Postrider at this position: its partition is consumed from now on. To be called for every
    /// acknowledged record, in the order of each partition, and at start with the last known record of each partition.
    /// Cheap for a known partition.
    pub fn observe(&mut self, at: &RecordPosition) {
        self.observer.observe(&at.topic, at.partition, at.offset);
    }

    /// Whether the worker has ended, because the write-back did or because of a bug: no receipts arrive any more.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Commits the offsets of durable receipts and ends the worker.
    ///
    /// Returns after a second at the latest; a worker that needs longer, because a broker does not answer, ends in the
    /// background.
    pub async fn close(self) {
        let Receipts { observer: _, metrics, stop, thread: _, ended } = self;
        drop(stop);
        if tokio::time::timeout(CLOSE_TIMEOUT, ended).await.is_err() {
            tracing::debug!(target: "kafka", "receipts consumer is still closing");
        }
        tracing::info!(
            target: "kafka",
            without_effect = metrics.receipts_without_effect.get(),
            without_id = metrics.records_without_id.get(),
            "receipts closed"
        );
    }
}

impl fmt::Debug for Receipts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipts").finish_non_exhaustive()
    }
}
