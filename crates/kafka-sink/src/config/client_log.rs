//! librdkafka's log lines as tracing events.
//!
//! rdkafka sets `log.queue`, so librdkafka writes no line to standard error: lines wait in the client's queue until it
//! is polled, and are dropped with it.

use rdkafka::config::RDKafkaLogLevel;

/// The target of all events about Kafka.
const TARGET: &str = "kafka";

/// Emits one line. Syslog levels above `info` map to the tracing level of the same name; `notice` is `info`.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    use RDKafkaLogLevel::{Alert, Critical, Debug, Emerg, Error, Info, Notice, Warning};
    match level {
        Debug | Info => tracing::debug!(target: TARGET, facility, "{line}"),
        Notice => tracing::info!(target: TARGET, facility, "{line}"),
        Warning => tracing::warn!(target: TARGET, facility, "{line}"),
        Emerg | Alert | Critical | Error => tracing::error!(target: TARGET, facility, "{line}"),
    }
}

/// Emits librdkafka's statistics (`statistics.interval.ms`).
pub(crate) fn statistics(json: &[u8]) {
    tracing::debug!(target: TARGET, statistics = %String::from_utf8_lossy(json), "librdkafka statistics");
}
