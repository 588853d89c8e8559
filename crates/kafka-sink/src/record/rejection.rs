//! Why a record cannot be published.

use std::fmt;

use rdkafka::types::RDKafkaErrorCode;

/// Why this one record cannot be published, whatever is tried: said for the person who is to mend it, with
/// the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(Box<Reason>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Reason {
    NullColumn { part: &'static str, column: String },
    TopicName { topic: String, reason: &'static str },
    Headers { reason: String },
    TooLargeToSend { topic: String, record_bytes: usize, setting: &'static str, max_bytes: usize },
    TooLargeForTopic { topic: String, record_bytes: usize },
    Broker { topic: String, code: RDKafkaErrorCode, remedy: &'static str, whole_topic: bool },
}

impl Refusal {
    /// A template met a NULL.
    pub(crate) fn null_column(part: &'static str, column: &str) -> Self {
        Refusal(Box::new(Reason::NullColumn { part, column: column.to_owned() }))
    }

    /// The topic's name is none that Kafka takes.
    pub(crate) fn topic_name(topic: &[u8], reason: &'static str) -> Self {
        let topic = String::from_utf8_lossy(topic).into_owned();
        Refusal(Box::new(Reason::TopicName { topic, reason }))
    }

    /// The headers column holds what cannot become headers.
    pub(crate) fn headers(reason: String) -> Self {
        Refusal(Box::new(Reason::Headers { reason }))
    }

    /// Larger than the producer's own `setting` allows.
    pub(crate) fn too_large_to_send(
        topic: &str,
        record_bytes: usize,
        setting: &'static str,
        max_bytes: usize,
    ) -> Self {
        let topic = topic.to_owned();
        Refusal(Box::new(Reason::TooLargeToSend { topic, record_bytes, setting, max_bytes }))
    }

    /// The broker refused the record, which was alone in its batch, as too large.
    pub(crate) fn too_large(topic: &str, record_bytes: usize) -> Self {
        Refusal(Box::new(Reason::TooLargeForTopic { topic: topic.to_owned(), record_bytes }))
    }

    /// The broker refused the record with `code`.
    pub(crate) fn broker(topic: &str, code: RDKafkaErrorCode, remedy: &'static str) -> Self {
        let topic = topic.to_owned();
        Refusal(Box::new(Reason::Broker { topic, code, remedy, whole_topic: false }))
    }

    /// The broker takes no record of ours for the topic, and said so with `code`.
    pub(crate) fn topic(topic: &str, code: RDKafkaErrorCode, remedy: &'static str) -> Self {
        let topic = topic.to_owned();
        Refusal(Box::new(Reason::Broker { topic, code, remedy, whole_topic: true }))
    }

    /// The topic, where every record for it would be refused for the same reason.
    pub fn whole_topic(&self) -> Option<&str> {
        match &*self.0 {
            Reason::Broker { topic, whole_topic: true, .. } => Some(topic),
            _ => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Reason::NullColumn { part, column } => {
                write!(
                    f,
                    "its {part} is made of column `{column}`, which is NULL; give the row a value there, or a {part} of its own"
                )
            }
            Reason::TopicName { topic, reason } => {
                write!(f, "Kafka takes no topic named {topic:?}: {reason}")
            }
            Reason::Headers { reason } => write!(
                f,
                "its headers are no JSON object ({reason}); an object of header names and values, or NULL, is what can be sent"
            ),
            Reason::TooLargeToSend { topic, record_bytes, setting, max_bytes } => write!(
                f,
                "the record for topic {topic} takes {record_bytes} bytes, more than {setting} of [kafka.properties] allows ({max_bytes} bytes); raise it, and the topic's max.message.bytes where that is lower"
            ),
            Reason::TooLargeForTopic { topic, record_bytes } => write!(
                f,
                "the record takes {record_bytes} bytes, more than topic {topic} allows; raise the topic's max.message.bytes (or the brokers' message.max.bytes)"
            ),
            Reason::Broker { topic, code, remedy, .. } => {
                write!(f, "Kafka refused the record for topic {topic}: {code}; {remedy}")
            }
        }
    }
}

impl std::error::Error for Refusal {}
