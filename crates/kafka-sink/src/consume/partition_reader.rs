//! Reads records by offset.

use std::collections::BTreeSet;
use std::time::Duration;

use outbox::LogBounds;
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Message as _, OwnedMessage};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::consume::answer_deadline::AnswerDeadline;
use crate::consume::consumer::{LoggedConsumer, LoggingContext, consumer_config};
use crate::consume::offset_content::OffsetContent;
use crate::consume::read_error::ReadError;
use crate::record::topics;

/// Long enough for a broker failover, short enough for an interactive command.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest blocking call, so that the timeout is noticed in time.
const POLL_MAX: Duration = Duration::from_millis(500);

/// Between two attempts at a question that was not answered, or whose answer has to be confirmed.
const PAUSE: Duration = Duration::from_millis(250);

/// At most this many records are skipped by reading. That many have been prefetched by the time a fetch from a new
/// offset is answered.
const SKIP_BY_READING_MAX: i64 = 5000;

/// Settings that differ from [`consumer_config`].
const SETTINGS: [(&str, &str); 4] = [
    // A reset would skip the offset in question.
    ("auto.offset.reset", "error"),
    // Offsets without a record may follow the last record: the end of a transaction, or what compaction removed.
    ("enable.partition.eof", "true"),
    // The end of the partition is reported after this time.
    ("fetch.wait.max.ms", "100"),
    ("check.crcs", "true"),
];

/// For reading whole partitions as fast as they come, with bounded memory.
const PREFETCH: [(&str, &str); 6] = [
    ("queued.min.messages", "100000"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.message.max.bytes", "1048576"),
    ("fetch.max.bytes", "4194304"),
    ("message.max.bytes", "1048576"),
    ("fetch.queue.backoff.ms", "5"),
];

/// Reads records by offset. The offsets of a partition are read fastest in ascending order, partition by partition.
///
/// It joins no group and commits nothing. Its methods block, half a minute at most.
pub struct PartitionReader {
    consumer: LoggedConsumer,
    topic: String,
    /// The partitions of the topic; `None` if there is no such topic.
    partitions: Option<BTreeSet<i32>>,
    /// The partition that `log` and `position` are about.
    partition: Option<i32>,
    log: LogBounds,
    position: Option<Position>,
    timeout: Duration,
}

/// The position of the consumer in the partition.
struct Position {
    /// The next record is at this offset or after it.
    next: i64,
    /// The first record after the requested offset, with an offset from which on there is none before it.
    ahead: Option<(i64, OwnedMessage)>,
    /// From this offset on there is no record.
    empty_from: Option<i64>,
}

impl PartitionReader {
    /// A reader with the connection settings of the producer's configuration, as consumer group `group`. It prefetches
    /// records. It connects with the first read.
    ///
    /// # Errors
    ///
    /// librdkafka rejects the configuration.
    pub fn new(producer: &ClientConfig, group: &str) -> Result<PartitionReader, ReadError> {
        Self::with_settings(producer, group, PREFETCH)
    }

    /// A reader of single records, which prefetches little.
    pub(crate) fn for_single_records(producer: &ClientConfig, group: &str) -> Result<Self, ReadError> {
        Self::with_settings(producer, group, [("fetch.wait.max.ms", "50")])
    }

    fn with_settings<const N: usize>(
        producer: &ClientConfig,
        group: &str,
        settings: [(&str, &str); N],
    ) -> Result<PartitionReader, ReadError> {
        let mut config = consumer_config(producer, group);
        for (name, value) in SETTINGS.into_iter().chain(settings) {
            config.set(name, value);
        }
        Ok(PartitionReader {
            consumer: config.create_with_context(LoggingContext::default()).map_err(client)?,
            topic: String::new(),
            partitions: Some(BTreeSet::new()),
            partition: None,
            log: LogBounds { start: 0, end: 0 },
            position: None,
            timeout: TIMEOUT,
        })
    }

    /// Sets the timeout, which is half a minute by default.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Calls `inspect` with what the partition has at the offset. The bounds of a log are read once per partition; an
    /// offset before the last one restarts the fetch.
    ///
    /// # Errors
    ///
    /// The timeout passed, or Kafka denies the read.
    pub fn at<T>(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        inspect: impl FnOnce(OffsetContent<'_>) -> T,
    ) -> Result<T, ReadError> {
        self.select(topic, partition)?;
        self.read(partition, offset, inspect)
    }

    /// The bounds of a partition's log; `None` if there is no such topic or partition.
    ///
    /// # Errors
    ///
    /// The timeout passed, or Kafka denies the question.
    pub(crate) fn log_bounds(&mut self, topic: &str, partition: i32) -> Result<Option<LogBounds>, ReadError> {
        self.select(topic, partition)?;
        Ok(self.has(partition).then_some(self.log))
    }

    /// Stops fetching, and forgets what was read of topics and partitions.
    pub(crate) fn reset(&mut self) -> Result<(), ReadError> {
        self.topic.clear();
        self.partition = None;
        if self.position.take().is_some() {
            self.consumer.unassign().map_err(client)?;
        }
        while self.consumer.poll(Duration::ZERO).is_some() {}
        Ok(())
    }

    fn select(&mut self, topic: &str, partition: i32) -> Result<(), ReadError> {
        if self.topic != topic {
            topic.clone_into(&mut self.topic);
            self.partition = None;
            self.partitions = self.fetch_partitions()?;
        }
        if self.partition != Some(partition) && self.has(partition) {
            self.partition = Some(partition);
            self.position = None;
            self.log = self.fetch_log_bounds(partition)?;
        }
        Ok(())
    }

    fn read<T>(
        &mut self,
        partition: i32,
        offset: i64,
        inspect: impl FnOnce(OffsetContent<'_>) -> T,
    ) -> Result<T, ReadError> {
        let mut deadline = AnswerDeadline::new(self.timeout);
        let mut keep = false;
        loop {
            if let Some(content) = self.known(partition, offset) {
                return Ok(inspect(content));
            }
            let next = self.position.as_ref().map(|position| position.next);
            let from = match next {
                Some(next) if (next..=next.saturating_add(SKIP_BY_READING_MAX)).contains(&offset) => next,
                next => {
                    // Kept, because rows that share an offset would otherwise restart the fetch each.
                    keep = next.is_some_and(|next| offset < next);
                    self.start(partition, offset)?;
                    offset
                }
            };
            let position = self.position.get_or_insert_with(|| Position::at(from));
            match self.consumer.poll(POLL_MAX) {
                None => {}
                Some(Ok(message)) if message.partition() != partition || message.topic() != self.topic => {}
                Some(Ok(message)) => {
                    deadline.extend();
                    let at = message.offset();
                    position.next = at + 1;
                    if at == offset && !keep {
                        return Ok(inspect(OffsetContent::of(&message)));
                    }
                    position.ahead = (at >= offset).then(|| (from, message.detach()));
                    continue;
                }
                Some(Err(KafkaError::PartitionEOF(of))) => {
                    if of == partition {
                        position.empty_from = Some(from);
                    }
                    continue;
                }
                Some(Err(error)) => {
                    deadline.note(&error);
                    match error.rdkafka_error_code() {
                        Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                            self.position = None;
                            self.log = self.fetch_log_bounds(partition)?;
                        }
                        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
                            self.partitions = self.fetch_partitions()?;
                        }
                        Some(Code::TopicAuthorizationFailed) => return Err(self.denied(&error.to_string())),
                        _ => {}
                    }
                }
            }
            deadline.check().map_err(|reason| self.timed_out(Some(partition), reason))?;
        }
    }

    /// What the partition has at the offset, if no more has to be read for it.
    fn known(&self, partition: i32, offset: i64) -> Option<OffsetContent<'_>> {
        let Some(partitions) = &self.partitions else { return Some(OffsetContent::NoTopic) };
        if !partitions.contains(&partition) {
            return Some(OffsetContent::NoPartition);
        }
        if offset < self.log.start {
            return Some(OffsetContent::BeforeStart { start: self.log.start });
        }
        if offset >= self.log.end {
            return Some(OffsetContent::BeyondEnd { end: self.log.end });
        }
        let position = self.position.as_ref()?;
        if position.empty_from.is_some_and(|from| offset >= from) {
            return Some(OffsetContent::NoRecord);
        }
        let (from, record) = position.ahead.as_ref()?;
        match record.offset() {
            at if at == offset => Some(OffsetContent::of(record)),
            at if (*from..at).contains(&offset) => Some(OffsetContent::NoRecord),
            _ => None,
        }
    }

    fn has(&self, partition: i32) -> bool {
        self.partitions.as_ref().is_some_and(|partitions| partitions.contains(&partition))
    }

    fn start(&mut self, partition: i32, offset: i64) -> Result<(), ReadError> {
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(&self.topic, partition, Offset::Offset(offset))
            .and_then(|()| self.consumer.assign(&assignment))
            .map_err(client)?;
        self.position = Some(Position::at(offset));
        Ok(())
    }

    /// The topic's partitions; `None` if there is no such topic.
    fn fetch_partitions(&self) -> Result<Option<BTreeSet<i32>>, ReadError> {
        if topics::check(self.topic.as_bytes()).is_err() {
            return Ok(None);
        }
        let mut deadline = AnswerDeadline::new(self.timeout);
        let mut is_confirmed = false;
        loop {
            match self.consumer.fetch_metadata(Some(&self.topic), deadline.left(PAUSE)) {
                Err(error) => deadline.note(&error),
                Ok(metadata) => {
                    let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic);
                    match topic.map(|topic| (topic, topic.error().map(Code::from))) {
                        Some((topic, None)) => {
                            return Ok(Some(topic.partitions().iter().map(|of| of.id()).collect()));
                        }
                        Some((_, Some(code @ Code::TopicAuthorizationFailed))) => {
                            return Err(self.denied(&code.to_string()));
                        }
                        // A broker that has just started may not have the metadata of all topics yet.
                        Some((_, Some(Code::UnknownTopicOrPartition | Code::UnknownTopic)))
                            if !is_confirmed =>
                        {
                            is_confirmed = true;
                        }
                        Some((
                            _,
                            Some(
                                Code::UnknownTopicOrPartition
                                | Code::UnknownTopic
                                | Code::UnknownTopicId
                                | Code::InvalidTopic,
                            ),
                        )) => return Ok(None),
                        Some((_, Some(code))) => deadline.note(&code),
                        None => deadline.note(&"the answer does not mention the topic"),
                    }
                }
            }
            self.pause();
            deadline.check().map_err(|reason| self.timed_out(None, reason))?;
        }
    }

    fn fetch_log_bounds(&self, partition: i32) -> Result<LogBounds, ReadError> {
        let mut deadline = AnswerDeadline::new(self.timeout);
        loop {
            match self.consumer.fetch_watermarks(&self.topic, partition, deadline.left(PAUSE)) {
                Ok((start, end)) => return Ok(LogBounds { start, end }),
                Err(error) if error.rdkafka_error_code() == Some(Code::TopicAuthorizationFailed) => {
                    return Err(self.denied(&error.to_string()));
                }
                Err(error) => deadline.note(&error),
            }
            self.pause();
            deadline.check().map_err(|reason| self.timed_out(Some(partition), reason))?;
        }
    }

    /// Waits, and serves librdkafka's callbacks. A record that arrives is fetched again: reading starts with a new
    /// assignment.
    fn pause(&self) {
        let _ = self.consumer.poll(PAUSE);
    }

    fn timed_out(&self, partition: Option<i32>, reason: Option<String>) -> ReadError {
        ReadError::Timeout { topic: self.topic.clone(), partition, timeout: self.timeout, reason }
    }

    fn denied(&self, reason: &str) -> ReadError {
        ReadError::Denied { topic: self.topic.clone(), reason: reason.to_owned() }
    }
}

impl Position {
    fn at(next: i64) -> Self {
        Position { next, ahead: None, empty_from: None }
    }
}

fn client(error: KafkaError) -> ReadError {
    ReadError::Client(error.to_string())
}
