//! What Kafka's error codes mean for a record and for the producer.

use std::sync::Arc;

use outbox::Token;
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::record::rejection::Refusal;

/// Where the broker stored a record of a known topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOffset {
    /// The partition's number.
    pub partition: i32,
    /// The record's offset; negative if it is unknown, see [`outbox::RecordPosition::offset`].
    pub offset: i64,
}

/// What became of a record handed to the producer.
#[derive(Clone, Debug)]
pub struct Report {
    /// The event's token.
    pub token: Token,
    /// Where the broker stored the record, or why it did not.
    pub outcome: Result<PartitionOffset, Failure>,
}

/// Why a record was not stored.
#[derive(Clone, Debug)]
pub enum Failure {
    /// It concerns this record or its topic, and trying again is of no use.
    Refused(Refusal),
    /// It concerns the producer. The record may or may not be stored; it is to be published by a new producer,
    /// and so is everything else of this one that has no report yet.
    Lost(SinkError),
}

/// Why an event was not taken by [`Sink::publish`](crate::Sink::publish).
#[derive(Clone, Debug)]
pub enum PublishError {
    /// As much is in flight as may be, or the producer has given up and the reports that say why are still to
    /// be taken: the same event is to be offered again after [`Sink::reports`](crate::Sink::reports), which is
    /// sure to return.
    Full,
    /// This event cannot be published.
    Refused(Refusal),
    /// The producer is of no use any more: a new one is to take its place.
    Broken(SinkError),
}

/// Why a producer is of no use any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct SinkError(Arc<SinkErrorKind>);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SinkErrorKind {
    #[error("the Kafka producer cannot be made: {0}; see [kafka] in the configuration")]
    NotMade(String),
    #[error("the Kafka producer gave up: {reason}{}", remedy(*code))]
    Fatal { code: Code, reason: String },
    #[error("the Kafka producer's own thread has ended, so deliveries cannot be learnt of any more")]
    Gone,
    #[error(
        "topic {topic} was not there when Kafka was asked for it after an outage or a change of the topic ({code}); a new producer is to ask again"
    )]
    TopicUnsure { topic: String, code: Code },
    #[error(
        "topic {topic} refused a batch ({code}); its records are to be sent one by one, which tells which of them it was{}",
        if fault(*code) == Fault::TooLarge { OVERSIZE_HINT } else { "" }
    )]
    Batch { topic: String, code: Code },
    #[error("a record for topic {topic} was not delivered: {code}{}", remedy(*code))]
    Undelivered { topic: String, code: Code },
}

impl SinkError {
    /// Whether a new producer can be expected to fare better, without anybody's doing.
    pub fn is_transient(&self) -> bool {
        match &*self.0 {
            SinkErrorKind::NotMade(_) => false,
            SinkErrorKind::Fatal { code, .. } | SinkErrorKind::Undelivered { code, .. } => {
                remedy(*code).is_empty()
            }
            SinkErrorKind::Gone | SinkErrorKind::TopicUnsure { .. } | SinkErrorKind::Batch { .. } => true,
        }
    }

    /// Whether a whole batch was refused, so that the next sink is to be a
    /// [`Sink::new_with_singles`](crate::Sink::new_with_singles): one with usual batches may meet the same
    /// refusal again without learning whose it is.
    pub fn needs_singles(&self) -> bool {
        matches!(&*self.0, SinkErrorKind::Batch { .. })
    }
}

impl From<SinkErrorKind> for SinkError {
    fn from(kind: SinkErrorKind) -> Self {
        SinkError(Arc::new(kind))
    }
}

/// For a topic whose limit is below the size of batches, which then are refused again and again.
const OVERSIZE_HINT: &str =
    "; set batch.size of [kafka.properties] to no more than the topic's max.message.bytes, if that is lower";

/// What a person has to do about a code that concerns the producer; empty where a new producer does.
fn remedy(code: Code) -> &'static str {
    match code {
        Code::ClusterAuthorizationFailed | Code::TransactionalIdAuthorizationFailed => {
            "; give Postrider's Kafka user the right to write to its topics (and IdempotentWrite on the cluster, for brokers before 2.8)"
        }
        Code::UnsupportedFeature | Code::UnsupportedVersion => {
            "; the brokers are too old for an idempotent producer, which needs Kafka 0.11 or later"
        }
        Code::UnsupportedCompressionType => {
            "; set compression.type of [kafka.properties] to one that the brokers know"
        }
        Code::InvalidRequiredAcks => "; the brokers take no acks=all; look into their configuration",
        _ => "",
    }
}

/// What an error code of a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The record, or the batch it was in, is too large.
    TooLarge,
    /// The topic takes no record of ours; the text is the remedy.
    Topic(&'static str),
    /// A record of the batch is not acceptable; the text is the remedy.
    Record(&'static str),
    /// The topic is not there.
    NoTopic,
    /// The producer, the connection or the cluster is at fault, not the record.
    Producer,
}

/// Sorts the error codes of records (librdkafka's own and those of the Kafka protocol, "Error Codes").
///
/// What is not known to concern the record counts as the producer's: nothing is given up for a code that a
/// later librdkafka or broker may bring.
pub(crate) fn fault(code: Code) -> Fault {
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => Fault::TooLarge,
        Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::UnknownTopicId => Fault::NoTopic,
        Code::InvalidTopic => Fault::Topic("give the row a topic that Kafka accepts"),
        Code::TopicAuthorizationFailed => {
            Fault::Topic("give Postrider's Kafka user the right to write to the topic")
        }
        // librdkafka 2.12 gives all records of a batch the first code when one was not acceptable, and the
        // second to its companions when several were not; old brokers do not say which it was at all.
        Code::InvalidRecord | Code::InvalidDifferentRecord => Fault::Record(
            "the topic's own rules refuse it; a compacted topic, for one, takes no record without a key",
        ),
        Code::InvalidTimestamp => Fault::Record(
            "the row's created_at is further from the brokers' clock than the topic's message.timestamp.after.max.ms or message.timestamp.before.max.ms allows",
        ),
        Code::PolicyViolation => Fault::Record("a policy of the brokers refuses it; ask who runs them"),
        Code::UnsupportedForMessageFormat => {
            Fault::Topic("raise the topic's message.format.version: headers need 0.11 or later")
        }
        _ => Fault::Producer,
    }
}

/// The remedy for a topic that is not there.
pub(crate) const NO_TOPIC_REMEDY: &str =
    "create the topic, or let the brokers do it (auto.create.topics.enable)";

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: [Code; 4] =
        [Code::InvalidRecord, Code::InvalidDifferentRecord, Code::InvalidTimestamp, Code::PolicyViolation];
    const TOPIC: [Code; 3] =
        [Code::InvalidTopic, Code::TopicAuthorizationFailed, Code::UnsupportedForMessageFormat];
    const TOO_LARGE: [Code; 3] =
        [Code::MessageSizeTooLarge, Code::MessageBatchTooLarge, Code::InvalidMessageSize];
    const NO_TOPIC: [Code; 4] =
        [Code::UnknownTopic, Code::UnknownTopicOrPartition, Code::UnknownPartition, Code::UnknownTopicId];

    /// Every code there is: those of the protocol, and librdkafka's own, which are negative.
    fn every_code() -> Vec<Code> {
        use rdkafka::types::RDKafkaRespErr;
        (-200..200).filter_map(|code| RDKafkaRespErr::try_from(code).ok()).map(Code::from).collect()
    }

    #[test]
    fn every_error_code_is_sorted_and_only_known_ones_refuse_a_record() {
        let codes = every_code();
        assert!(codes.len() > 150, "{}", codes.len());
        for code in codes {
            let expected = match code {
                code if TOO_LARGE.contains(&code) => Fault::TooLarge,
                code if NO_TOPIC.contains(&code) => Fault::NoTopic,
                code if RECORD.contains(&code) => {
                    assert!(matches!(fault(code), Fault::Record(remedy) if !remedy.is_empty()), "{code}");
                    continue;
                }
                code if TOPIC.contains(&code) => {
                    assert!(matches!(fault(code), Fault::Topic(remedy) if !remedy.is_empty()), "{code}");
                    continue;
                }
                _ => Fault::Producer,
            };
            assert_eq!(fault(code), expected, "{code}");
        }
    }

    #[test]
    fn an_error_that_needs_a_person_is_not_transient_and_says_what_to_do() {
        let error = |code| SinkError::from(SinkErrorKind::Fatal { code, reason: "no".to_owned() });
        let definite = error(Code::ClusterAuthorizationFailed);
        assert!(!definite.is_transient());
        assert!(definite.to_string().contains("give Postrider's Kafka user"), "{definite}");
        for code in [Code::OutOfOrderSequenceNumber, Code::UnknownProducerId, Code::InvalidProducerEpoch] {
            assert!(error(code).is_transient(), "{code}");
        }
        assert!(SinkError::from(SinkErrorKind::Gone).is_transient());
    }
}
