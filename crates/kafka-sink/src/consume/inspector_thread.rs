//! The thread that answers the inspector's questions.

use std::thread;
use std::time::Duration;

use outbox::{LogBounds, RecordAtOffset};
use rdkafka::ClientConfig;
use tokio::sync::{mpsc, oneshot};

use crate::consume::groups::{GroupOffsets, TopicPartition};
use crate::consume::inspect_error::{InspectError, InspectErrorKind};
use crate::consume::partition_reader::PartitionReader;
use crate::consume::read_error::ReadError;

/// A first question also finds the brokers and connects, and a coordinator that has just moved loads its offsets.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long idle consumers are kept.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// The client id and the group id of the reader. The group commits nothing; a consumer needs one.
const READER_NAME: &str = "postrider-inspector";

type Answer<T> = oneshot::Sender<Result<T, InspectError>>;

/// A question and the channel for its answer.
pub(crate) enum Question {
    LogBounds { topic: String, partition: i32, answer: Answer<Option<LogBounds>> },
    Committed { group: String, partitions: Vec<TopicPartition>, answer: Answer<Vec<Option<i64>>> },
    Record { topic: String, partition: i32, offset: i64, answer: Answer<RecordAtOffset> },
}

impl Question {
    fn is_cancelled(&self) -> bool {
        match self {
            Question::LogBounds { answer, .. } => answer.is_closed(),
            Question::Committed { answer, .. } => answer.is_closed(),
            Question::Record { answer, .. } => answer.is_closed(),
        }
    }
}

pub(crate) struct InspectorThread {
    producer: ClientConfig,
    groups: GroupOffsets,
    reader: Option<PartitionReader>,
}

impl InspectorThread {
    /// Answers questions, in order, until the sender is dropped.
    pub(crate) fn start(producer: ClientConfig, mut questions: mpsc::Receiver<Question>) {
        let work = move || {
            // A runtime for its timer only.
            let Ok(timer) = tokio::runtime::Builder::new_current_thread().enable_time().build() else {
                return;
            };
            let mut inspector = InspectorThread::new(&producer);
            loop {
                let next = async { tokio::time::timeout(IDLE_MAX, questions.recv()).await };
                match timer.block_on(next) {
                    Ok(Some(question)) => inspector.answer(question),
                    Ok(None) => break,
                    Err(_) => inspector = InspectorThread::new(&producer),
                }
            }
        };
        if let Err(error) = thread::Builder::new().name("kafka-inspector".to_owned()).spawn(work) {
            tracing::error!(target: "kafka", %error, "could not start the thread that queries Kafka");
        }
    }

    fn new(producer: &ClientConfig) -> Self {
        InspectorThread {
            producer: producer.clone(),
            groups: GroupOffsets::new(producer.clone()),
            reader: None,
        }
    }

    fn answer(&mut self, question: Question) {
        if question.is_cancelled() {
            return;
        }
        match question {
            Question::LogBounds { topic, partition, answer } => {
                let _ = answer.send(self.read(|reader| reader.log_bounds(&topic, partition)));
            }
            Question::Committed { group, partitions, answer } => {
                let _ = answer.send(self.groups.committed(&group, &partitions, ANSWER_TIMEOUT));
            }
            Question::Record { topic, partition, offset, answer } => {
                let record =
                    self.read(|reader| reader.at(&topic, partition, offset, |content| content.record()));
                let _ = answer.send(record);
            }
        }
    }

    fn read<T>(
        &mut self,
        read: impl FnOnce(&mut PartitionReader) -> Result<T, ReadError>,
    ) -> Result<T, InspectError> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => {
                let mut config = self.producer.clone();
                config.set("client.id", READER_NAME);
                let reader = PartitionReader::for_single_records(&config, READER_NAME);
                reader.map_err(InspectErrorKind::Read)?.with_timeout(ANSWER_TIMEOUT)
            }
        };
        let answer = reader.reset().and_then(|()| read(&mut reader)).map_err(InspectErrorKind::Read)?;
        // After an error the reader is replaced: librdkafka keeps the leader epoch of a topic that was recreated, and
        // would never accept the new leader.
        reader.reset().map_err(InspectErrorKind::Read)?;
        self.reader = Some(reader);
        Ok(answer)
    }
}
