//! Why a record cannot be published.

use std::fmt;

use outbox::shorten;
use rdkafka::types::RDKafkaErrorCode;

/// Why this record cannot be published, however often it is tried, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection(Box<RejectionReason>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum RejectionReason {
    NullColumn { part: &'static str, column: String },
    TopicName { topic: String, reason: &'static str },
    Headers { reason: String },
    TooLargeToSend { topic: String, record_bytes: usize, setting: &'static str, max_bytes: usize },
    TooLargeForTopic { topic: String, record_bytes: usize },
    Broker { topic: String, code: RDKafkaErrorCode, remedy: &'static str, whole_topic: bool },
}

impl Rejection {
    /// A column of a template is NULL.
    pub(crate) fn null_column(part: &'static str, column: &str) -> Self {
        Rejection(Box::new(RejectionReason::NullColumn { part, column: column.to_owned() }))
    }

    /// Kafka rejects the topic's name.
    pub(crate) fn topic_name(topic: &[u8], reason: &'static str) -> Self {
        let topic = shorten(&String::from_utf8_lossy(topic)).into_owned();
        Rejection(Box::new(RejectionReason::TopicName { topic, reason }))
    }

    /// The headers column is not a JSON object.
    pub(crate) fn headers(reason: String) -> Self {
        Rejection(Box::new(RejectionReason::Headers { reason }))
    }

    /// Larger than the producer's own `setting` allows.
    pub(crate) fn too_large_to_send(
        topic: &str,
        record_bytes: usize,
        setting: &'static str,
        max_bytes: usize,
    ) -> Self {
        let topic = topic.to_owned();
        Rejection(Box::new(RejectionReason::TooLargeToSend { topic, record_bytes, setting, max_bytes }))
    }

    /// The broker rejected the record, which was alone in its batch, as too large.
    pub(crate) fn too_large(topic: &str, record_bytes: usize) -> Self {
        Rejection(Box::new(RejectionReason::TooLargeForTopic { topic: topic.to_owned(), record_bytes }))
    }

    /// The broker rejected the record.
    pub(crate) fn broker(topic: &str, code: RDKafkaErrorCode, remedy: &'static str) -> Self {
        let topic = topic.to_owned();
        Rejection(Box::new(RejectionReason::Broker { topic, code, remedy, whole_topic: false }))
    }

    /// The broker rejects every record for the topic.
    pub(crate) fn topic(topic: &str, code: RDKafkaErrorCode, remedy: &'static str) -> Self {
        let topic = topic.to_owned();
        Rejection(Box::new(RejectionReason::Broker { topic, code, remedy, whole_topic: true }))
    }

    /// The topic, if every record for it would be rejected for the same reason.
    pub fn whole_topic(&self) -> Option<&str> {
        match &*self.0 {
            RejectionReason::Broker { topic, whole_topic: true, .. } => Some(topic),
            _ => None,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            RejectionReason::NullColumn { part, column } => {
                write!(
                    f,
                    "the {part} contains column `{column}`, which is NULL; set the column, or the {part} of the row"
                )
            }
            RejectionReason::TopicName { topic, reason } => {
                write!(f, "Kafka accepts no topic named {topic:?}: {reason}")
            }
            RejectionReason::Headers { reason } => write!(
                f,
                "the headers are not a JSON object ({reason}); write an object of header names and values, or NULL"
            ),
            RejectionReason::TooLargeToSend { topic, record_bytes, setting, max_bytes } => write!(
                f,
                "the record for topic {topic} has {record_bytes} bytes, more than {setting} of [kafka.properties] allows ({max_bytes} bytes); raise it, and the topic's max.message.bytes if that is lower"
            ),
            RejectionReason::TooLargeForTopic { topic, record_bytes } => write!(
                f,
                "the record has {record_bytes} bytes, more than topic {topic} allows; raise the topic's max.message.bytes (or the brokers' message.max.bytes)"
            ),
            RejectionReason::Broker { topic, code, remedy, .. } => {
                write!(f, "Kafka rejected the record for topic {topic}: {code}; {remedy}")
            }
        }
    }
}

impl std::error::Error for Rejection {}
