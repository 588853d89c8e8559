//! Receipts: consumes what Postrider publishes, and tells which rows' records have been consumed.

mod chunk_builder;
mod commits;
mod lag_poll;
mod partitions;
mod seen;
mod session;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use outbox::RecordPosition;
use rdkafka::ClientConfig;
use tokio::sync::{mpsc, oneshot};

use crate::consume::inspect_error::{LookError, LookErrorKind};
use crate::write_back::receipt_chunk::{ChunkOutcome, ReceiptChunk};
use seen::{News, Seen};
use session::Session;
use worker::Worker;

/// How long the worker is waited for when it closes.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// How receipts are consumed.
#[derive(Clone)]
pub struct ReceiptsOptions {
    /// The producer's configuration, whose connection is used.
    pub config: ClientConfig,
    /// The consumer group as which positions are committed (`receipts.group`).
    pub group: String,
    /// The groups behind which to stay (`receipts.follow`): a record counts as consumed when each of them has
    /// committed an offset past it. Where empty, when it has been read.
    pub follow: Vec<String>,
}

impl fmt::Debug for ReceiptsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration has secrets.
        let ReceiptsOptions { config: _, group, follow } = self;
        let mut debug = f.debug_struct("ReceiptsOptions");
        debug.field("group", group).field("follow", follow).finish_non_exhaustive()
    }
}

/// What became of the records consumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiptCounts {
    /// Rows that became COMPLETE.
    pub completed: u64,
    /// Receipts that changed nothing: the row is gone, was COMPLETE already or has FAILED.
    pub idle: u64,
    /// Records that are of no row: without a valid `id` header, or dead letters.
    pub without_id: u64,
}

#[derive(Debug, Default)]
struct Counters {
    completed: AtomicU64,
    idle: AtomicU64,
    without_id: AtomicU64,
}

impl Counters {
    fn add(&self, receipted: ChunkOutcome) {
        self.completed.fetch_add(receipted.completed, Ordering::Relaxed);
        self.idle.fetch_add(receipted.idle, Ordering::Relaxed);
    }

    fn counts(&self) -> ReceiptCounts {
        ReceiptCounts {
            completed: self.completed.load(Ordering::Relaxed),
            idle: self.idle.load(Ordering::Relaxed),
            without_id: self.without_id.load(Ordering::Relaxed),
        }
    }
}

/// The worker that consumes the partitions it is told of, on a thread of its own.
///
/// It joins no group: whoever publishes also consumes, so that there is nobody to share with and nothing to
/// rebalance. Its positions are committed as those of the group. A partition is read from the committed
/// position, where there is none from its beginning. Records that were handed over and not reported durable
/// are read again after a restart; none is ever skipped.
///
/// Outages of Kafka are waited out. Its memory is bounded whatever the backlog and however far a followed
/// group lags.
pub struct Receipts {
    seen: Seen,
    counters: Arc<Counters>,
    stop: Stop,
    thread: JoinHandle<()>,
    ended: oneshot::Receiver<()>,
}

/// Ends the worker when it is dropped.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Receipts {
    /// Starts the worker. It sends chunks of receipts; each is reported back by its `done`, and one whose
    /// `done` is dropped ends the worker, as does the channel when it is closed.
    ///
    /// # Errors
    ///
    /// librdkafka does not take the configuration.
    pub fn start(options: ReceiptsOptions, chunks: mpsc::Sender<ReceiptChunk>) -> Result<Self, LookError> {
        let news = Arc::new(News::default());
        let counters = Arc::new(Counters::default());
        let stop = Arc::new(AtomicBool::new(false));
        let session = Session::start(&options)?;
        let (end, ended) = oneshot::channel();
        let work = {
            let (news, counters, stop) = (Arc::clone(&news), Arc::clone(&counters), Arc::clone(&stop));
            move || {
                // Made here, because a runtime that is dropped inside another one panics.
                match tokio::runtime::Builder::new_current_thread().enable_time().build() {
                    Ok(clock) => Worker::new(options, session, news, chunks, clock, counters, stop).run(),
                    Err(error) => tracing::error!(target: "kafka", "receipts cannot be consumed: {error}"),
                }
                let _ = end.send(());
            }
        };
        let thread = thread::Builder::new().name("kafka-receipts".to_owned()).spawn(work);
        let thread = thread.map_err(|error| LookErrorKind::NotMade(error.to_string()))?;
        Ok(Receipts { seen: Seen::new(news), counters, stop: Stop(stop), thread, ended })
    }

    /// There is a record of ours at `offset`: the partition is consumed from now on. To be called with every
    /// acknowledged record, in the order of each partition, and at the start with the last one known of each
    /// partition. Costs next to nothing for a partition that is known.
    pub fn observe(&mut self, at: &RecordPosition) {
        self.seen.sees(&at.topic, at.partition, at.offset);
    }

    /// What became of the records consumed so far.
    pub fn counts(&self) -> ReceiptCounts {
        self.counters.counts()
    }

    /// Whether the worker has ended, because the write-back has or by a bug: nothing is consumed any more.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Takes what has been reported durable, commits it and ends.
    ///
    /// Returns after a second at the latest; a worker that takes longer, since a broker is away, ends in the
    /// background.
    pub async fn close(self) {
        let Receipts { seen: _, counters, stop, thread: _, ended } = self;
        drop(stop);
        if tokio::time::timeout(CLOSE_WITHIN, ended).await.is_err() {
            tracing::debug!(target: "kafka", "the receipts' consumer takes its time to end");
        }
        let ReceiptCounts { completed, idle, without_id } = counters.counts();
        tracing::info!(target: "kafka", completed, idle, without_id, "receipts closed");
    }
}

impl fmt::Debug for Receipts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipts").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
