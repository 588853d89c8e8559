//! The worker's thread.

use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use outbox::{Receipt, RecordPosition};
use rdkafka::Message as _;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use super::chunk_builder::Gathering;
use super::commits::{Commits, Index};
use super::lag_poll::{Round, Rounds, lows};
use super::partitions::{Arrival, Partitions};
use super::seen::News;
use super::session::{Session, named};
use super::{Counters, ReceiptsOptions};
use crate::consume::groups::{Groups, TopicPartition};
use crate::consume::inspect_error::{LookError, remedy, remedy_in};
use crate::record::record_id::RecordId;
use crate::write_back::receipt_chunk::{ChunkOutcome, ReceiptChunk};

/// How long the thread waits for one thing before it looks at the others.
const TURN: Duration = Duration::from_millis(100);

/// How soon it notices that a chunk is durable.
const TURN_WITH_CHUNKS: Duration = Duration::from_millis(20);

/// As long as this many chunks are not durable, no more is read.
const CHUNKS_MAX: usize = 8;

/// How long an answer about offsets is waited for. Nothing is read meanwhile, and the end waits as well.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// What was not answered is asked again after this time.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What needs a person is tried again at this pace.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Each commit is a record in the brokers' own log. What was not committed at a crash is read again.
const COMMIT_EVERY: Duration = Duration::from_millis(500);

/// The brokers forget offsets that are not committed for some days (offsets.retention.minutes).
const COMMIT_ALL_EVERY: Duration = Duration::from_secs(3600);

/// How long the end may take: some of it for chunks that are about to be durable, the rest for the commit.
const DONE_WITHIN: Duration = Duration::from_millis(300);
const END_WITHIN: Duration = Duration::from_millis(800);

pub(super) struct Worker {
    follow: Vec<String>,
    group: String,
    session: Session,
    groups: Groups,
    news: Arc<News>,
    chunks: mpsc::Sender<ReceiptChunk>,
    /// For its clock: a thread that waits with a limit.
    clock: Runtime,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    partitions: Partitions,
    rounds: Rounds,
    gathering: Gathering,
    commits: Commits,
    /// Chunks that are not durable yet, in their order.
    open: VecDeque<(u64, oneshot::Receiver<ChunkOutcome>)>,
    next: Next,
    /// What has been said and still holds.
    said: BTreeSet<String>,
}

/// When what is to be done next.
struct Next {
    place: Instant,
    commit: Instant,
    commit_all: Instant,
    renew: Instant,
}

impl Worker {
    pub(super) fn new(
        options: ReceiptsOptions,
        session: Session,
        news: Arc<News>,
        chunks: mpsc::Sender<ReceiptChunk>,
        clock: Runtime,
        counters: Arc<Counters>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let ReceiptsOptions { config, group, follow } = options;
        let now = Instant::now();
        Worker {
            partitions: Partitions::new(!follow.is_empty()),
            follow,
            group,
            session,
            groups: Groups::new(config),
            news,
            chunks,
            clock,
            counters,
            stop,
            rounds: Rounds::default(),
            gathering: Gathering::default(),
            commits: Commits::default(),
            open: VecDeque::new(),
            next: Next { place: now, commit: now, commit_all: now + COMMIT_ALL_EVERY, renew: now },
            said: BTreeSet::new(),
        }
    }

    /// Consumes until it is told to stop, or nobody takes receipts any more.
    pub(super) fn run(&mut self) {
        while !self.is_stopped() && self.turn().is_continue() {}
        self.end();
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn turn(&mut self) -> ControlFlow<()> {
        for new in self.news.take_new() {
            self.partitions.add(new);
        }
        if self.news.take_has_back() && self.partitions.go_back() {
            self.renew()?;
        }
        self.place();
        self.follow();
        self.take_up()?;
        self.settle()?;
        self.commit();
        match self.gathering.left(Instant::now()) {
            Some(Duration::ZERO) => self.hand_over(),
            left => {
                let turn = if self.open.is_empty() { TURN } else { TURN_WITH_CHUNKS };
                self.read(left.unwrap_or(turn).min(turn))
            }
        }
    }

    /// Learns from where the new partitions are to be read.
    fn place(&mut self) {
        let now = Instant::now();
        let unplaced = self.partitions.unplaced();
        if unplaced.is_empty() || now < self.next.place {
            return;
        }
        match self.session.committed(&self.names(&unplaced), ANSWER_WITHIN) {
            Ok(offsets) => {
                self.holds_no_more(&self.group.clone());
                for (index, offset) in unplaced.into_iter().zip(offsets) {
                    self.partitions.place(index, offset);
                    if let Some(offset) = offset {
                        self.commits.resume(index, offset);
                    }
                }
            }
            Err(error) => {
                let again = if error.is_transient() { ASK_AGAIN_AFTER } else { TRY_AGAIN_AFTER };
                self.next.place = now + again;
                self.say_error(&self.group.clone(), &error);
            }
        }
    }

    /// Learns how far the followed groups are.
    fn follow(&mut self) {
        if self.follow.is_empty() {
            return;
        }
        let Some(round) = self.rounds.due(self.partitions.has_unread(), Instant::now()) else { return };
        let asked = match round {
            Round::Unread => self.partitions.unread(),
            Round::All => self.partitions.placed(),
        };
        if asked.is_empty() {
            return;
        }
        let names = self.names(&asked);
        let mut offsets = Vec::with_capacity(self.follow.len());
        for group in self.follow.clone() {
            if self.is_stopped() {
                return;
            }
            match self.groups.committed(&group, &names, ANSWER_WITHIN) {
                Ok(committed) => {
                    self.holds_no_more(&group);
                    if round == Round::All && committed.iter().all(Option::is_none) {
                        self.say_nothing_consumed(&group);
                    }
                    offsets.push(committed);
                }
                // How far the others are is of no use without it.
                Err(error) => return self.say_error(&group, &error),
            }
        }
        for (index, low) in asked.iter().zip(lows(asked.len(), &offsets)) {
            self.partitions.reach(*index, low);
        }
    }

    fn take_up(&mut self) -> ControlFlow<()> {
        let taken = self.partitions.take_up();
        if taken.is_empty() {
            return Continue(());
        }
        let partitions = taken.iter().map(|(index, position)| (self.partitions.get(*index), *position));
        match self.session.take_up(partitions) {
            Ok(()) => Continue(()),
            Err(error) => self.mend(&error),
        }
    }

    /// Takes note of the chunks that are durable.
    fn settle(&mut self) -> ControlFlow<()> {
        while let Some((ticket, done)) = self.open.front_mut() {
            match done.try_recv() {
                Ok(receipted) => {
                    self.counters.add(receipted);
                    self.commits.done(*ticket);
                    self.open.pop_front();
                }
                Err(oneshot::error::TryRecvError::Empty) => break,
                Err(oneshot::error::TryRecvError::Closed) => return self.write_back_ended(),
            }
        }
        Continue(())
    }

    /// Waits until the oldest chunk is durable, for `within` at the longest.
    fn wait_for_chunk(&mut self, within: Duration) -> ControlFlow<()> {
        let Some((ticket, done)) = self.open.front_mut() else { return Continue(()) };
        let waited = self.clock.block_on(async { tokio::time::timeout(within, done).await });
        match waited {
            Ok(Ok(receipted)) => {
                self.counters.add(receipted);
                self.commits.done(*ticket);
                self.open.pop_front();
                Continue(())
            }
            Ok(Err(_)) => self.write_back_ended(),
            Err(_) => Continue(()),
        }
    }

    /// Nothing more will be durable.
    fn write_back_ended(&mut self) -> ControlFlow<()> {
        self.open.clear();
        Break(())
    }

    fn commit(&mut self) {
        let now = Instant::now();
        if let Some(said) = self.session.context().take_refused() {
            self.next.commit = now + TRY_AGAIN_AFTER;
            self.commits.again();
            match remedy_in(&said) {
                Some(remedy) => {
                    let what = format!("Kafka takes no commit of receipts as group {}", self.group);
                    self.say("commit", &format!("{what}: {said}; {remedy}"));
                }
                // A coordinator that moves; a topic that is gone needs no position.
                None => tracing::debug!(target: "kafka", "{said}"),
            }
        }
        if now >= self.next.commit_all {
            self.next.commit_all = now + COMMIT_ALL_EVERY;
            self.commits.again();
        }
        if now >= self.next.commit && self.commits.is_due() {
            self.next.commit = now + COMMIT_EVERY;
            let positions = self.commits.take();
            self.commit_positions(&positions);
        }
    }

    fn commit_positions(&mut self, positions: &[(Index, i64)]) {
        if positions.is_empty() {
            return;
        }
        let positions = positions.iter().map(|(index, end)| (self.partitions.get(*index), *end));
        if let Err(error) = self.session.commit(positions) {
            tracing::debug!(target: "kafka", "a commit was not taken: {error}");
            self.commits.again();
        }
    }

    /// Sends what has been gathered, when there is room; nothing is read before.
    fn hand_over(&mut self) -> ControlFlow<()> {
        if self.gathering.has_receipts() {
            if self.open.len() >= CHUNKS_MAX {
                return self.wait_for_chunk(TURN);
            }
            let room = async { tokio::time::timeout(TURN, self.chunks.reserve()).await };
            let permit = match self.clock.block_on(room) {
                Ok(Ok(permit)) => permit,
                Ok(Err(_)) => return Break(()),
                Err(_) => return Continue(()),
            };
            let (receipts, ends) = self.gathering.take();
            let (done, is_done) = oneshot::channel();
            permit.send(ReceiptChunk { receipts, done });
            self.open.push_back((self.commits.sent(ends), is_done));
        } else {
            let (_, ends) = self.gathering.take();
            let ticket = self.commits.sent(ends);
            self.commits.done(ticket);
        }
        Continue(())
    }

    /// Reads until there is a chunk to hand over or nothing comes, for `within` at the longest.
    fn read(&mut self, within: Duration) -> ControlFlow<()> {
        let deadline = Instant::now() + within;
        loop {
            let now = Instant::now();
            let left = match self.gathering.left(now) {
                Some(Duration::ZERO) => return Continue(()),
                Some(left) => left.min(deadline.saturating_duration_since(now)),
                None => deadline.saturating_duration_since(now),
            };
            // Taken apart, because a message lives no longer than its consumer is not changed.
            let Worker { session, partitions, gathering, counters, .. } = self;
            let failed = match session.poll(left) {
                None if left.is_zero() => return Continue(()),
                None => None,
                Some(Ok(message)) => take(session, partitions, gathering, counters, &message),
                Some(Err(error)) => Some(error),
            };
            match failed {
                None => {}
                Some(error @ (KafkaError::MessageConsumptionFatal(_) | KafkaError::Subscription(_))) => {
                    return self.mend(&error);
                }
                Some(error) => self.say_read_error(&error),
            }
        }
    }

    /// Starts anew with a consumer that does not do what it should.
    fn mend(&mut self, error: &KafkaError) -> ControlFlow<()> {
        tracing::error!(target: "kafka", "the receipts' consumer fails ({error}); a new one takes its place");
        let now = Instant::now();
        while Instant::now() < self.next.renew {
            if self.is_stopped() {
                return Break(());
            }
            self.settle()?;
            self.clock.block_on(tokio::time::sleep(TURN));
        }
        self.next.renew = now + TRY_AGAIN_AFTER;
        self.renew()
    }

    /// A new consumer. What librdkafka has learnt of a topic outlives the topic: its leader's epoch, for one,
    /// below which it does not believe in the new topic's leader and asks in vain for ever.
    fn renew(&mut self) -> ControlFlow<()> {
        if let Err(error) = self.session.renew() {
            tracing::error!(target: "kafka", "{error}");
            return Break(());
        }
        self.partitions.let_all_go();
        // A commit that was on its way is not heard of any more.
        self.commits.again();
        Continue(())
    }

    /// Commits what is durable and lets go of everything.
    fn end(&mut self) {
        let start = Instant::now();
        let left = |within: Duration| within.saturating_sub(start.elapsed());
        while !self.open.is_empty() && !left(DONE_WITHIN).is_zero() {
            if self.wait_for_chunk(left(DONE_WITHIN)).is_break() {
                break;
            }
        }
        let _ = self.session.let_all_go();
        let positions = self.commits.take();
        self.commit_positions(&positions);
        // The answer to a question that goes the same way as the commit: then the broker has taken that.
        let indexes: Vec<_> = positions.iter().map(|(index, _)| *index).collect();
        if let Err(error) = self.session.committed(&self.names(&indexes), left(END_WITHIN)) {
            tracing::debug!(target: "kafka", "the last positions may not be committed: {error}");
        }
    }

    fn names(&self, indexes: &[Index]) -> Vec<TopicPartition> {
        indexes.iter().map(|index| named(self.partitions.get(*index))).collect()
    }

    fn say_nothing_consumed(&mut self, group: &str) {
        let what = format!(
            "the followed group {group} has committed no offset in any topic of Postrider's: as long as it has not, no row becomes COMPLETE; see receipts.follow in the configuration"
        );
        if self.said.insert(format!("{group}: nothing consumed")) {
            tracing::info!(target: "kafka", "{what}");
        }
    }

    fn say_read_error(&mut self, error: &KafkaError) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        match remedy(code) {
            Some(remedy) => self.say("read", &format!("Kafka lets no receipts be read: {code}; {remedy}")),
            // Connections that come and go, topics that are deleted: librdkafka goes on by itself.
            None => tracing::debug!(target: "kafka", "receipts: {error}"),
        }
    }

    /// Says once that a question about a group failed.
    fn say_error(&mut self, group: &str, error: &LookError) {
        if error.is_transient() {
            tracing::debug!(target: "kafka", "{error}");
        } else {
            self.say(group, &format!("{error}; until then no row becomes COMPLETE"));
        }
    }

    fn say(&mut self, about: &str, what: &str) {
        if self.said.insert(about.to_owned()) {
            tracing::warn!(target: "kafka", "{what} (said once)");
        }
    }

    fn holds_no_more(&mut self, about: &str) {
        self.said.remove(about);
    }
}

/// A record has arrived. Returns what letting its partition go failed with, where it is to be let go.
fn take(
    session: &Session,
    partitions: &mut Partitions,
    gathering: &mut Gathering,
    counters: &Counters,
    message: &BorrowedMessage<'_>,
) -> Option<KafkaError> {
    let offset = message.offset();
    let index = partitions.find(message.topic(), message.partition())?;
    let arrival = partitions.arrives(index, offset);
    if matches!(arrival, Arrival::Next | Arrival::Last) {
        let record = RecordId::of(message);
        if record.is_none() {
            counters.without_id.fetch_add(1, Ordering::Relaxed);
        }
        let (topic, partition) = named(partitions.get(index));
        let at = RecordPosition { topic, partition, offset };
        let receipt = record.map(|RecordId { id, by_request }| Receipt { id, at, by_request });
        gathering.add(index, offset, receipt, Instant::now());
    }
    if matches!(arrival, Arrival::TooEarly | Arrival::Last) {
        return session.let_go(partitions.get(index)).err();
    }
    None
}
