//! The callbacks of the producer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use outbox::Token;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::config::client_log;
use crate::publish::delivery_report::{DeliveryError, DeliveryReport, PartitionOffset};
use crate::publish::delivery_reports::DeliveryReports;
use crate::publish::error::{SinkError, SinkErrorKind};
use crate::publish::error_class::{ErrorClass, NO_TOPIC_REMEDY};
use crate::publish::outage::{Outage, OutageDetector, OutageNotice};
use crate::publish::partitioner::KeyPartitioner;
use crate::record::rejection::Rejection;

/// Receives delivery reports, errors and log lines, on the producer's own thread.
#[derive(Debug)]
pub(crate) struct SinkContext {
    pub(crate) reports: DeliveryReports,
    /// The topic of metadata requests that probe brokers.
    pub(crate) probe_topic: OnceLock<Arc<str>>,
    pub(crate) partitioner: KeyPartitioner,
    /// A record of this size or more is alone in its batch.
    batch_bytes: usize,
    detector: Mutex<OutageDetector>,
    /// Whether an acknowledgement changes the detector's state. Spares the lock for each report in normal operation.
    is_detecting: AtomicBool,
    /// Whether an error was reported that may be fatal to the producer.
    may_be_fatal: AtomicBool,
}

impl SinkContext {
    pub(crate) fn new(reports_max: usize, batch_bytes: usize, partitioner: KeyPartitioner) -> Self {
        SinkContext {
            reports: DeliveryReports::new(reports_max),
            probe_topic: OnceLock::new(),
            partitioner,
            batch_bytes,
            detector: Mutex::default(),
            is_detecting: AtomicBool::new(false),
            may_be_fatal: AtomicBool::new(false),
        }
    }

    /// The outage of Kafka, if there is one.
    pub(crate) fn outage(&self) -> Option<Outage> {
        self.detector().outage()
    }

    /// Whether a broker has to be probed.
    pub(crate) fn needs_probe(&self) -> bool {
        self.is_detecting.load(Ordering::Relaxed) && self.detector().needs_probe(Instant::now())
    }

    pub(crate) fn probed(&self, answered: bool) {
        if answered {
            self.answered();
        } else {
            let notice = self.detector().probe_failed(Instant::now());
            log(notice);
        }
    }

    /// Logs a lost broker once its time has come.
    pub(crate) fn tick(&self) {
        if self.is_detecting.load(Ordering::Relaxed) {
            self.update(|detector| detector.tick(Instant::now()));
        }
    }

    /// Whether the producer may have failed since the last call.
    pub(crate) fn take_may_be_fatal(&self) -> bool {
        self.may_be_fatal.load(Ordering::Relaxed) && self.may_be_fatal.swap(false, Ordering::Relaxed)
    }

    /// What `code` means for a record of `record_bytes`; `is_known` if a record of the topic has been acknowledged.
    pub(crate) fn delivery_error(
        &self,
        code: Code,
        topic: &str,
        record_bytes: usize,
        is_known: bool,
    ) -> DeliveryError {
        let failed = |kind: SinkErrorKind| DeliveryError::ProducerFailed(SinkError::from(kind));
        let owned = || topic.to_owned();
        match ErrorClass::of(code) {
            // A record that fills a batch is alone in it, see `batch.size` among the defaults.
            ErrorClass::TooLarge if record_bytes >= self.batch_bytes => {
                DeliveryError::Rejected(Rejection::too_large(topic, record_bytes))
            }
            ErrorClass::Record(remedy) if self.batch_bytes == 0 => {
                DeliveryError::Rejected(Rejection::broker(topic, code, remedy))
            }
            ErrorClass::TooLarge | ErrorClass::Record(_) => {
                failed(SinkErrorKind::BatchRejected { topic: owned(), code })
            }
            ErrorClass::Topic(remedy) => DeliveryError::Rejected(Rejection::topic(topic, code, remedy)),
            // librdkafka waits topic.metadata.propagation.max.ms for a topic, from its first use. That time may have
            // passed during an outage, or long ago for a topic that was recreated. A new producer waits again.
            ErrorClass::NoTopic if is_known || self.detector().had_disconnect() => {
                failed(SinkErrorKind::TopicUncertain { topic: owned(), code })
            }
            ErrorClass::NoTopic => DeliveryError::Rejected(Rejection::topic(topic, code, NO_TOPIC_REMEDY)),
            ErrorClass::Producer => failed(SinkErrorKind::Undelivered { topic: owned(), code }),
        }
    }

    fn answered(&self) {
        self.update(|detector| detector.answered(Instant::now()));
    }

    fn update(&self, change: impl FnOnce(&mut OutageDetector) -> Option<OutageNotice>) {
        let mut detector = self.detector();
        let notice = change(&mut detector);
        self.is_detecting.store(!detector.is_idle(), Ordering::Relaxed);
        drop(detector);
        log(notice);
    }

    fn detector(&self) -> MutexGuard<'_, OutageDetector> {
        self.detector.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProducerContext<KeyPartitioner> for SinkContext {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, token: usize) {
        let token = Token::from_usize(token);
        match result {
            Ok(message) if message.offset() < 0 => {
                let error = SinkError::from(SinkErrorKind::NoOffset { topic: message.topic().to_owned() });
                let outcome = Err(DeliveryError::ProducerFailed(error.clone()));
                // Ends the producer, so that as little as possible is stored before this record is sent again.
                self.reports.fail(error);
                self.reports.failed(DeliveryReport { token, outcome }, message.payload_len(), false);
            }
            Ok(message) => {
                let at = PartitionOffset { partition: message.partition(), offset: message.offset() };
                let report = DeliveryReport { token, outcome: Ok(at) };
                let handle = message.topic_ptr() as usize;
                self.reports.delivered(report, message.payload_len(), handle, || message.topic());
                if self.is_detecting.load(Ordering::Relaxed) {
                    self.answered();
                }
            }
            Err((error, message)) => {
                let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                let is_known = self.reports.has_delivered_to(message.topic());
                let error = self.delivery_error(code, message.topic(), size_bytes(message), is_known);
                // A rejection is fatal to the producer, and the failures that follow from it may be reported first.
                let is_consequence = matches!(code, Code::PurgeQueue | Code::PurgeInflight | Code::Fatal);
                let report = DeliveryReport { token, outcome: Err(error) };
                self.reports.failed(report, message.payload_len(), is_consequence);
            }
        }
    }

    fn get_custom_partitioner(&self) -> Option<&KeyPartitioner> {
        Some(&self.partitioner)
    }
}

impl ClientContext for SinkContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let level = match facility {
            // One line per attempt and broker; the outage detector logs one per outage.
            "FAIL" | "ERROR" => RDKafkaLogLevel::Debug,
            // A fatal error is returned with the delivery reports.
            "FATAL" => RDKafkaLogLevel::Debug,
            // Warns that the setting, which Postrider makes, is experimental.
            "CONFWARN" if message.contains("enable.gapless.guarantee") => return,
            _ => level,
        };
        client_log::log(level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        client_log::statistics(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let now = Instant::now();
        match error.rdkafka_error_code() {
            Some(Code::AllBrokersDown) => {
                let mut detector = self.detector();
                detector.all_failed(reason, now);
                self.is_detecting.store(true, Ordering::Relaxed);
            }
            Some(
                Code::BrokerTransportFailure
                | Code::Resolve
                | Code::SSL
                | Code::Authentication
                | Code::OperationTimedOut,
            ) => {
                let mut detector = self.detector();
                detector.broker_failed(reason, now);
                self.is_detecting.store(true, Ordering::Relaxed);
            }
            // A fatal error has the code of its cause.
            _ => {
                tracing::debug!(target: "kafka", %error, reason, "producer error");
                self.may_be_fatal.store(true, Ordering::Relaxed);
            }
        }
    }
}

fn size_bytes(message: &BorrowedMessage<'_>) -> usize {
    let headers = message.headers().map_or(0, |headers| {
        headers.iter().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len)).sum()
    });
    message.key_len() + message.payload_len() + headers
}

fn log(notice: Option<OutageNotice>) {
    if let Some(notice) = notice {
        notice.log();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH_BYTES: usize = 1000;

    fn new_context(batch_bytes: usize) -> SinkContext {
        SinkContext::new(8, batch_bytes, KeyPartitioner::new("murmur2_random"))
    }

    fn delivery_error(context: &SinkContext, code: Code, is_known: bool) -> DeliveryError {
        context.delivery_error(code, "orders", 2000, is_known)
    }

    fn is_rejected(error: &DeliveryError) -> bool {
        matches!(error, DeliveryError::Rejected(_))
    }

    #[test]
    fn missing_topic_rejects_the_record_unless_it_existed_or_kafka_was_unreachable() {
        let context = new_context(BATCH_BYTES);
        for code in [Code::UnknownTopic, Code::UnknownTopicOrPartition] {
            assert!(is_rejected(&delivery_error(&context, code, false)));
            assert!(!is_rejected(&delivery_error(&context, code, true)));
        }
        context.error(KafkaError::Global(Code::AllBrokersDown), "1/1 brokers are down");
        assert!(!is_rejected(&delivery_error(&context, Code::UnknownTopic, false)));
    }

    #[test]
    fn rejected_record_is_known_only_if_it_was_alone_in_its_batch() {
        let context = new_context(BATCH_BYTES);
        assert!(matches!(
            context.delivery_error(Code::MessageSizeTooLarge, "t", 2000, false),
            DeliveryError::Rejected(rejection)
                if rejection.to_string().contains("2000 bytes, more than topic t allows")
        ));
        for (code, record_bytes) in [(Code::MessageSizeTooLarge, 10), (Code::InvalidRecord, 2000)] {
            assert!(matches!(
                context.delivery_error(code, "t", record_bytes, false),
                DeliveryError::ProducerFailed(error) if error.needs_singles() && error.is_retryable()
            ));
            let singles = new_context(0);
            assert!(is_rejected(&singles.delivery_error(code, "t", record_bytes, false)));
        }
    }

    #[test]
    fn purged_record_is_a_producer_failure() {
        let context = new_context(BATCH_BYTES);
        for code in [Code::PurgeQueue, Code::PurgeInflight, Code::Fatal] {
            assert!(matches!(
                delivery_error(&context, code, true),
                DeliveryError::ProducerFailed(error) if error.is_retryable()
            ));
        }
    }
}
