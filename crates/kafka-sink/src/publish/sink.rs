//! Publishes events.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use outbox::{Event, Token};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::BaseRecord;
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::publish::delivery_report::{DeliveryError, DeliveryReport};
use crate::publish::error::{PublishError, SinkError};
use crate::publish::error_class::ErrorClass;
use crate::publish::first_records::{FirstRecords, Turn};
use crate::publish::outage::Outage;
use crate::publish::producer::{Producer, ProducerLimits, SendMode};
use crate::record::headers::HeaderBuilder;
use crate::record::rejection::Rejection;
use crate::record::routing::Routing;
use crate::record::topics::Topics;

/// Publishes events and returns a delivery report for each.
///
/// Every event that [`publish`](Self::publish) accepted gets one report, unless the sink is closed or fails before. The
/// records of one partition are stored in the order in which they were published, retries included (Kafka's idempotent
/// producer, KIP-98), and none is stored after a record that the broker rejected: the rejection is fatal to the
/// producer, and the records behind it are reported as [`DeliveryError::ProducerFailed`].
///
/// During an outage of Kafka records are retried without a limit. Dropping a sink drops the records that are queued or
/// on the wire, in the background; [`close`](Self::close) waits for it.
pub struct Sink {
    routing: Routing,
    topics: Topics,
    headers: HeaderBuilder,
    topic_buffer: Vec<u8>,
    key_buffer: Vec<u8>,
    config: ClientConfig,
    limits: ProducerLimits,
    producer: Producer,
    first_records: FirstRecords,
    /// How many records are left to be sent one by one; `None` if they are sent in batches.
    singles_left: Option<usize>,
    in_flight: usize,
    value_bytes: usize,
}

impl Sink {
    /// Creates a producer and starts its thread. Does not wait for a broker.
    ///
    /// At most `reports_max` records are in flight, or fewer according to `queue.buffering.max.messages` and
    /// `queue.buffering.max.kbytes` (which counts values) in the configuration. So many reports are queued at most.
    ///
    /// # Errors
    ///
    /// librdkafka rejects the configuration.
    pub fn new(routing: Routing, config: ClientConfig, reports_max: usize) -> Result<Self, SinkError> {
        Self::with_batching(routing, config, reports_max, SendMode::Batches)
    }

    /// Like [`new`](Self::new), but sends the first `reports_max` records one by one, slowly, before it sends batches.
    /// To be used after an error with [`SinkError::needs_singles`], to find the record of the batch that the broker
    /// rejected.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new).
    pub fn new_with_singles(
        routing: Routing,
        config: ClientConfig,
        reports_max: usize,
    ) -> Result<Self, SinkError> {
        Self::with_batching(routing, config, reports_max, SendMode::Singles)
    }

    fn with_batching(
        routing: Routing,
        config: ClientConfig,
        reports_max: usize,
        send_mode: SendMode,
    ) -> Result<Self, SinkError> {
        let limits = ProducerLimits::of(&config, reports_max)?;
        let producer = Producer::start(&config, limits, send_mode)?;
        Ok(Sink {
            routing,
            topics: Topics::default(),
            headers: HeaderBuilder::default(),
            topic_buffer: Vec::new(),
            key_buffer: Vec::new(),
            config,
            limits,
            producer,
            first_records: FirstRecords::default(),
            singles_left: (send_mode == SendMode::Singles).then_some(reports_max),
            in_flight: 0,
            value_bytes: 0,
        })
    }

    /// Publishes the event's record. Never blocks. Returns the record's topic.
    ///
    /// The record has the topic and key of [`Routing`]; the payload's bytes as its value, or none (a tombstone) for
    /// NULL; `created_at` as its timestamp, truncated to milliseconds, or the producer's clock if it is NULL or not
    /// after 1970-01-01, which Kafka cannot express; and the headers `id`, `event_type` and `aggregate_type` (the last
    /// two only if they are not NULL), the members of the row's headers, and `postrider-replay` for a record that is
    /// published again.
    ///
    /// # Errors
    ///
    /// The event was not accepted, and no report will arrive for it.
    pub fn publish(
        &mut self,
        event: &Event,
        token: Token,
        replay: Option<&str>,
    ) -> Result<Arc<str>, PublishError> {
        self.make_room(event)?;
        let topic = self.topic(event).map_err(PublishError::Rejected)?;
        let headers = self.headers.build(event, replay).map_err(PublishError::Rejected)?;
        self.send(event, token, topic, headers)
    }

    /// Publishes an event that cannot be published to its own topic to the dead-letter topic. The record has the key,
    /// value, timestamp and headers of [`publish`](Self::publish), and the headers `postrider-error` (the reason) and
    /// `postrider-topic` (the original topic). If the row's headers are not a JSON object, they are copied to
    /// `postrider-headers`.
    ///
    /// # Errors
    ///
    /// Those of [`publish`](Self::publish).
    pub fn publish_dead_letter(
        &mut self,
        event: &Event,
        token: Token,
        topic: &Arc<str>,
        reason: &str,
    ) -> Result<Arc<str>, PublishError> {
        self.make_room(event)?;
        let original_topic = self.topic(event).ok();
        let headers = self.headers.build_dead_letter(event, reason, original_topic.as_deref());
        self.send(event, token, Arc::clone(topic), headers)
    }

    fn topic(&mut self, event: &Event) -> Result<Arc<str>, Rejection> {
        self.routing.topic(event, &mut self.topics, &mut self.topic_buffer)
    }

    fn make_room(&mut self, event: &Event) -> Result<(), PublishError> {
        if let Some(error) = self.producer.failure() {
            return Err(self.failed(error));
        }
        let value_bytes = event.payload.as_ref().map_or(0, Bytes::len);
        let is_full = self.in_flight >= self.limits.records_max
            || self.value_bytes + value_bytes > self.limits.value_bytes_max
            || self.singles_left == Some(0);
        if is_full && self.in_flight > 0 {
            return Err(PublishError::QueueFull);
        }
        if self.singles_left == Some(0) {
            self.producer = Producer::start(&self.config, self.limits, SendMode::Batches)
                .map_err(PublishError::ProducerFailed)?;
            self.first_records = FirstRecords::default();
            self.singles_left = None;
        }
        Ok(())
    }

    fn send(
        &mut self,
        event: &Event,
        token: Token,
        topic: Arc<str>,
        headers: OwnedHeaders,
    ) -> Result<Arc<str>, PublishError> {
        let rejected = PublishError::Rejected;
        let key = self.routing.key(event, &mut self.key_buffer).map_err(rejected)?;
        let value_bytes = event.payload.as_ref().map_or(0, Bytes::len);
        let partition = key.and_then(|key| self.producer.context().partitioner.partition_of(&topic, key));
        // Records without a key have no order to keep. One that is overtaken is reported without an offset.
        let turn = match key {
            Some(_) => self.first_records.turn(&topic, partition, Instant::now()),
            None => Turn::Now,
        };
        if turn == Turn::Later {
            return Err(PublishError::QueueFull);
        }
        if value_bytes > self.limits.value_bytes_max {
            let (setting, max_bytes) = ("queue.buffering.max.kbytes", self.limits.value_bytes_max);
            return Err(rejected(Rejection::too_large_to_send(&topic, value_bytes, setting, max_bytes)));
        }
        let record: BaseRecord<'_, [u8], [u8], usize> = BaseRecord {
            topic: &topic,
            partition: None,
            payload: event.payload.as_deref(),
            key,
            timestamp: event.created_at_us.map(|us| us.div_euclid(1000)).filter(|ms| *ms > 0),
            headers: Some(headers),
            delivery_opaque: token.to_usize(),
        };
        if let Err(error) = self.producer.send(record) {
            return Err(self.not_accepted(&error, event, &topic));
        }
        if turn == Turn::First {
            self.first_records.sent(token, Arc::clone(&topic), partition);
        }
        self.producer.may_probe(&topic);
        self.in_flight += 1;
        self.value_bytes += value_bytes;
        if let Some(left) = &mut self.singles_left {
            *left -= 1;
        }
        Ok(topic)
    }

    /// Waits for a delivery report and appends all that are there. The reports of a partition are in the order of its
    /// offsets, and a rejection precedes the failures that follow from it.
    ///
    /// Cancel-safe: a report is either appended or still queued.
    ///
    /// # Errors
    ///
    /// The producer failed, or its thread ended. No report will arrive for the events in flight, which have to be
    /// published by a new sink. Reports that arrived before are returned first.
    pub async fn reports(&mut self, into: &mut Vec<DeliveryReport>) -> Result<(), SinkError> {
        let before = into.len();
        let value_bytes = match self.producer.context().reports.take(into).await {
            Ok(value_bytes) => value_bytes,
            Err(error) => {
                (self.in_flight, self.value_bytes) = (0, 0);
                return Err(error);
            }
        };
        self.in_flight = self.in_flight.saturating_sub(into.len() - before);
        self.value_bytes = self.value_bytes.saturating_sub(value_bytes);
        self.first_records.reported(&into[before..]);
        Ok(())
    }

    /// How many accepted events have no report yet.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The outage of Kafka, if there is one: no broker answers. A lost connection to one of several brokers is none.
    pub fn outage(&self) -> Option<Outage> {
        self.producer.context().outage()
    }

    /// Drops the records that are queued or on the wire and closes the producer. Records on the wire may be stored.
    ///
    /// Returns after a second at the latest; a producer that needs longer, in a DNS lookup for example, is closed in the
    /// background.
    pub async fn close(self) {
        self.producer.close().await;
    }

    fn not_accepted(&self, error: &KafkaError, event: &Event, topic: &str) -> PublishError {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        if ErrorClass::of(code) == ErrorClass::TooLarge {
            let (setting, max_bytes) = ("message.max.bytes", self.limits.record_bytes_max);
            let rejection = Rejection::too_large_to_send(topic, event.size_bytes(), setting, max_bytes);
            return PublishError::Rejected(rejection);
        }
        if let Some(error) = self.producer.fatal_error() {
            return self.failed(error);
        }
        let context = self.producer.context();
        let is_known = context.reports.has_delivered_to(topic);
        match context.delivery_error(code, topic, event.size_bytes(), is_known) {
            DeliveryError::Rejected(rejection) => PublishError::Rejected(rejection),
            DeliveryError::ProducerFailed(error) => PublishError::ProducerFailed(error),
        }
    }

    /// Pending reports come first: they have the record that was rejected.
    fn failed(&self, error: SinkError) -> PublishError {
        if self.in_flight > 0 { PublishError::QueueFull } else { PublishError::ProducerFailed(error) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use outbox::Columns;

    use super::*;
    use crate::config::properties::client_config;
    use crate::publish::error::SinkErrorKind;
    use crate::record::fixture::event;

    fn sink(properties: &[(&str, &str)], reports_max: usize) -> Sink {
        let routing =
            Routing::compile("outbox.event.{aggregate_type}", "{aggregate_id}", &mut Columns::default());
        let properties: BTreeMap<_, _> =
            properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        // The discard port: nothing listens there.
        let config = client_config("127.0.0.1:9", &properties).unwrap();
        Sink::new(routing.unwrap(), config, reports_max).unwrap()
    }

    #[tokio::test]
    async fn reports_returns_an_error_when_the_thread_has_ended() {
        let mut sink = sink(&[], 10);
        sink.publish(&event(), Token::from_usize(1), None).unwrap();
        sink.producer.stop();
        let mut reports = Vec::new();
        assert_eq!(sink.reports(&mut reports).await.unwrap_err(), SinkErrorKind::ThreadEnded.into());
        assert!(reports.is_empty());
        assert!(matches!(
            sink.publish(&event(), Token::from_usize(2), None),
            Err(PublishError::ProducerFailed(error)) if error == SinkErrorKind::ThreadEnded.into()
        ));
    }

    #[tokio::test]
    async fn publish_limits_the_records_in_flight() {
        let mut sink = sink(&[], 2);
        // Without a key, so that no record waits for the first one of its partition.
        let event = Event { aggregate_id: None, ..event() };
        for number in 0..2 {
            sink.publish(&event, Token::from_usize(number), None).unwrap();
        }
        assert!(matches!(sink.publish(&event, Token::from_usize(2), None), Err(PublishError::QueueFull)));
        assert_eq!(sink.in_flight(), 2);
        sink.close().await;
    }

    #[tokio::test]
    async fn publish_rejects_values_above_the_limits() {
        let mut event = event();
        event.payload = Some(vec![b'x'; 5000].into());
        for (setting, value) in [("queue.buffering.max.kbytes", "4"), ("message.max.bytes", "4096")] {
            let mut sink = sink(&[(setting, value)], 10);
            match sink.publish(&event, Token::from_usize(1), None) {
                Err(PublishError::Rejected(rejection)) => {
                    assert!(rejection.to_string().contains(setting), "{rejection}");
                    assert!(rejection.to_string().contains("4096 bytes"), "{rejection}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
