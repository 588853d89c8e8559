//! The thread that looks into Kafka.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};

use crate::consume::consumer::{Reader, ReaderContext, consumer_config};
use crate::consume::groups::{Groups, TopicPartition};
use crate::consume::inspect_error::{LookError, LookErrorKind, remedy};
use crate::consume::inspector::{Bounds, RecordAt};
use crate::record::record_id::RecordId;

/// How long a broker may take. A first request finds the brokers and connects before it, and a coordinator
/// that has just moved reads its offsets.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long consumers are kept for the next question.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// No group commits by this name; a consumer has to have one.
const READING_AS: &str = "postrider-looks";

type Answer<T> = oneshot::Sender<Result<T, LookError>>;

/// What is asked of the thread.
pub(crate) enum Question {
    Partition { topic: String, partition: i32, answer: Answer<Option<Bounds>> },
    Committed { group: String, partitions: Vec<TopicPartition>, answer: Answer<Vec<Option<i64>>> },
    Record { topic: String, partition: i32, offset: i64, answer: Answer<RecordAt> },
}

impl Question {
    /// Whether nobody waits for the answer any more.
    fn is_moot(&self) -> bool {
        match self {
            Question::Partition { answer, .. } => answer.is_closed(),
            Question::Committed { answer, .. } => answer.is_closed(),
            Question::Record { answer, .. } => answer.is_closed(),
        }
    }
}

pub(crate) struct Looker {
    producer: ClientConfig,
    groups: Groups,
    reader: Option<Reader>,
}

impl Looker {
    /// Answers until nobody can ask any more.
    pub(crate) fn start(producer: ClientConfig, mut questions: mpsc::Receiver<Question>) {
        let work = move || {
            // For its clock: a thread that waits with a limit.
            let Ok(clock) = tokio::runtime::Builder::new_current_thread().enable_time().build() else {
                return;
            };
            let mut looker = Looker::new(&producer);
            loop {
                let asked = async { tokio::time::timeout(KEPT_FOR, questions.recv()).await };
                match clock.block_on(asked) {
                    Ok(Some(question)) => looker.answer(question),
                    Ok(None) => break,
                    Err(_) => looker = Looker::new(&producer),
                }
            }
        };
        if let Err(error) = thread::Builder::new().name("kafka-looks".to_owned()).spawn(work) {
            tracing::error!(target: "kafka", "no thread to ask Kafka with: {error}");
        }
    }

    fn new(producer: &ClientConfig) -> Self {
        Looker { producer: producer.clone(), groups: Groups::new(producer.clone()), reader: None }
    }

    fn answer(&mut self, question: Question) {
        if question.is_moot() {
            return;
        }
        match question {
            Question::Partition { topic, partition, answer } => {
                let _ = answer.send(self.look(|reader| bounds(reader, &topic, partition)));
            }
            Question::Committed { group, partitions, answer } => {
                let _ = answer.send(self.groups.committed(&group, &partitions, ANSWER_WITHIN));
            }
            Question::Record { topic, partition, offset, answer } => {
                let _ = answer.send(self.look(|reader| record(reader, &topic, partition, offset)));
            }
        }
    }

    fn look<T>(&mut self, look: impl FnOnce(&Reader) -> Result<T, LookError>) -> Result<T, LookError> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => {
                let mut config = consumer_config(&self.producer, READING_AS);
                // There is no other record to be content with, and the end of the log is an answer.
                config.set("auto.offset.reset", "error").set("enable.partition.eof", "true");
                config.set("fetch.wait.max.ms", "50");
                let made = config.create_with_context(ReaderContext::default());
                made.map_err(|error| LookError::not_made(&error))?
            }
        };
        while reader.poll(Duration::ZERO).is_some() {}
        let seen = look(&reader);
        // librdkafka may hold on to what it knew of a topic that has been made anew, and ask in vain for ever.
        if seen.is_ok() {
            self.reader = Some(reader);
        }
        seen
    }
}

fn bounds(reader: &Reader, topic: &str, partition: i32) -> Result<Option<Bounds>, LookError> {
    let what = || format!("what partition {partition} of topic {topic} holds");
    let metadata = reader.fetch_metadata(Some(topic), ANSWER_WITHIN);
    let metadata = metadata.map_err(|error| LookError::of(what(), &error))?;
    let Some(told) = metadata.topics().iter().find(|told| told.name() == topic) else {
        let reason = "the answer does not mention the topic".to_owned();
        return Err(LookErrorKind::Unanswered { what: what(), reason }.into());
    };
    match told.error().map(Code::from) {
        None => {}
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopicId | Code::InvalidTopic) => return Ok(None),
        Some(code) => return Err(LookError::of_code(what(), code)),
    }
    if !told.partitions().iter().any(|told| told.id() == partition) {
        return Ok(None);
    }
    let (start, end) = reader
        .fetch_watermarks(topic, partition, ANSWER_WITHIN)
        .map_err(|error| LookError::of(what(), &error))?;
    Ok(Some(Bounds { start, end }))
}

/// What is at an offset that is within the bounds.
fn record(reader: &Reader, topic: &str, partition: i32, offset: i64) -> Result<RecordAt, LookError> {
    let what = || format!("the record at offset {offset} of partition {partition} of topic {topic}");
    let failed = |error: &KafkaError| LookError::of(what(), error);
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(topic, partition, Offset::Offset(offset))
        .map_err(|error| failed(&error))?;
    reader.assign(&assignment).map_err(|error| failed(&error))?;
    let found = first_from(reader, topic, partition, offset, &what);
    reader.unassign().map_err(|error| failed(&error))?;
    found
}

fn first_from(
    reader: &Reader,
    topic: &str,
    partition: i32,
    offset: i64,
    what: &dyn Fn() -> String,
) -> Result<RecordAt, LookError> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    let mut reason = "no answer in time".to_owned();
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        match reader.poll(left) {
            None => {}
            Some(Ok(message)) => {
                let is_there = message.partition() == partition && message.topic() == topic;
                if is_there && message.offset() == offset {
                    let record = RecordId::of(&message);
                    return Ok(record.map_or(RecordAt::Foreign, |record| RecordAt::Row(record.id)));
                }
                if is_there && message.offset() > offset {
                    return Ok(RecordAt::Absent);
                }
            }
            // Behind the last record there may be offsets without one.
            Some(Err(KafkaError::PartitionEOF(ended))) if ended == partition => return Ok(RecordAt::Absent),
            Some(Err(error)) => match error.rdkafka_error_code() {
                // Out of range: what it holds is to be asked again before anybody judges by it.
                Some(Code::AutoOffsetReset) => {
                    let reason = "the log was cut meanwhile".to_owned();
                    return Err(LookErrorKind::Unanswered { what: what(), reason }.into());
                }
                Some(code) if remedy(code).is_some() => return Err(LookError::of_code(what(), code)),
                _ => reason = error.to_string(),
            },
        }
    }
    Err(LookErrorKind::Unanswered { what: what(), reason }.into())
}
