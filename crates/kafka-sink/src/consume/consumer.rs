//! Consumers: their configuration, and what librdkafka calls back.

use std::sync::{Mutex, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientConfig, ClientContext};

/// Properties of producers alone (column `P` of librdkafka's CONFIGURATION.md), which a consumer would only
/// warn about.
const PRODUCERS_ALONE: [&str; 30] = [
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

/// Properties of consumers alone (column `C`): those of group members, which no consumer of Postrider's is,
/// and those that decide about its memory and about what it reads.
const CONSUMERS_ALONE: [&str; 26] = [
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

/// What every consumer of Postrider's is made with.
const SETTINGS: [(&str, &str); 11] = [
    // By its second name it would be the deprecated setting of a topic.
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "earliest"),
    // A topic that was deleted is not to come back because somebody asks about it.
    ("allow.auto.create.topics", "false"),
    // Postrider publishes outside transactions. Behind another producer's open transaction its records are
    // there and consumed all the same, and the end of the log is the end of the log.
    ("isolation.level", "read_uncommitted"),
    // Together a few megabytes, whatever the number of partitions and the size of the backlog: what is queued,
    // and one answer of the broker, which may be larger by one record. Small records cost more memory by their
    // number than by their bytes.
    ("queued.max.messages.kbytes", "4096"),
    ("queued.min.messages", "1000"),
    ("fetch.max.bytes", "1048576"),
    ("fetch.message.max.bytes", "262144"),
    // librdkafka makes fetch.max.bytes no smaller than this, which is large for the producer's sake.
    ("message.max.bytes", "262144"),
    // With queues this small, librdkafka's pause of a second before it looks again would be felt.
    ("fetch.queue.backoff.ms", "20"),
];

/// Above the largest record that can be published (`message.max.bytes`, 100 MB), which the broker sends
/// whatever was asked for: a consumer that cannot take it would stop at it for ever.
const RECEIVE_BYTES_MIN: u64 = 128 << 20;

/// The configuration of a consumer that commits or asks as `group`, from that of the producer: the same
/// connection, client id and log level, without what belongs to producers. It joins no group, commits only
/// what it is told to, holds a few megabytes at most and never makes a topic.
pub fn consumer_config(producer: &ClientConfig, group: &str) -> ClientConfig {
    let mut config = producer.clone();
    for name in PRODUCERS_ALONE.iter().chain(&CONSUMERS_ALONE) {
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

/// A consumer of Postrider's.
pub(crate) type Reader = BaseConsumer<ReaderContext>;

/// Receives log lines and errors.
///
/// Outages are told by the producer's watch, once for the whole process.
#[derive(Debug, Default)]
pub(crate) struct ReaderContext {
    refused: Mutex<Option<String>>,
    denied: Mutex<Option<Code>>,
}

impl ReaderContext {
    /// What librdkafka said of commits that failed since the last call, where one has.
    ///
    /// Its log is the only place where it does: a commit that is not waited for comes to nothing else in
    /// rdkafka 0.39 (<https://github.com/fede1024/rust-rdkafka/issues/856>), and one that is waited for waits
    /// without a limit.
    pub(crate) fn take_refused(&self) -> Option<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Why no broker would tell where the group's offsets are kept, where none would. librdkafka says it once,
    /// and whoever waits for offsets only hears that time is up.
    pub(crate) fn denied(&self) -> Option<Code> {
        *self.denied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The group's offsets are told.
    pub(crate) fn told(&self) {
        *self.denied.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl ConsumerContext for ReaderContext {}

impl ClientContext for ReaderContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        use RDKafkaLogLevel::{Alert, Critical, Emerg, Error, Warning};
        match (level, facility) {
            (_, "COMMITFAIL") => {
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(message.to_owned());
            }
            (_, "FAIL" | "ERROR") => tracing::debug!(target: "kafka", facility, "{message}"),
            (Warning, _) => tracing::warn!(target: "kafka", facility, "{message}"),
            (Emerg | Alert | Critical | Error, _) => tracing::error!(target: "kafka", facility, "{message}"),
            // What librdkafka finds notable of a reader, a topic's changed partition count for one, is
            // notable once, and the producer has said it.
            _ => tracing::debug!(target: "kafka", facility, "{message}"),
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        tracing::debug!(target: "kafka", "statistics {}", String::from_utf8_lossy(statistics));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "kafka", "{error}: {reason}");
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
    fn the_connection_is_the_producers_and_what_is_the_producers_alone_is_not() {
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
        for name in PRODUCERS_ALONE {
            assert!(!names.contains(&name), "{name}");
        }
        assert_eq!(config.log_level as i32, producer.log_level as i32);
        config.create_with_context::<_, Reader>(ReaderContext::default()).unwrap();
    }

    #[test]
    fn memory_and_membership_are_not_the_users() {
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
