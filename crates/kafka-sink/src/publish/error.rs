//! Errors of the producer.

use std::sync::Arc;

use rdkafka::types::RDKafkaErrorCode as Code;

use crate::publish::error_class::{ErrorClass, producer_remedy};
use crate::record::rejection::Rejection;

/// Why [`Sink::publish`](crate::Sink::publish) did not accept an event.
#[derive(Clone, Debug)]
pub enum PublishError {
    /// The limit of records in flight is reached, or the producer has failed and the delivery reports with the cause
    /// are pending: publish the event again after [`Sink::reports`](crate::Sink::reports), which will return.
    QueueFull,
    /// This event cannot be published.
    Rejected(Rejection),
    /// The producer has failed and must be replaced by a new one.
    ProducerFailed(SinkError),
}

/// Why the producer has failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct SinkError(Arc<SinkErrorKind>);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SinkErrorKind {
    #[error("could not create the Kafka producer: {0}; see [kafka] in the configuration")]
    NotCreated(String),
    #[error("the Kafka producer failed: {reason}{}", producer_remedy(*code))]
    Fatal { code: Code, reason: String },
    #[error("the thread of the Kafka producer has ended, so no delivery report will arrive")]
    ThreadEnded,
    #[error(
        "topic {topic} was missing from Kafka's metadata after an outage or a change of the topic ({code}); a new producer will look it up again"
    )]
    TopicUncertain { topic: String, code: Code },
    #[error(
        "topic {topic} rejected a batch ({code}); its records will be sent one by one to find the rejected one{}",
        if ErrorClass::of(*code) == ErrorClass::TooLarge { OVERSIZE_HINT } else { "" }
    )]
    BatchRejected { topic: String, code: Code },
    #[error(
        "a record for topic {topic} was reported as delivered without an offset, which does not prove that it is stored"
    )]
    NoOffset { topic: String },
    #[error("a record for topic {topic} was not delivered: {code}{}", producer_remedy(*code))]
    Undelivered { topic: String, code: Code },
}

impl SinkError {
    /// Whether a new producer may succeed without a change of the configuration, privileges or brokers.
    pub fn is_retryable(&self) -> bool {
        match &*self.0 {
            SinkErrorKind::NotCreated(_) => false,
            SinkErrorKind::Fatal { code, .. } | SinkErrorKind::Undelivered { code, .. } => {
                producer_remedy(*code).is_empty()
            }
            SinkErrorKind::ThreadEnded
            | SinkErrorKind::NoOffset { .. }
            | SinkErrorKind::TopicUncertain { .. }
            | SinkErrorKind::BatchRejected { .. } => true,
        }
    }

    /// Whether a whole batch was rejected, so that the next sink must be a
    /// [`Sink::new_with_singles`](crate::Sink::new_with_singles): with batches, the broker may reject the same batch
    /// again without naming the record.
    pub fn needs_singles(&self) -> bool {
        matches!(&*self.0, SinkErrorKind::BatchRejected { .. })
    }
}

impl From<SinkErrorKind> for SinkError {
    fn from(kind: SinkErrorKind) -> Self {
        SinkError(Arc::new(kind))
    }
}

/// For a topic whose limit is below the batch size, which rejects batch after batch.
const OVERSIZE_HINT: &str =
    "; set batch.size of [kafka.properties] to no more than the topic's max.message.bytes, if that is lower";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sink_error_is_retryable_unless_it_has_a_remedy() {
        let error = |code| SinkError::from(SinkErrorKind::Fatal { code, reason: "no".to_owned() });
        let denied = error(Code::ClusterAuthorizationFailed);
        assert!(!denied.is_retryable());
        assert!(denied.to_string().contains("give Postrider's Kafka user"), "{denied}");
        for code in [Code::OutOfOrderSequenceNumber, Code::UnknownProducerId, Code::InvalidProducerEpoch] {
            assert!(error(code).is_retryable(), "{code}");
        }
        assert!(SinkError::from(SinkErrorKind::ThreadEnded).is_retryable());
    }
}
