//! The questions that the reconciler asks Kafka.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use outbox::RecordPosition;
use outbox::{LogBounds, RecordAtOffset};

/// Reads the evidence about records from Kafka. Every answer is certain; what cannot be read is an
/// [`EvidenceUnavailable`].
pub trait KafkaEvidence: Send + Sync {
    /// The offsets of a partition; `None` if the topic or partition does not exist.
    fn bounds(
        &self,
        topic: &str,
        partition: i32,
    ) -> impl Future<Output = Result<Option<LogBounds>, EvidenceUnavailable>> + Send;

    /// The offset up to which every group that counts has consumed each of these partitions: the lowest next offset,
    /// in the order of `partitions`; 0 where a group has committed nothing.
    fn committed(
        &self,
        partitions: &[(String, i32)],
    ) -> impl Future<Output = Result<Vec<i64>, EvidenceUnavailable>> + Send;

    /// The record at a position; [`RecordAtOffset::Absent`] also outside the bounds of the partition.
    fn record_at(
        &self,
        place: &RecordPosition,
    ) -> impl Future<Output = Result<RecordAtOffset, EvidenceUnavailable>> + Send;
}

impl<E: KafkaEvidence> KafkaEvidence for Arc<E> {
    async fn bounds(&self, topic: &str, partition: i32) -> Result<Option<LogBounds>, EvidenceUnavailable> {
        self.as_ref().bounds(topic, partition).await
    }

    async fn committed(&self, partitions: &[(String, i32)]) -> Result<Vec<i64>, EvidenceUnavailable> {
        self.as_ref().committed(partitions).await
    }

    async fn record_at(&self, place: &RecordPosition) -> Result<RecordAtOffset, EvidenceUnavailable> {
        self.as_ref().record_at(place).await
    }
}

/// Kafka could not be read, for this reason. Nothing follows from it for any row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceUnavailable(pub String);

impl fmt::Display for EvidenceUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EvidenceUnavailable {}
