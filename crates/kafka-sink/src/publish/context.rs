//! What librdkafka calls back.

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

use crate::publish::delivery_reports::Inbox;
use crate::publish::error::{
    Failure, Fault, NO_TOPIC_REMEDY, PartitionOffset, Report, SinkError, SinkErrorKind, fault,
};
use crate::publish::outage::{Outage, Say, Watch};
use crate::record::rejection::Refusal;

/// Receives delivery reports, errors and log lines, on the producer's own thread.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) inbox: Inbox,
    /// A topic to ask brokers about.
    pub(crate) topic: OnceLock<Arc<str>>,
    /// A record from this size on is alone in its batch.
    batch_bytes: usize,
    watch: Mutex<Watch>,
    /// Whether an acknowledgement is news for the watch, so that a report in quiet times takes no lock for it.
    watching: AtomicBool,
    /// Whether an error has come that may be one that the producer does not survive.
    alarmed: AtomicBool,
}

impl Context {
    pub(crate) fn new(reports_max: usize, batch_bytes: usize) -> Self {
        Context {
            inbox: Inbox::new(reports_max),
            topic: OnceLock::new(),
            batch_bytes,
            watch: Mutex::default(),
            watching: AtomicBool::new(false),
            alarmed: AtomicBool::new(false),
        }
    }

    /// The outage there is.
    pub(crate) fn outage(&self) -> Option<Outage> {
        self.watch().outage()
    }

    /// Whether a broker is to be asked if it answers.
    pub(crate) fn is_to_ask(&self) -> bool {
        self.watching.load(Ordering::Relaxed) && self.watch().is_to_ask(Instant::now())
    }

    /// Whether a broker answered when asked.
    pub(crate) fn asked(&self, answered: bool) {
        if answered {
            self.answered();
        } else {
            let said = self.watch().unanswered(Instant::now());
            say(said);
        }
    }

    /// Says what is worth saying.
    pub(crate) fn tick(&self) {
        if self.watching.load(Ordering::Relaxed) {
            let mut watch = self.watch();
            let said = watch.tick(Instant::now());
            self.watching.store(!watch.is_quiet(), Ordering::Relaxed);
            drop(watch);
            say(said);
        }
    }

    /// Whether to look, once, if the producer has given up.
    pub(crate) fn is_to_look(&self) -> bool {
        self.alarmed.load(Ordering::Relaxed) && self.alarmed.swap(false, Ordering::Relaxed)
    }

    /// What `code` means for a record of `record_bytes` to a topic, `is_known` where a record of the topic has
    /// been acknowledged.
    pub(crate) fn failure(&self, code: Code, topic: &str, record_bytes: usize, is_known: bool) -> Failure {
        let lost = |kind: SinkErrorKind| Failure::Lost(SinkError::from(kind));
        let owned = || topic.to_owned();
        match fault(code) {
            // A record that fills a batch travels alone, see `batch.size` among the defaults.
            Fault::TooLarge if record_bytes >= self.batch_bytes => {
                Failure::Refused(Refusal::too_large(topic, record_bytes))
            }
            Fault::Record(remedy) if self.batch_bytes == 0 => {
                Failure::Refused(Refusal::broker(topic, code, remedy))
            }
            Fault::TooLarge | Fault::Record(_) => lost(SinkErrorKind::Batch { topic: owned(), code }),
            Fault::Topic(remedy) => Failure::Refused(Refusal::topic(topic, code, remedy)),
            // librdkafka gives a topic its time to appear (topic.metadata.propagation.max.ms) from when it is
            // first used. That time may have passed in an outage; and for a topic that was there and is made
            // anew it is over long since. A new producer gives it again.
            Fault::NoTopic if is_known || self.watch().is_disturbed() => {
                lost(SinkErrorKind::TopicUnsure { topic: owned(), code })
            }
            Fault::NoTopic => Failure::Refused(Refusal::topic(topic, code, NO_TOPIC_REMEDY)),
            Fault::Producer => lost(SinkErrorKind::Undelivered { topic: owned(), code }),
        }
    }

    fn answered(&self) {
        let mut watch = self.watch();
        let said = watch.answered(Instant::now());
        self.watching.store(!watch.is_quiet(), Ordering::Relaxed);
        drop(watch);
        say(said);
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, token: usize) {
        let token = Token::from_usize(token);
        match result {
            Ok(message) => {
                let place = PartitionOffset { partition: message.partition(), offset: message.offset() };
                let report = Report { token, outcome: Ok(place) };
                let handle = message.topic_ptr() as usize;
                self.inbox.acknowledged(report, message.payload_len(), handle, || message.topic());
                if self.watching.load(Ordering::Relaxed) {
                    self.answered();
                }
            }
            Err((error, message)) => {
                let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                let is_known = self.inbox.knows(message.topic());
                let failure = self.failure(code, message.topic(), size_bytes(message), is_known);
                // A refusal makes the producer give up, and what that costs may be told before the refusal.
                let is_aftermath = matches!(code, Code::PurgeQueue | Code::PurgeInflight | Code::Fatal);
                let report = Report { token, outcome: Err(failure) };
                self.inbox.failed(report, message.payload_len(), is_aftermath);
            }
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        use RDKafkaLogLevel::{Alert, Critical, Debug, Emerg, Error, Info, Notice, Warning};
        match (level, facility) {
            // Each attempt at each broker; the watch makes one line of an outage.
            (_, "FAIL" | "ERROR") | (Debug | Info, _) => {
                tracing::debug!(target: "kafka", facility, "{message}");
            }
            // A fatal error is told by whoever asks for reports, and a setting of ours is no news to the user.
            (_, "FATAL") => tracing::debug!(target: "kafka", facility, "{message}"),
            (_, "CONFWARN") if message.contains("enable.gapless.guarantee") => {}
            (Notice, _) => tracing::info!(target: "kafka", facility, "{message}"),
            (Warning, _) => tracing::warn!(target: "kafka", facility, "{message}"),
            (Emerg | Alert | Critical | Error, _) => tracing::error!(target: "kafka", facility, "{message}"),
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        tracing::debug!(target: "kafka", "statistics {}", String::from_utf8_lossy(statistics));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let now = Instant::now();
        match error.rdkafka_error_code() {
            Some(Code::AllBrokersDown) => {
                let mut watch = self.watch();
                watch.all_failed(reason, now);
                self.watching.store(true, Ordering::Relaxed);
            }
            Some(
                Code::BrokerTransportFailure
                | Code::Resolve
                | Code::SSL
                | Code::Authentication
                | Code::OperationTimedOut,
            ) => {
                let mut watch = self.watch();
                watch.broker_failed(reason, now);
                self.watching.store(true, Ordering::Relaxed);
            }
            // What is fatal comes with the code of its cause.
            _ => {
                tracing::debug!(target: "kafka", "{error}: {reason}");
                self.alarmed.store(true, Ordering::Relaxed);
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

fn say(said: Option<Say>) {
    match said {
        None => {}
        Some(said @ Say::Back { .. }) => tracing::info!(target: "kafka", "{said}"),
        Some(said) => tracing::warn!(target: "kafka", "{said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH_BYTES: usize = 1000;

    fn failure(context: &Context, code: Code, is_known: bool) -> Failure {
        context.failure(code, "orders", 2000, is_known)
    }

    fn is_refused(failure: &Failure) -> bool {
        matches!(failure, Failure::Refused(_))
    }

    #[test]
    fn a_topic_that_never_was_refuses_the_record_one_that_may_come_back_does_not() {
        let context = Context::new(8, BATCH_BYTES);
        for code in [Code::UnknownTopic, Code::UnknownTopicOrPartition] {
            assert!(is_refused(&failure(&context, code, false)));
            assert!(!is_refused(&failure(&context, code, true)));
        }
        context.error(KafkaError::Global(Code::AllBrokersDown), "1/1 brokers are down");
        assert!(!is_refused(&failure(&context, Code::UnknownTopic, false)));
    }

    #[test]
    fn a_record_refused_alone_is_told_from_one_in_a_batch() {
        let context = Context::new(8, BATCH_BYTES);
        assert!(matches!(
            context.failure(Code::MessageSizeTooLarge, "t", 2000, false),
            Failure::Refused(refusal) if refusal.to_string().contains("2000 bytes, more than topic t allows")
        ));
        for (code, record_bytes) in [(Code::MessageSizeTooLarge, 10), (Code::InvalidRecord, 2000)] {
            assert!(matches!(
                context.failure(code, "t", record_bytes, false),
                Failure::Lost(error) if error.needs_singles() && error.is_transient()
            ));
            let singles = Context::new(8, 0);
            assert!(is_refused(&singles.failure(code, "t", record_bytes, false)));
        }
    }

    #[test]
    fn what_became_of_a_purged_record_is_not_known() {
        let context = Context::new(8, BATCH_BYTES);
        for code in [Code::PurgeQueue, Code::PurgeInflight, Code::Fatal] {
            assert!(matches!(failure(&context, code, true), Failure::Lost(error) if error.is_transient()));
        }
    }
}
