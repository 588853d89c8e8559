//! What Kafka has of a record, and how far consumer groups are.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use outbox::{LogBounds, RecordAtOffset};
use rdkafka::ClientConfig;
use tokio::sync::{mpsc, oneshot};

use crate::consume::groups::TopicPartition;
use crate::consume::inspect_error::{InspectError, InspectErrorKind};
use crate::consume::inspector_thread::{InspectorThread, Question};

const QUESTIONS_MAX: usize = 16;

/// A broker that has just started may not have the metadata of all topics and partitions yet. A missing one is
/// confirmed by a second question after this time.
const CONFIRM_AFTER: Duration = Duration::from_millis(500);

/// Queries Kafka, one question at a time, on a thread of its own.
///
/// The thread and its consumers start with the first question. The consumers are closed after a minute without
/// questions, and in the background when this value is dropped. No question creates a topic or joins a group. A
/// question takes half a minute at most.
pub struct KafkaInspector {
    producer: ClientConfig,
    questions: OnceLock<mpsc::Sender<Question>>,
}

impl KafkaInspector {
    /// Uses the connection settings of the producer's configuration.
    pub fn new(producer: &ClientConfig) -> Self {
        KafkaInspector { producer: producer.clone(), questions: OnceLock::new() }
    }

    /// The bounds of a partition's log; `None` if there certainly is no such topic or partition.
    ///
    /// # Errors
    ///
    /// Kafka did not answer, or denies the question.
    pub async fn log_bounds(&self, topic: &str, partition: i32) -> Result<Option<LogBounds>, InspectError> {
        let ask = || {
            let topic = topic.to_owned();
            self.ask(move |answer| Question::LogBounds { topic, partition, answer })
        };
        if let bounds @ Some(_) = ask().await? {
            return Ok(bounds);
        }
        tokio::time::sleep(CONFIRM_AFTER).await;
        ask().await
    }

    /// The offsets that `group` has committed, in the order of `partitions`; `None` where it has committed none, as in
    /// every partition if the group does not exist.
    ///
    /// # Errors
    ///
    /// Kafka did not answer, or denies the question.
    pub async fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<i64>>, InspectError> {
        let (group, partitions) = (group.to_owned(), partitions.to_vec());
        self.ask(move |answer| Question::Committed { group, partitions, answer }).await
    }

    /// Which row's record is at this offset.
    ///
    /// The log may be truncated, or the topic recreated, at any time: read [`log_bounds`](Self::log_bounds) after
    /// [`RecordAtOffset::Absent`] before concluding that there was a record.
    ///
    /// # Errors
    ///
    /// Kafka did not answer, or denies the question.
    pub async fn record_at(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<RecordAtOffset, InspectError> {
        let topic = topic.to_owned();
        self.ask(move |answer| Question::Record { topic, partition, offset, answer }).await
    }

    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<Result<T, InspectError>>) -> Question,
    ) -> Result<T, InspectError> {
        let (answer, answered) = oneshot::channel();
        let questions = self.questions.get_or_init(|| {
            let (sender, questions) = mpsc::channel(QUESTIONS_MAX);
            // Without a thread, the questions are dropped with the closure, and with them the senders of the answers.
            InspectorThread::start(self.producer.clone(), questions);
            sender
        });
        let ended = || InspectError::from(InspectErrorKind::ThreadEnded);
        questions.send(question(answer)).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

impl fmt::Debug for KafkaInspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration contains secrets.
        f.debug_struct("KafkaInspector").finish_non_exhaustive()
    }
}
