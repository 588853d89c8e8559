//! What Kafka's error codes mean for a record and for the producer.

use rdkafka::types::RDKafkaErrorCode as Code;

/// What the error code of a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorClass {
    /// The record, or its batch, is too large.
    TooLarge,
    /// The topic accepts no record from Postrider; the text is the remedy.
    Topic(&'static str),
    /// A record of the batch is invalid; the text is the remedy.
    Record(&'static str),
    /// The topic does not exist.
    NoTopic,
    /// The producer, the connection or the cluster.
    Producer,
}

impl ErrorClass {
    /// Classifies the error codes of records: librdkafka's own and those of the Kafka protocol, "Error Codes".
    ///
    /// A code that is not known to be about the record is about the producer, so that no row fails for a code that a
    /// later librdkafka or broker introduces.
    pub(crate) fn of(code: Code) -> ErrorClass {
        match code {
            Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
                ErrorClass::TooLarge
            }
            Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::UnknownTopicId => ErrorClass::NoTopic,
            Code::InvalidTopic => ErrorClass::Topic("give the row a topic that Kafka accepts"),
            Code::TopicAuthorizationFailed => {
                ErrorClass::Topic("give Postrider's Kafka user the right to write to the topic")
            }
            // librdkafka 2.12 gives all records of a batch the first code if one of them is invalid; if several are,
            // the others get the second. Old brokers do not report which record it was.
            Code::InvalidRecord | Code::InvalidDifferentRecord => ErrorClass::Record(
                "it violates a rule of the topic; a compacted topic, for example, rejects records without a key",
            ),
            Code::InvalidTimestamp => ErrorClass::Record(
                "the row's created_at is further from the brokers' clock than the topic's message.timestamp.after.max.ms or message.timestamp.before.max.ms allows",
            ),
            Code::PolicyViolation => {
                ErrorClass::Record("it violates a policy of the brokers; ask their administrator")
            }
            Code::UnsupportedForMessageFormat => {
                ErrorClass::Topic("raise the topic's message.format.version: headers need 0.11 or later")
            }
            _ => ErrorClass::Producer,
        }
    }
}

/// The remedy for a topic that does not exist.
pub(crate) const NO_TOPIC_REMEDY: &str =
    "create the topic, or let the brokers do it (auto.create.topics.enable)";

/// The remedy for a code that is about the producer; empty if a new producer is one.
pub(crate) fn producer_remedy(code: Code) -> &'static str {
    match code {
        Code::ClusterAuthorizationFailed | Code::TransactionalIdAuthorizationFailed => {
            "; give Postrider's Kafka user the right to write to its topics (and IdempotentWrite on the cluster, for brokers before 2.8)"
        }
        Code::UnsupportedFeature | Code::UnsupportedVersion => {
            "; the brokers are too old for an idempotent producer, which needs Kafka 0.11 or later"
        }
        Code::UnsupportedCompressionType => {
            "; set compression.type of [kafka.properties] to one that the brokers support"
        }
        Code::InvalidRequiredAcks => "; the brokers reject acks=all; check their configuration",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::types::RDKafkaRespErr;

    use super::*;

    const RECORD: [Code; 4] =
        [Code::InvalidRecord, Code::InvalidDifferentRecord, Code::InvalidTimestamp, Code::PolicyViolation];
    const TOPIC: [Code; 3] =
        [Code::InvalidTopic, Code::TopicAuthorizationFailed, Code::UnsupportedForMessageFormat];
    const TOO_LARGE: [Code; 3] =
        [Code::MessageSizeTooLarge, Code::MessageBatchTooLarge, Code::InvalidMessageSize];
    const NO_TOPIC: [Code; 4] =
        [Code::UnknownTopic, Code::UnknownTopicOrPartition, Code::UnknownPartition, Code::UnknownTopicId];

    /// Every code: those of the protocol, and librdkafka's own, which are negative.
    fn every_code() -> Vec<Code> {
        (-200..200).filter_map(|code| RDKafkaRespErr::try_from(code).ok()).map(Code::from).collect()
    }

    #[test]
    fn error_class_of_unknown_codes_is_the_producer() {
        let codes = every_code();
        assert!(codes.len() > 150, "{}", codes.len());
        for code in codes {
            let class = ErrorClass::of(code);
            let expected = match code {
                code if TOO_LARGE.contains(&code) => ErrorClass::TooLarge,
                code if NO_TOPIC.contains(&code) => ErrorClass::NoTopic,
                code if RECORD.contains(&code) => {
                    assert!(matches!(class, ErrorClass::Record(remedy) if !remedy.is_empty()), "{code}");
                    continue;
                }
                code if TOPIC.contains(&code) => {
                    assert!(matches!(class, ErrorClass::Topic(remedy) if !remedy.is_empty()), "{code}");
                    continue;
                }
                _ => ErrorClass::Producer,
            };
            assert_eq!(class, expected, "{code}");
        }
    }
}
