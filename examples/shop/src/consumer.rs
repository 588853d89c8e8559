//! The data platform: a consumer group on the topics of the shop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use tracing::warn;

use crate::Error;

/// The topics of the shop.
pub const TOPICS: [&str; 2] = ["outbox.event.order", "outbox.event.payment"];

/// How often the consumer checks `stop`. It does not delay records.
const POLL: Duration = Duration::from_millis(100);

/// The consumer group and where it reads.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The brokers, comma-separated.
    pub brokers: String,
    /// The consumer group; it resumes at its committed offsets.
    pub group: String,
    /// Whether a group without committed offsets starts at the beginning of the topics or at their end.
    pub from_beginning: bool,
}

/// A record as the consumer received it.
pub struct ReceivedRecord<'a> {
    message: &'a BorrowedMessage<'a>,
    /// When `poll` returned the record.
    pub at: Instant,
}

impl ReceivedRecord<'_> {
    /// The topic.
    pub fn topic(&self) -> &str {
        self.message.topic()
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.message.partition()
    }

    /// The offset in its partition.
    pub fn offset(&self) -> i64 {
        self.message.offset()
    }

    /// The key, if it is UTF-8.
    pub fn key(&self) -> Option<&str> {
        std::str::from_utf8(self.message.key()?).ok()
    }

    /// The value; `None` is a tombstone.
    pub fn payload(&self) -> Option<&[u8]> {
        self.message.payload()
    }

    /// The first header of this name, if it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = self.message.headers()?;
        let header = headers.iter().find(|header| header.key == name)?;
        std::str::from_utf8(header.value?).ok()
    }
}

/// Callbacks of [`consume`].
pub trait RecordHandler {
    /// The group assigned the first partitions.
    fn assigned(&mut self, partitions: usize);

    /// A record was received. Its offset is stored after this returns, and committed within a second.
    fn received(&mut self, record: &ReceivedRecord<'_>);
}

/// Consumes [`TOPICS`] at least once until `stop` is true; blocks the thread.
///
/// Unavailable brokers and missing topics are retried.
///
/// # Errors
/// A setting that librdkafka rejects, or an error that is not retryable, such as a missing permission.
pub fn consume(
    subscription: &Subscription,
    stop: &AtomicBool,
    handler: &mut impl RecordHandler,
) -> Result<(), Error> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &subscription.brokers)
        .set("group.id", &subscription.group)
        .set("client.id", "shop-data-platform")
        .set("auto.offset.reset", if subscription.from_beginning { "earliest" } else { "latest" })
        // An offset is stored only once its record was processed.
        .set("enable.auto.offset.store", "false")
        // Five seconds by default; rows become COMPLETE at these commits.
        .set("auto.commit.interval.ms", "1000")
        // Five minutes by default; a topic created after the subscription is discovered by it.
        .set("topic.metadata.refresh.interval.ms", "2000")
        .create()
        .map_err(Error::kafka("creating the consumer"))?;
    consumer.subscribe(&TOPICS).map_err(Error::kafka("subscribing"))?;

    let mut has_partitions = false;
    let mut logged = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let polled = consumer.poll(POLL);
        let at = Instant::now();
        if !has_partitions {
            let partitions = consumer.assignment().map_err(Error::kafka("joining the group"))?.count();
            if partitions > 0 {
                has_partitions = true;
                handler.assigned(partitions);
            }
        }
        match polled {
            None => {}
            Some(Ok(message)) => {
                logged.clear();
                handler.received(&ReceivedRecord { message: &message, at });
                // Fails only for a partition that was just revoked: its next owner reads the record again.
                consumer.store_offset_from_message(&message).ok();
            }
            Some(Err(error)) if !is_retryable(&error) => return Err(Error::kafka("consuming")(error)),
            // librdkafka repeats its errors while a broker is unavailable.
            Some(Err(error)) if logged.contains(&error) => {}
            Some(Err(error)) => {
                warn!(%error, "could not consume; retrying");
                logged.push(error);
            }
        }
    }
    Ok(())
}

fn is_retryable(error: &KafkaError) -> bool {
    !matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::Fatal
                | RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SaslAuthenticationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::TopicAuthorizationFailed
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_retryable_for_missing_topic_and_not_for_missing_permission() {
        let consumption = KafkaError::MessageConsumption;
        assert!(is_retryable(&consumption(RDKafkaErrorCode::UnknownTopicOrPartition)));
        assert!(is_retryable(&consumption(RDKafkaErrorCode::AllBrokersDown)));
        assert!(!is_retryable(&consumption(RDKafkaErrorCode::TopicAuthorizationFailed)));
    }

    #[test]
    fn consume_stops_without_a_broker() {
        struct IgnoreRecords;
        impl RecordHandler for IgnoreRecords {
            fn assigned(&mut self, _: usize) {}
            fn received(&mut self, _: &ReceivedRecord<'_>) {}
        }
        let subscription = Subscription {
            brokers: "127.0.0.1:1".to_owned(),
            group: "unused".to_owned(),
            from_beginning: true,
        };
        consume(&subscription, &AtomicBool::new(true), &mut IgnoreRecords).unwrap();
    }
}
