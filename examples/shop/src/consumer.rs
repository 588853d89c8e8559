//! The data platform: a consumer group on the outbox's topics.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use tracing::warn;

use crate::Error;

/// The topics of the shop's events.
pub const TOPICS: [&str; 2] = ["outbox.event.order", "outbox.event.payment"];

/// How often the consumer looks whether it is to stop; a record is never waited for that long.
const POLL: Duration = Duration::from_millis(100);

/// What to consume.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The brokers, comma-separated.
    pub brokers: String,
    /// The consumer group; its committed offsets say where it goes on.
    pub group: String,
    /// Where a group without committed offsets begins: at the topics' beginning, else at their end.
    pub from_beginning: bool,
}

/// A record as it arrived.
pub struct ReceivedRecord<'a> {
    message: &'a BorrowedMessage<'a>,
    /// Read right after the record was handed over.
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

    /// The key, where it is UTF-8.
    pub fn key(&self) -> Option<&str> {
        std::str::from_utf8(self.message.key()?).ok()
    }

    /// The value; `None` is a tombstone.
    pub fn payload(&self) -> Option<&[u8]> {
        self.message.payload()
    }

    /// The first header of this name, where it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = self.message.headers()?;
        let header = headers.iter().find(|header| header.key == name)?;
        std::str::from_utf8(header.value?).ok()
    }
}

/// What happens at the data platform.
pub trait RecordHandler {
    /// The group gave this consumer its partitions: from now on it reads.
    fn assigned(&mut self, partitions: usize);

    /// A record arrived. Its offset is stored, and so committed soon, after this returns.
    fn received(&mut self, record: &ReceivedRecord<'_>);
}

/// Consumes [`TOPICS`] until `stop` is true, at least once per record; blocks its thread.
///
/// Brokers that are away and topics that are not there yet are waited for.
///
/// # Errors
/// A setting Kafka's client refuses, or a refusal that waiting does not cure, such as a missing permission.
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
        // An offset is committed only once its record is worked on.
        .set("enable.auto.offset.store", "false")
        // Five seconds by default; who waits for this group's commits should not wait that long.
        .set("auto.commit.interval.ms", "1000")
        // A topic that is made after the subscription would otherwise be noticed after five minutes.
        .set("topic.metadata.refresh.interval.ms", "2000")
        .create()
        .map_err(Error::kafka("making the consumer"))?;
    consumer.subscribe(&TOPICS).map_err(Error::kafka("subscribing"))?;

    let mut joined = false;
    let mut waiting_for = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let polled = consumer.poll(POLL);
        let at = Instant::now();
        if !joined {
            let partitions = consumer.assignment().map_err(Error::kafka("joining the group"))?.count();
            if partitions > 0 {
                joined = true;
                handler.assigned(partitions);
            }
        }
        match polled {
            None => {}
            Some(Ok(message)) => {
                waiting_for.clear();
                handler.received(&ReceivedRecord { message: &message, at });
                // Fails only for a partition this consumer has just lost: its next owner reads the record again.
                consumer.store_offset_from_message(&message).ok();
            }
            Some(Err(error)) if is_definite(&error) => return Err(Error::kafka("consuming")(error)),
            // librdkafka repeats itself while a broker is away; one line per reason is enough.
            Some(Err(error)) if waiting_for.contains(&error) => {}
            Some(Err(error)) => {
                warn!("waiting: {error}");
                waiting_for.push(error);
            }
        }
    }
    Ok(())
}

fn is_definite(error: &KafkaError) -> bool {
    matches!(
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
    fn a_missing_topic_is_waited_for_and_a_missing_permission_is_not() {
        let consumption = KafkaError::MessageConsumption;
        assert!(!is_definite(&consumption(RDKafkaErrorCode::UnknownTopicOrPartition)));
        assert!(!is_definite(&consumption(RDKafkaErrorCode::AllBrokersDown)));
        assert!(is_definite(&consumption(RDKafkaErrorCode::TopicAuthorizationFailed)));
    }

    #[test]
    fn a_consumer_that_is_told_to_stop_ends_without_a_broker() {
        struct Nobody;
        impl RecordHandler for Nobody {
            fn assigned(&mut self, _: usize) {}
            fn received(&mut self, _: &ReceivedRecord<'_>) {}
        }
        let subscription = Subscription {
            brokers: "127.0.0.1:1".to_owned(),
            group: "nobody".to_owned(),
            from_beginning: true,
        };
        consume(&subscription, &AtomicBool::new(true), &mut Nobody).unwrap();
    }
}
