//! What Kafka has of a record and how far its consumers are: the evidence on which rows are judged.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rdkafka::ClientConfig;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::consume::groups::TopicPartition;
use crate::consume::inspect_error::{LookError, LookErrorKind};
use crate::consume::looker::{Looker, Question};

/// Who asks waits for the answers before his.
const QUESTIONS_MAX: usize = 16;

/// A broker that has just started may not know all topics yet, so that one of them missing is believed when it
/// is still missing after this time.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Looks into Kafka, one look at a time, on a thread of its own.
///
/// The thread and its consumers come with the first look. The consumers are let go when nobody has asked for a
/// minute, and end with this value, in the background. No look makes a topic or joins a group. A look takes
/// half a minute at the longest.
pub struct KafkaLooks {
    producer: ClientConfig,
    questions: OnceLock<mpsc::Sender<Question>>,
}

/// The records that a partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The log start: the offset of the oldest record, or `end` where there is none.
    pub start: i64,
    /// The offset that the next record gets.
    pub end: i64,
}

impl Bounds {
    /// Whether a record at `offset` is in the log, unless compaction took it.
    pub fn contains(self, offset: i64) -> bool {
        (self.start..self.end).contains(&offset)
    }
}

/// What is at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordAt {
    /// The record of the row with this id.
    Row(Uuid),
    /// A record that is no row's: another producer's, or a dead letter.
    Foreign,
    /// No record: compaction took it, it is a transaction's end, or the log does not reach there.
    Absent,
}

impl KafkaLooks {
    /// Looks with the connection of the producer's configuration.
    pub fn new(producer: &ClientConfig) -> Self {
        KafkaLooks { producer: producer.clone(), questions: OnceLock::new() }
    }

    /// What the partition holds; `None` when there is no such topic or partition, for certain.
    ///
    /// # Errors
    ///
    /// Kafka could not be asked, or does not tell.
    pub async fn partition(&self, topic: &str, partition: i32) -> Result<Option<Bounds>, LookError> {
        let look = || {
            let topic = topic.to_owned();
            self.ask(move |answer| Question::Partition { topic, partition, answer })
        };
        if let bounds @ Some(_) = look().await? {
            return Ok(bounds);
        }
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
        look().await
    }

    /// The offsets that `group` has committed, in the order of `partitions`: `None` where it has committed
    /// none. A group that does not exist has none at all.
    ///
    /// # Errors
    ///
    /// Kafka could not be asked, or does not tell.
    pub async fn committed(
        &self,
        group: &str,
        partitions: &[(Arc<str>, i32)],
    ) -> Result<Vec<Option<i64>>, LookError> {
        let group = group.to_owned();
        let partitions: Vec<TopicPartition> = partitions.to_vec();
        self.ask(move |answer| Question::Committed { group, partitions, answer }).await
    }

    /// What is at exactly this offset.
    ///
    /// The log may be cut, or made anew, at any time: whoever concludes from [`RecordAt::Absent`] that a record was
    /// there asks for the bounds afterwards.
    ///
    /// # Errors
    ///
    /// Kafka could not be asked, or does not tell.
    pub async fn record_at(&self, topic: &str, partition: i32, offset: i64) -> Result<RecordAt, LookError> {
        match self.partition(topic, partition).await? {
            Some(bounds) if bounds.contains(offset) => {}
            _ => return Ok(RecordAt::Absent),
        }
        let topic = topic.to_owned();
        self.ask(move |answer| Question::Record { topic, partition, offset, answer }).await
    }

    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<Result<T, LookError>>) -> Question,
    ) -> Result<T, LookError> {
        let (answer, answered) = oneshot::channel();
        let questions = self.questions.get_or_init(|| {
            let (sender, questions) = mpsc::channel(QUESTIONS_MAX);
            // Where there is no thread, the questions are dropped with the closure and so is every answer.
            Looker::start(self.producer.clone(), questions);
            sender
        });
        let gone = || LookError::from(LookErrorKind::Gone);
        questions.send(question(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl fmt::Debug for KafkaLooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration has secrets.
        f.debug_struct("KafkaLooks").finish_non_exhaustive()
    }
}
