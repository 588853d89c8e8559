//! Why a partition cannot be read.

use std::time::Duration;

/// Why a partition cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// librdkafka rejects the configuration or a call.
    #[error("reading from Kafka: {0}; check kafka.properties")]
    Client(String),
    /// No answer within the timeout.
    #[error(
        "{} has not answered for {} s{}; check kafka.brokers and whether the partition has a leader",
        target(topic, *partition), timeout.as_secs(), in_parentheses(reason.as_deref())
    )]
    Timeout {
        /// The topic.
        topic: String,
        /// The partition's number, if a question about a partition was not answered.
        partition: Option<i32>,
        /// The timeout.
        timeout: Duration,
        /// librdkafka's first error, if there was one.
        reason: Option<String>,
    },
    /// Kafka denies reading the topic.
    #[error(
        "topic {topic} cannot be read: {reason}; give Postrider's Kafka user the right to Read the topic"
    )]
    Denied {
        /// The topic.
        topic: String,
        /// The broker's error.
        reason: String,
    },
}

impl ReadError {
    /// Whether a later attempt may succeed without a change of the configuration or of privileges.
    pub fn is_retryable(&self) -> bool {
        matches!(self, ReadError::Timeout { .. })
    }
}

fn target(topic: &str, partition: Option<i32>) -> String {
    partition.map_or_else(|| format!("topic {topic}"), |number| format!("topic {topic}, partition {number},"))
}

fn in_parentheses(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}
