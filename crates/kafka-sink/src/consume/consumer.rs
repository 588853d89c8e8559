//! The configuration of consumers, and the callbacks of librdkafka.

use std::sync::{Mutex, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientConfig, ClientContext};

use crate::config::client_log;

/// Producer properties (column `P` of librdkafka's CONFIGURATION.md), about which a consumer would warn.
const PRODUCER_ONLY: [&str; 30] = [
    "acks",
    "batch.num.messages",
    "batch.size",
    "compression.codec",
    "compression.level",
    "compression.type",
    "delivery.report.only.error",
    "delivery.timeout.ms",
    "dr_cb",
    "dr_msg_cb",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "linger.ms",
    "message.send.max.retries",
    "message.timeout.ms",
    "msg_order_cmp",
    "partitioner",
    "partitioner_cb",
    "produce.offset.report",
    "queue.buffering.backpressure.threshold",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queuing.strategy",
    "request.required.acks",
    "request.timeout.ms",
    "retries",
    "sticky.partitioning.linger.ms",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Consumer properties (column `C`) that are not the user's choice: those of group members, because Postrider joins no
/// group, and those that decide about memory and about which records are read.
const CONSUMER_ONLY: [&str; 26] = [
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "check.crcs",
    "coordinator.query.interval.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.protocol.type",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "partition.assignment.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "session.timeout.ms",
];

/// The settings of every consumer.
const SETTINGS: [(&str, &str); 11] = [
    // Its alias auto.commit.enable is a deprecated topic setting.
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "earliest"),
    // A metadata request must not recreate a deleted topic.
    ("allow.auto.create.topics", "false"),
    // Postrider publishes outside transactions. Its records after another producer's open transaction are consumed,
    // and the log end offset does not stop there.
    ("isolation.level", "read_uncommitted"),
    // A few megabytes in all, whatever the number of partitions and the backlog: the queue, and one fetch response,
    // which may exceed its limit by one record. Small records cost more memory by their number than by their bytes.
    ("queued.max.messages.kbytes", "4096"),
    ("queued.min.messages", "1000"),
    ("fetch.max.bytes", "1048576"),
    ("fetch.message.max.bytes", "262144"),
    // librdkafka raises fetch.max.bytes to this, and the producer's value is large.
    ("message.max.bytes", "262144"),
    // With queues this small, librdkafka's default of a second before the next fetch would slow reading down.
    ("fetch.queue.backoff.ms", "20"),
];

/// More than the largest record that can be published (`message.max.bytes`, 100 MB). The broker sends such a record
/// whatever the fetch limits, and a consumer that rejects the response would never get past it.
const RECEIVE_BYTES_MIN: u64 = 128 << 20;

/// The configuration of a consumer of `group`, from that of the producer: the same connection, client id and log level,
/// without the producer properties. The consumer joins no group, commits only on request, holds a few megabytes at most
/// and never creates a topic.
pub fn consumer_config(producer: &ClientConfig, group: &str) -> ClientConfig {
    let mut config = producer.clone();
    for name in PRODUCER_ONLY.iter().chain(&CONSUMER_ONLY) {
        config.remove(name);
    }
    for (name, value) in SETTINGS {
        config.set(name, value);
    }
    let receive_bytes = config.get("receive.message.max.bytes").and_then(|value| value.trim().parse().ok());
    let receive_bytes = receive_bytes.unwrap_or(0).max(RECEIVE_BYTES_MIN);
    config.set("receive.message.max.bytes", receive_bytes.to_string());
    config.set("group.id", group);
    config
}

/// A consumer with [`LoggingContext`].
pub(crate) type LoggedConsumer = BaseConsumer<LoggingContext>;

/// Passes log lines to tracing and keeps errors that librdkafka reports nowhere else.
///
/// Outages of Kafka are logged by the producer, once for the whole process.
#[derive(Debug, Default)]
pub(crate) struct LoggingContext {
    failed_commit: Mutex<Option<String>>,
    denied: Mutex<Option<Code>>,
}

impl LoggingContext {
    /// librdkafka's log line about the last commit that failed since the last call.
    ///
    /// The log is the only source: rdkafka 0.39 does not report the result of an asynchronous commit
    /// (<https://github.com/fede1024/rust-rdkafka/issues/856>), and a synchronous one has no timeout.
    pub(crate) fn take_failed_commit(&self) -> Option<String> {
        self.failed_commit.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Why the brokers deny the group's coordinator, if they do. librdkafka reports it once; requests for offsets only
    /// time out.
    pub(crate) fn denied(&self) -> Option<Code> {
        *self.denied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The group's offsets were read.
    pub(crate) fn clear_denied(&self) {
        *self.denied.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl ConsumerContext for LoggingContext {}

impl ClientContext for LoggingContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let level = match (level, facility) {
            (_, "COMMITFAIL") => {
                *self.failed_commit.lock().unwrap_or_else(PoisonError::into_inner) = Some(message.to_owned());
                return;
            }
            // The producer logs outages, and notices such as a changed partition count.
            (_, "FAIL" | "ERROR") | (RDKafkaLogLevel::Notice, _) => RDKafkaLogLevel::Debug,
            _ => level,
        };
        client_log::log(level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        client_log::statistics(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "kafka", %error, reason, "consumer error");
        let code = error.rdkafka_error_code();
        if let Some(code @ (Code::GroupAuthorizationFailed | Code::InvalidGroupId)) = code {
            *self.denied.lock().unwrap_or_else(PoisonError::into_inner) = Some(code);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::properties::client_config;

    fn producer(properties: &[(&str, &str)]) -> ClientConfig {
        let properties: BTreeMap<_, _> =
            properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        client_config("127.0.0.1:9", &properties).unwrap()
    }

    #[test]
    fn consumer_config_keeps_the_connection_and_drops_producer_properties() {
        let producer = producer(&[
            ("client.id", "mine"),
            ("linger.ms", "20"),
            ("compression.type", "zstd"),
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "u"),
            ("sasl.password", "p"),
            ("socket.timeout.ms", "7000"),
        ]);
        let config = consumer_config(&producer, "outbox");
        let native = config.create_native_config().unwrap();
        for (name, value) in [
            ("bootstrap.servers", "127.0.0.1:9"),
            ("client.id", "mine"),
            ("security.protocol", "sasl_plaintext"),
            ("sasl.username", "u"),
            ("socket.timeout.ms", "7000"),
            ("group.id", "outbox"),
            ("enable.auto.commit", "false"),
            ("allow.auto.create.topics", "false"),
        ] {
            assert_eq!(native.get(name).unwrap(), value, "{name}");
        }
        let names: Vec<_> = config.config_map().into_keys().collect();
        for name in PRODUCER_ONLY {
            assert!(!names.contains(&name), "{name}");
        }
        assert_eq!(config.log_level as i32, producer.log_level as i32);
        config.create_with_context::<_, LoggedConsumer>(LoggingContext::default()).unwrap();
    }

    #[test]
    fn consumer_config_overrides_memory_and_group_settings() {
        let producer = producer(&[
            ("queued.max.messages.kbytes", "1000000"),
            ("fetch.max.bytes", "1000000000"),
            ("max.partition.fetch.bytes", "1000000000"),
            ("group.instance.id", "x"),
            ("group.protocol", "consumer"),
            ("isolation.level", "read_committed"),
            ("receive.message.max.bytes", "2000000000"),
        ]);
        let config = consumer_config(&producer, "outbox");
        let native = config.create_native_config().unwrap();
        for (name, value) in [
            ("queued.max.messages.kbytes", "4096"),
            ("fetch.max.bytes", "1048576"),
            ("fetch.message.max.bytes", "262144"),
            ("group.protocol", "classic"),
            ("isolation.level", "read_uncommitted"),
            ("receive.message.max.bytes", "2000000000"),
        ] {
            assert_eq!(native.get(name).unwrap(), value, "{name}");
        }
        assert_eq!(config.get("group.instance.id"), None);
    }
}
