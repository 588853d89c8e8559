//! What the reconciler asks Kafka.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use outbox_store::StoredPlace;
use uuid::Uuid;

/// What a partition holds at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The log's start: the first offset that has not been deleted.
    pub start: i64,
    /// The log's end: the offset that the next record gets.
    pub end: i64,
}

/// What is at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordAt {
    /// The record of the row with this id.
    Row(Uuid),
    /// A record that is no row's.
    Foreign,
    /// No record, although there may be some before and behind it.
    Absent,
}

/// Answers about topics. An answer is never a guess: whoever cannot be sure says [`BrokerAway`].
pub trait Broker: Send + Sync {
    /// The log of a partition; `None` if there is no such topic or partition.
    fn bounds(
        &self,
        topic: &str,
        partition: i32,
    ) -> impl Future<Output = Result<Option<Bounds>, BrokerAway>> + Send;

    /// Up to where each of these partitions was consumed by everybody who counts: the next offset. In their order;
    /// 0 where nothing was committed.
    fn committed(
        &self,
        partitions: &[(String, i32)],
    ) -> impl Future<Output = Result<Vec<i64>, BrokerAway>> + Send;

    /// What is at a place. [`RecordAt::Absent`] also where the log does not reach by now.
    fn record_at(&self, place: &StoredPlace) -> impl Future<Output = Result<RecordAt, BrokerAway>> + Send;
}

impl<B: Broker> Broker for Arc<B> {
    async fn bounds(&self, topic: &str, partition: i32) -> Result<Option<Bounds>, BrokerAway> {
        self.as_ref().bounds(topic, partition).await
    }

    async fn committed(&self, partitions: &[(String, i32)]) -> Result<Vec<i64>, BrokerAway> {
        self.as_ref().committed(partitions).await
    }

    async fn record_at(&self, place: &StoredPlace) -> Result<RecordAt, BrokerAway> {
        self.as_ref().record_at(place).await
    }
}

/// Kafka could not be asked, for this reason. It decides nothing about any row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAway(pub String);

impl fmt::Display for BrokerAway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BrokerAway {}
