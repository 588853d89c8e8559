//! The thread that consumes receipts.

use std::collections::VecDeque;
use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use outbox::{Metrics, Receipt, RecordPosition};
use rdkafka::Message as _;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::consume::groups::{GroupOffsets, TopicPartition};
use crate::consume::inspect_error::{InspectError, remedy, remedy_in};
use crate::receipts::chunk_builder::ChunkBuilder;
use crate::receipts::commits::{OffsetCommits, PartitionIndex};
use crate::receipts::lag_poll::{PollSchedule, PollScope, min_committed};
use crate::receipts::log_once::LogOnce;
use crate::receipts::options::ReceiptsOptions;
use crate::receipts::partition_updates::PartitionUpdates;
use crate::receipts::partitions::{Arrival, ConsumedPartitions};
use crate::receipts::session::{ConsumerSession, topic_partition};
use crate::record::record_id::RecordId;
use crate::write_back::receipt_chunk::{ChunkOutcome, ReceiptChunk};

/// The longest wait for one event while others are not checked.
const TURN_MAX: Duration = Duration::from_millis(100);

/// How soon a durable chunk is noticed.
const TURN_MAX_WITH_CHUNKS: Duration = Duration::from_millis(20);

/// Reading pauses while this many chunks are not durable.
const CHUNKS_MAX: usize = 8;

/// The timeout of requests for committed offsets. Nothing is read during one, and closing waits for it.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// The delay after a retryable error.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The delay after an error that needs a change of the configuration or of privileges.
const RETRY_DENIED_AFTER: Duration = Duration::from_secs(10);

/// Each commit is a record in `__consumer_offsets`. Records after the last commit are read again after a crash.
const COMMIT_EVERY: Duration = Duration::from_millis(500);

/// Brokers delete committed offsets that are not renewed for days (offsets.retention.minutes).
const COMMIT_ALL_EVERY: Duration = Duration::from_secs(3600);

/// The time for closing: first for chunks that are about to be durable, then for the commit.
const CLOSE_CHUNKS_TIMEOUT: Duration = Duration::from_millis(300);
const CLOSE_TIMEOUT: Duration = Duration::from_millis(800);

pub(super) struct ReceiptsWorker {
    follow: Vec<String>,
    group: String,
    session: ConsumerSession,
    groups: GroupOffsets,
    updates: Arc<PartitionUpdates>,
    chunks: mpsc::Sender<ReceiptChunk>,
    /// A runtime for its timer only.
    timer: Runtime,
    metrics: Metrics,
    stop: Arc<AtomicBool>,
    partitions: ConsumedPartitions,
    polls: PollSchedule,
    builder: ChunkBuilder,
    commits: OffsetCommits,
    /// The tickets of chunks that are not durable yet, in order.
    open: VecDeque<(u64, oneshot::Receiver<ChunkOutcome>)>,
    due: Due,
    logged: LogOnce,
}

/// When each task is due.
struct Due {
    read_positions: Instant,
    commit: Instant,
    commit_all: Instant,
    renew: Instant,
}

impl ReceiptsWorker {
    pub(super) fn new(
        options: ReceiptsOptions,
        session: ConsumerSession,
        updates: Arc<PartitionUpdates>,
        chunks: mpsc::Sender<ReceiptChunk>,
        timer: Runtime,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let ReceiptsOptions { config, group, follow, metrics } = options;
        let now = Instant::now();
        ReceiptsWorker {
            partitions: ConsumedPartitions::new(!follow.is_empty()),
            follow,
            group,
            session,
            groups: GroupOffsets::new(config),
            updates,
            chunks,
            timer,
            metrics,
            stop,
            polls: PollSchedule::default(),
            builder: ChunkBuilder::default(),
            commits: OffsetCommits::default(),
            open: VecDeque::new(),
            due: Due { read_positions: now, commit: now, commit_all: now + COMMIT_ALL_EVERY, renew: now },
            logged: LogOnce::default(),
        }
    }

    /// Consumes until it is stopped or the write-back ends.
    pub(super) fn run(&mut self) {
        while !self.is_stopped() && self.turn().is_continue() {}
        self.close();
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn turn(&mut self) -> ControlFlow<()> {
        for new in self.updates.take_new() {
            self.partitions.add(new);
        }
        if self.updates.take_rewound() && self.partitions.rewind() {
            self.renew()?;
        }
        self.read_positions();
        self.poll_followed_groups();
        self.assign()?;
        self.take_outcomes()?;
        self.commit();
        match self.builder.time_left(Instant::now()) {
            Some(Duration::ZERO) => self.send_chunk(),
            left => {
                let turn = if self.open.is_empty() { TURN_MAX } else { TURN_MAX_WITH_CHUNKS };
                self.read(left.unwrap_or(turn).min(turn))
            }
        }
    }

    /// Reads the committed offsets of new partitions.
    fn read_positions(&mut self) {
        let now = Instant::now();
        let indexes = self.partitions.without_position();
        if indexes.is_empty() || now < self.due.read_positions {
            return;
        }
        match self.session.committed(&self.topic_partitions(&indexes), ANSWER_TIMEOUT) {
            Ok(offsets) => {
                self.logged.clear(&self.group);
                for (index, offset) in indexes.into_iter().zip(offsets) {
                    self.partitions.start_at(index, offset);
                    if let Some(offset) = offset {
                        self.commits.resume(index, offset);
                    }
                }
            }
            Err(error) => {
                let delay = if error.is_retryable() { RETRY_AFTER } else { RETRY_DENIED_AFTER };
                self.due.read_positions = now + delay;
                self.log_group_error(&self.group.clone(), &error);
            }
        }
    }

    /// Reads the committed offsets of the followed groups.
    fn poll_followed_groups(&mut self) {
        if self.follow.is_empty() {
            return;
        }
        let Some(scope) = self.polls.take_due(self.partitions.has_unread(), Instant::now()) else { return };
        let indexes = match scope {
            PollScope::Unread => self.partitions.unread(),
            PollScope::All => self.partitions.with_position(),
        };
        if indexes.is_empty() {
            return;
        }
        let partitions = self.topic_partitions(&indexes);
        let mut offsets = Vec::with_capacity(self.follow.len());
        for group in self.follow.clone() {
            if self.is_stopped() {
                return;
            }
            match self.groups.committed(&group, &partitions, ANSWER_TIMEOUT) {
                Ok(committed) => {
                    self.logged.clear(&group);
                    if scope == PollScope::All && committed.iter().all(Option::is_none) {
                        self.log_nothing_committed(&group);
                    }
                    offsets.push(committed);
                }
                // The minimum needs the offsets of every group.
                Err(error) => return self.log_group_error(&group, &error),
            }
        }
        for (index, min) in indexes.iter().zip(min_committed(indexes.len(), &offsets)) {
            self.partitions.set_min_committed(*index, min);
        }
    }

    fn assign(&mut self) -> ControlFlow<()> {
        let assignable = self.partitions.take_assignable();
        if assignable.is_empty() {
            return Continue(());
        }
        let partitions = assignable.iter().map(|(index, position)| (self.partitions.get(*index), *position));
        match self.session.assign(partitions) {
            Ok(()) => Continue(()),
            Err(error) => self.replace_consumer(&error),
        }
    }

    /// Takes the outcomes of durable chunks.
    fn take_outcomes(&mut self) -> ControlFlow<()> {
        while let Some((ticket, done)) = self.open.front_mut() {
            match done.try_recv() {
                Ok(outcome) => {
                    let ticket = *ticket;
                    self.open.pop_front();
                    self.chunk_done(ticket, outcome);
                }
                Err(oneshot::error::TryRecvError::Empty) => break,
                Err(oneshot::error::TryRecvError::Closed) => return self.write_back_ended(),
            }
        }
        Continue(())
    }

    /// Waits for the outcome of the oldest chunk, for `timeout` at most.
    fn wait_for_chunk(&mut self, timeout: Duration) -> ControlFlow<()> {
        let Some((ticket, done)) = self.open.front_mut() else { return Continue(()) };
        let ticket = *ticket;
        match self.timer.block_on(async { tokio::time::timeout(timeout, done).await }) {
            Ok(Ok(outcome)) => {
                self.open.pop_front();
                self.chunk_done(ticket, outcome);
                Continue(())
            }
            Ok(Err(_)) => self.write_back_ended(),
            Err(_) => Continue(()),
        }
    }

    fn chunk_done(&mut self, ticket: u64, outcome: ChunkOutcome) {
        self.metrics.receipts_without_effect.inc_by(outcome.idle);
        self.commits.mark_durable(ticket);
    }

    /// No further chunk will be durable.
    fn write_back_ended(&mut self) -> ControlFlow<()> {
        self.open.clear();
        Break(())
    }

    fn commit(&mut self) {
        let now = Instant::now();
        if let Some(line) = self.session.context().take_failed_commit() {
            self.due.commit = now + RETRY_DENIED_AFTER;
            self.commits.commit_all_again();
            match remedy_in(&line) {
                Some(remedy) if self.logged.is_new("commit") => {
                    tracing::warn!(
                        target: "kafka",
                        group = self.group,
                        error = line,
                        remedy,
                        "could not commit the offsets of receipts; retrying (logged once)"
                    );
                }
                // A coordinator that moves, or a deleted topic, whose offset is not needed.
                _ => tracing::debug!(target: "kafka", error = line, "commit failed"),
            }
        }
        if now >= self.due.commit_all {
            self.due.commit_all = now + COMMIT_ALL_EVERY;
            self.commits.commit_all_again();
        }
        if now >= self.due.commit && self.commits.is_due() {
            self.due.commit = now + COMMIT_EVERY;
            let positions = self.commits.take();
            self.commit_positions(&positions);
        }
    }

    fn commit_positions(&mut self, positions: &[(PartitionIndex, i64)]) {
        if positions.is_empty() {
            return;
        }
        let positions = positions.iter().map(|(index, end)| (self.partitions.get(*index), *end));
        if let Err(error) = self.session.commit(positions) {
            tracing::debug!(target: "kafka", %error, "commit was not accepted");
            self.commits.commit_all_again();
        }
    }

    /// Sends the chunk, or waits for room. Nothing is read before it is sent.
    fn send_chunk(&mut self) -> ControlFlow<()> {
        if self.builder.has_receipts() {
            if self.open.len() >= CHUNKS_MAX {
                return self.wait_for_chunk(TURN_MAX);
            }
            let room = async { tokio::time::timeout(TURN_MAX, self.chunks.reserve()).await };
            let permit = match self.timer.block_on(room) {
                Ok(Ok(permit)) => permit,
                Ok(Err(_)) => return Break(()),
                Err(_) => return Continue(()),
            };
            let (receipts, ends) = self.builder.take();
            let (done, is_done) = oneshot::channel();
            permit.send(ReceiptChunk { receipts, done });
            self.open.push_back((self.commits.sent(ends), is_done));
        } else {
            let (_, ends) = self.builder.take();
            let ticket = self.commits.sent(ends);
            self.commits.mark_durable(ticket);
        }
        Continue(())
    }

    /// Reads until the chunk is ready or no record arrives, for `timeout` at most.
    fn read(&mut self, timeout: Duration) -> ControlFlow<()> {
        let deadline = Instant::now() + timeout;
        loop {
            let now = Instant::now();
            let left = match self.builder.time_left(now) {
                Some(Duration::ZERO) => return Continue(()),
                Some(left) => left.min(deadline.saturating_duration_since(now)),
                None => deadline.saturating_duration_since(now),
            };
            // Destructured, because the message borrows the consumer.
            let ReceiptsWorker { session, partitions, builder, metrics, .. } = self;
            let error = match session.poll(left) {
                None if left.is_zero() => return Continue(()),
                None => None,
                Some(Ok(message)) => record_arrived(session, partitions, builder, metrics, &message),
                Some(Err(error)) => Some(error),
            };
            match error {
                None => {}
                Some(error @ (KafkaError::MessageConsumptionFatal(_) | KafkaError::Subscription(_))) => {
                    return self.replace_consumer(&error);
                }
                Some(error) => self.log_read_error(&error),
            }
        }
    }

    /// Replaces a consumer that failed, at most every ten seconds.
    fn replace_consumer(&mut self, error: &KafkaError) -> ControlFlow<()> {
        tracing::error!(target: "kafka", %error, "receipts consumer failed; replacing it");
        let now = Instant::now();
        while Instant::now() < self.due.renew {
            if self.is_stopped() {
                return Break(());
            }
            self.take_outcomes()?;
            self.timer.block_on(tokio::time::sleep(TURN_MAX));
        }
        self.due.renew = now + RETRY_DENIED_AFTER;
        self.renew()
    }

    /// Creates a new consumer. librdkafka's metadata of a topic outlives the topic: it ignores a leader of the recreated
    /// topic whose epoch is lower, and would never read from it.
    fn renew(&mut self) -> ControlFlow<()> {
        if let Err(error) = self.session.renew() {
            tracing::error!(target: "kafka", %error, "could not replace the receipts consumer");
            return Break(());
        }
        self.partitions.unassign_all();
        // The result of a commit in flight is lost.
        self.commits.commit_all_again();
        Continue(())
    }

    /// Commits the offsets of durable chunks and unassigns all partitions.
    fn close(&mut self) {
        let start = Instant::now();
        let left = |timeout: Duration| timeout.saturating_sub(start.elapsed());
        while !self.open.is_empty() && !left(CLOSE_CHUNKS_TIMEOUT).is_zero() {
            if self.wait_for_chunk(left(CLOSE_CHUNKS_TIMEOUT)).is_break() {
                break;
            }
        }
        let _ = self.session.unassign_all();
        let positions = self.commits.take();
        self.commit_positions(&positions);
        // The answer to a request on the same connection shows that the broker has processed the commit.
        let indexes: Vec<_> = positions.iter().map(|(index, _)| *index).collect();
        if let Err(error) = self.session.committed(&self.topic_partitions(&indexes), left(CLOSE_TIMEOUT)) {
            tracing::debug!(target: "kafka", %error, "the last offsets may not be committed");
        }
    }

    fn topic_partitions(&self, indexes: &[PartitionIndex]) -> Vec<TopicPartition> {
        indexes.iter().map(|index| topic_partition(self.partitions.get(*index))).collect()
    }

    fn log_nothing_committed(&mut self, group: &str) {
        if self.logged.is_new(format!("{group}: nothing committed")) {
            tracing::info!(
                target: "kafka",
                group,
                "followed group has committed no offset in any topic; no row becomes COMPLETE before it does; see receipts.follow in the configuration"
            );
        }
    }

    fn log_read_error(&mut self, error: &KafkaError) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        match remedy(code) {
            Some(remedy) if self.logged.is_new("read") => {
                tracing::warn!(
                    target: "kafka",
                    error = %code,
                    remedy,
                    "could not read receipts; retrying (logged once)"
                );
            }
            // Lost connections and deleted topics: librdkafka continues by itself.
            _ => tracing::debug!(target: "kafka", %error, "receipts consumer error"),
        }
    }

    fn log_group_error(&mut self, group: &str, error: &InspectError) {
        if !error.is_retryable() && self.logged.is_new(group) {
            tracing::warn!(
                target: "kafka",
                group,
                %error,
                "could not read committed offsets; no row becomes COMPLETE; retrying (logged once)"
            );
        } else {
            tracing::debug!(target: "kafka", group, %error, "could not read committed offsets");
        }
    }
}

/// Handles a record. Returns the error of unassigning its partition.
fn record_arrived(
    session: &ConsumerSession,
    partitions: &mut ConsumedPartitions,
    builder: &mut ChunkBuilder,
    metrics: &Metrics,
    message: &BorrowedMessage<'_>,
) -> Option<KafkaError> {
    let offset = message.offset();
    let index = partitions.find(message.topic(), message.partition())?;
    let arrival = partitions.record_arrived(index, offset);
    if matches!(arrival, Arrival::Consume | Arrival::ConsumeAndUnassign) {
        let record = RecordId::of(message);
        if record.is_none() {
            metrics.records_without_id.inc();
        }
        let (topic, partition) = topic_partition(partitions.get(index));
        let at = RecordPosition { topic, partition, offset };
        let receipt = record.map(|RecordId { id, by_request }| Receipt { id, at, by_request });
        builder.add(index, offset, receipt, Instant::now());
    }
    if matches!(arrival, Arrival::Unassign | Arrival::ConsumeAndUnassign) {
        return session.unassign(partitions.get(index)).err();
    }
    None
}
