//! Partitions read one after the other, by offset.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Headers as _, Message, OwnedMessage};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::consume::consumer::{Reader, ReaderContext, consumer_config};
use crate::record::topics;

/// Whoever waits is a person; a broker that fails over is back by then.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How long one call may take, so that the silence is noticed in time.
const TURN: Duration = Duration::from_millis(500);

/// Between two questions of which the first was not answered, or not for good.
const PAUSE: Duration = Duration::from_millis(250);

/// Up to so many records that nobody asks for are read through: as many have been sent ahead by the time that a
/// new start is answered.
const READ_THROUGH_MAX: i64 = 5000;

/// What is set otherwise than for other consumers of Postrider's.
const SETTINGS: [(&str, &str); 10] = [
    // To start elsewhere than asked is to miss what was asked for.
    ("auto.offset.reset", "error"),
    // Behind the last record there may be offsets without one (a transaction's end, what compaction took).
    ("enable.partition.eof", "true"),
    // An end is told after so long.
    ("fetch.wait.max.ms", "100"),
    ("check.crcs", "true"),
    // One partition after the other is read as fast as it comes; memory stays flat all the same.
    ("queued.min.messages", "100000"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.message.max.bytes", "1048576"),
    ("fetch.max.bytes", "4194304"),
    ("message.max.bytes", "1048576"),
    ("fetch.queue.backoff.ms", "5"),
];

/// Reads single records of partitions, each partition once and forward, with what Kafka sends ahead.
///
/// It joins no group and commits nothing. Its methods block, half a minute at most.
pub struct PartitionReader {
    consumer: Reader,
    topic: String,
    /// Those that the topic has; `None` if there is no such topic.
    partitions: Option<BTreeSet<i32>>,
    /// The one whose log is known.
    partition: Option<i32>,
    log: Range<i64>,
    position: Option<Position>,
    silence_max: Duration,
}

/// Where reading stands in the partition.
struct Position {
    /// What comes next is at this offset or behind it.
    next: i64,
    /// The record behind the offset that was asked for, with the first offset that is known to have none before it.
    ahead: Option<(i64, OwnedMessage)>,
    /// From this offset on there is no record.
    empty_from: Option<i64>,
}

/// What there is at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtOffset<'a> {
    /// A record.
    Record {
        /// Its header `id`; the first, if there are several.
        id: Option<&'a [u8]>,
        /// Its value; `None` for a tombstone.
        payload: Option<&'a [u8]>,
    },
    /// Nothing, although the log has begun before and ends later: compaction took it, or it was a transaction's end.
    Nothing,
    /// Nothing any more: the log begins later.
    BeforeStart {
        /// The first offset of the log.
        start: i64,
    },
    /// Nothing yet: the log ends before.
    BeyondEnd {
        /// The offset that the next record gets.
        end: i64,
    },
    /// There is no such partition.
    NoPartition,
    /// There is no such topic.
    NoTopic,
}

/// Why a partition cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// librdkafka refuses to serve.
    #[error("reading from Kafka: {0}; check kafka.properties")]
    Client(String),
    /// Nothing came for too long.
    #[error(
        "{} has not answered for {} s{}; check kafka.brokers and whether the partition has a leader",
        of(topic, *partition), silence.as_secs(), because(reason.as_deref())
    )]
    Silent {
        /// The topic.
        topic: String,
        /// The partition's number, if it was one of the topic's that did not answer.
        partition: Option<i32>,
        /// For how long.
        silence: Duration,
        /// What librdkafka said meanwhile.
        reason: Option<String>,
    },
    /// Kafka does not let it be read.
    #[error("topic {topic} cannot be read: {reason}; allow this principal DESCRIBE and READ on it")]
    Refused {
        /// The topic.
        topic: String,
        /// The broker's word.
        reason: String,
    },
}

fn of(topic: &str, partition: Option<i32>) -> String {
    partition.map_or_else(|| format!("topic {topic}"), |number| format!("topic {topic}, partition {number},"))
}

fn because(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}

impl PartitionReader {
    /// A reader with the connection of the producer's configuration, in the name of `group`. It connects to nothing
    /// yet.
    ///
    /// # Errors
    ///
    /// librdkafka does not take the configuration.
    pub fn new(producer: &ClientConfig, group: &str) -> Result<PartitionReader, ReadError> {
        let mut config = consumer_config(producer, group);
        for (name, value) in SETTINGS {
            config.set(name, value);
        }
        Ok(PartitionReader {
            consumer: config.create_with_context(ReaderContext::default()).map_err(client)?,
            topic: String::new(),
            partitions: Some(BTreeSet::new()),
            partition: None,
            log: 0..0,
            position: None,
            silence_max: SILENCE_MAX,
        })
    }

    /// Gives up after this silence instead of half a minute.
    #[must_use]
    pub fn with_silence_max(mut self, silence_max: Duration) -> Self {
        self.silence_max = silence_max;
        self
    }

    /// Shows `look` what there is at an offset of a partition. Within a partition, offsets are to be asked for in
    /// ascending order: for one that was passed, reading starts anew.
    ///
    /// # Errors
    ///
    /// That cannot be known: Kafka does not answer, or refuses.
    pub fn at<T>(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        look: impl FnOnce(AtOffset<'_>) -> T,
    ) -> Result<T, ReadError> {
        if self.topic != topic {
            topic.clone_into(&mut self.topic);
            self.partition = None;
            self.partitions = self.ask_for_partitions()?;
        }
        if self.partition != Some(partition) && self.has(partition) {
            self.partition = Some(partition);
            self.position = None;
            self.log = self.ask_for_log(partition)?;
        }
        self.read(partition, offset, look)
    }

    fn read<T>(
        &mut self,
        partition: i32,
        offset: i64,
        look: impl FnOnce(AtOffset<'_>) -> T,
    ) -> Result<T, ReadError> {
        let mut silence = Silence::new(self.silence_max);
        let mut keep = false;
        loop {
            if let Some(at) = self.known(partition, offset) {
                return Ok(look(at));
            }
            let next = self.position.as_ref().map(|position| position.next);
            let from = match next {
                Some(next) if (next..=next.saturating_add(READ_THROUGH_MAX)).contains(&offset) => next,
                next => {
                    // Rows that share a place would otherwise make for a start each.
                    keep = next.is_some_and(|next| offset < next);
                    self.start(partition, offset)?;
                    offset
                }
            };
            let position = self.position.get_or_insert_with(|| Position::at(from));
            match self.consumer.poll(TURN) {
                None => {}
                Some(Ok(message)) if message.partition() != partition || message.topic() != self.topic => {}
                Some(Ok(message)) => {
                    silence.broken();
                    let at = message.offset();
                    position.next = at + 1;
                    if at == offset && !keep {
                        return Ok(look(seen(&message)));
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
                    silence.said(&error);
                    match error.rdkafka_error_code() {
                        Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                            self.position = None;
                            self.log = self.ask_for_log(partition)?;
                        }
                        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
                            self.partitions = self.ask_for_partitions()?;
                        }
                        Some(Code::TopicAuthorizationFailed) => return Err(self.refused(&error.to_string())),
                        _ => {}
                    }
                }
            }
            silence.bear().map_err(|reason| self.silent(Some(partition), reason))?;
        }
    }

    /// What is at the offset, where that is known without reading on.
    fn known(&self, partition: i32, offset: i64) -> Option<AtOffset<'_>> {
        let Some(partitions) = &self.partitions else { return Some(AtOffset::NoTopic) };
        if !partitions.contains(&partition) {
            return Some(AtOffset::NoPartition);
        }
        if offset < self.log.start {
            return Some(AtOffset::BeforeStart { start: self.log.start });
        }
        if offset >= self.log.end {
            return Some(AtOffset::BeyondEnd { end: self.log.end });
        }
        let position = self.position.as_ref()?;
        if position.empty_from.is_some_and(|from| offset >= from) {
            return Some(AtOffset::Nothing);
        }
        let (from, record) = position.ahead.as_ref()?;
        match record.offset() {
            at if at == offset => Some(seen(record)),
            at if (*from..at).contains(&offset) => Some(AtOffset::Nothing),
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
    fn ask_for_partitions(&self) -> Result<Option<BTreeSet<i32>>, ReadError> {
        if topics::check(self.topic.as_bytes()).is_err() {
            return Ok(None);
        }
        let mut silence = Silence::new(self.silence_max);
        let mut is_sure = false;
        loop {
            match self.consumer.fetch_metadata(Some(&self.topic), silence.left()) {
                Err(error) => silence.said(&error),
                Ok(metadata) => {
                    let told = metadata.topics().iter().find(|topic| topic.name() == self.topic);
                    match told.map(|topic| (topic, topic.error().map(Code::from))) {
                        Some((topic, None)) => {
                            return Ok(Some(topic.partitions().iter().map(|of| of.id()).collect()));
                        }
                        Some((_, Some(code @ Code::TopicAuthorizationFailed))) => {
                            return Err(self.refused(&code.to_string()));
                        }
                        // A broker that has just started may not know all topics yet.
                        Some((_, Some(Code::UnknownTopicOrPartition | Code::UnknownTopic))) if !is_sure => {
                            is_sure = true;
                        }
                        Some((
                            _,
                            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::InvalidTopic),
                        ))
                        | None => return Ok(None),
                        Some((_, Some(code))) => silence.said(&code),
                    }
                }
            }
            self.pause();
            silence.bear().map_err(|reason| self.silent(None, reason))?;
        }
    }

    fn ask_for_log(&self, partition: i32) -> Result<Range<i64>, ReadError> {
        let mut silence = Silence::new(self.silence_max);
        loop {
            match self.consumer.fetch_watermarks(&self.topic, partition, silence.left()) {
                Ok((start, end)) => return Ok(start..end),
                Err(error) if error.rdkafka_error_code() == Some(Code::TopicAuthorizationFailed) => {
                    return Err(self.refused(&error.to_string()));
                }
                Err(error) => silence.said(&error),
            }
            self.pause();
            silence.bear().map_err(|reason| self.silent(Some(partition), reason))?;
        }
    }

    /// A moment, in which librdkafka says what it has to say. Nothing is lost: whoever asks starts reading anew.
    fn pause(&self) {
        let _ = self.consumer.poll(PAUSE);
    }

    fn silent(&self, partition: Option<i32>, reason: Option<String>) -> ReadError {
        ReadError::Silent { topic: self.topic.clone(), partition, silence: self.silence_max, reason }
    }

    fn refused(&self, reason: &str) -> ReadError {
        ReadError::Refused { topic: self.topic.clone(), reason: reason.to_owned() }
    }
}

impl Position {
    fn at(next: i64) -> Self {
        Position { next, ahead: None, empty_from: None }
    }
}

/// How long nothing has come, and what librdkafka had to say about it.
struct Silence {
    max: Duration,
    since: Instant,
    reason: Option<String>,
}

impl Silence {
    fn new(max: Duration) -> Self {
        Silence { max, since: Instant::now(), reason: None }
    }

    fn broken(&mut self) {
        self.since = Instant::now();
    }

    /// The cause of an outage is in the first words; that all brokers are down follows from it.
    fn said(&mut self, error: &impl fmt::Display) {
        self.reason.get_or_insert_with(|| error.to_string());
    }

    fn left(&self) -> Duration {
        self.max.saturating_sub(self.since.elapsed()).max(PAUSE)
    }

    fn bear(&mut self) -> Result<(), Option<String>> {
        if self.since.elapsed() < self.max { Ok(()) } else { Err(self.reason.take()) }
    }
}

fn client(error: KafkaError) -> ReadError {
    ReadError::Client(error.to_string())
}

fn seen(message: &impl Message) -> AtOffset<'_> {
    AtOffset::Record { id: id(message), payload: message.payload() }
}

fn id(message: &impl Message) -> Option<&[u8]> {
    let headers = message.headers()?;
    let find = || headers.iter().find(|header| header.key == "id")?.value;
    // rdkafka panics at a header's name that is not UTF-8. Any producer can write one, and it is none of ours.
    catch_unwind(AssertUnwindSafe(find)).ok().flatten()
}
