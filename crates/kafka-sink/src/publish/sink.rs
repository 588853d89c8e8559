//! Events in, records out, reports back.

use std::sync::Arc;

use bytes::Bytes;
use outbox::{Event, Token};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::BaseRecord;
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::publish::error::{Failure, Fault, PublishError, Report, SinkError, fault};
use crate::publish::outage::Outage;
use crate::publish::producer::{Batching, Limits, Producer};
use crate::record::headers::HeaderMaker;
use crate::record::rejection::Refusal;
use crate::record::routing::Routing;
use crate::record::topics::Topics;

/// Publishes events, and reports what became of each.
///
/// Every event that [`publish`](Self::publish) took gets one report, unless the sink is closed or broken
/// before. The records of one partition are stored in the order in which they were published, retries
/// included (Kafka's idempotent producer, KIP-98), and none is stored after one that the broker refused: the
/// producer gives up with it, and what was behind it is reported as [`Failure::Lost`].
///
/// A broker that is away is waited for without end. Dropping a sink withdraws what is still queued or on the
/// wire, in the background; [`close`](Self::close) waits for that.
pub struct Sink {
    routing: Routing,
    topics: Topics,
    headers: HeaderMaker,
    topic_buffer: Vec<u8>,
    key_buffer: Vec<u8>,
    config: ClientConfig,
    limits: Limits,
    producer: Producer,
    /// How many records are still to be sent one by one; `None` when they are sent in batches.
    singles_left: Option<usize>,
    in_flight: usize,
    value_bytes: usize,
}

impl Sink {
    /// Makes a producer and its thread. Does not wait for a broker, nor need one to be there.
    ///
    /// At most `reports_max` records are in flight, so that no more reports than that can wait to be taken;
    /// fewer, where the configuration's `queue.buffering.max.messages` or `queue.buffering.max.kbytes` (which
    /// counts values) say so.
    ///
    /// # Errors
    ///
    /// librdkafka's, where it takes no such configuration.
    pub fn new(routing: Routing, config: ClientConfig, reports_max: usize) -> Result<Self, SinkError> {
        Self::make(routing, config, reports_max, Batching::Usual)
    }

    /// Like [`new`](Self::new), but sends the first `reports_max` records one by one, slowly, before it goes
    /// over to batches: after an error for which [`SinkError::needs_singles`], so that the broker tells which
    /// record of a batch it was that it refused.
    ///
    /// # Errors
    ///
    /// Those of `new`.
    pub fn new_with_singles(
        routing: Routing,
        config: ClientConfig,
        reports_max: usize,
    ) -> Result<Self, SinkError> {
        Self::make(routing, config, reports_max, Batching::Singles)
    }

    fn make(
        routing: Routing,
        config: ClientConfig,
        reports_max: usize,
        batching: Batching,
    ) -> Result<Self, SinkError> {
        let limits = Limits::of(&config, reports_max)?;
        let producer = Producer::start(&config, limits, batching)?;
        Ok(Sink {
            routing,
            topics: Topics::default(),
            headers: HeaderMaker::default(),
            topic_buffer: Vec::new(),
            key_buffer: Vec::new(),
            config,
            limits,
            producer,
            singles_left: (batching == Batching::Singles).then_some(reports_max),
            in_flight: 0,
            value_bytes: 0,
        })
    }

    /// Hands the event's record to the producer, without waiting for anything. Returns the record's topic.
    ///
    /// The record: the topic and the key as [`Routing`] finds them; the payload's bytes as they are, NULL as a
    /// tombstone; `created_at` as the timestamp, cut to milliseconds, or the producer's clock where it is NULL
    /// or not after 1970-01-01, which Kafka cannot express; the headers `id`, `event_type` and
    /// `aggregate_type`, the latter two left out where they are NULL, then the members of the row's own, then
    /// `postrider-replay` for one that is sent again on purpose.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; the event was not taken, and no report will come for it.
    pub fn publish(
        &mut self,
        event: &Event,
        token: Token,
        replay: Option<&str>,
    ) -> Result<Arc<str>, PublishError> {
        self.make_room(event)?;
        let topic = self.topic(event).map_err(PublishError::Refused)?;
        let headers = self.headers.make(event, replay).map_err(PublishError::Refused)?;
        self.send(event, token, topic, headers)
    }

    /// Hands an event that cannot be published to the topic of dead letters, with its key, value, timestamp and
    /// headers as [`publish`](Self::publish) would have them, and the headers `postrider-error` (the reason) and
    /// `postrider-topic` (where it was to go). Headers that are no JSON object come whole, as
    /// `postrider-headers`.
    ///
    /// # Errors
    ///
    /// Those of `publish`.
    pub fn publish_dead_letter(
        &mut self,
        event: &Event,
        token: Token,
        topic: &Arc<str>,
        reason: &str,
    ) -> Result<Arc<str>, PublishError> {
        self.make_room(event)?;
        let meant_for = self.topic(event).ok();
        let headers = self.headers.make_dead_letter(event, reason, meant_for.as_deref());
        self.send(event, token, Arc::clone(topic), headers)
    }

    /// The topic of the event's record.
    ///
    /// # Errors
    ///
    /// It has none.
    fn topic(&mut self, event: &Event) -> Result<Arc<str>, Refusal> {
        self.routing.topic(event, &mut self.topics, &mut self.topic_buffer)
    }

    fn make_room(&mut self, event: &Event) -> Result<(), PublishError> {
        if let Some(error) = self.producer.broken() {
            return Err(self.broken(error));
        }
        let value_bytes = event.payload.as_ref().map_or(0, Bytes::len);
        let is_full = self.in_flight >= self.limits.records_max
            || self.value_bytes + value_bytes > self.limits.value_bytes_max
            || self.singles_left == Some(0);
        if is_full && self.in_flight > 0 {
            return Err(PublishError::Full);
        }
        if self.singles_left == Some(0) {
            self.producer =
                Producer::start(&self.config, self.limits, Batching::Usual).map_err(PublishError::Broken)?;
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
        let refused = PublishError::Refused;
        let key = self.routing.key(event, &mut self.key_buffer).map_err(refused)?;
        let value_bytes = event.payload.as_ref().map_or(0, Bytes::len);
        if value_bytes > self.limits.value_bytes_max {
            let (setting, max_bytes) = ("queue.buffering.max.kbytes", self.limits.value_bytes_max);
            return Err(refused(Refusal::too_large_to_send(&topic, value_bytes, setting, max_bytes)));
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
            return Err(self.not_taken(&error, event, &topic));
        }
        self.producer.may_ask_about(&topic);
        self.in_flight += 1;
        self.value_bytes += value_bytes;
        if let Some(left) = &mut self.singles_left {
            *left -= 1;
        }
        Ok(topic)
    }

    /// Waits for at least one report, and appends all there are to `into`, those of records stored in one
    /// partition in the partition's order. A refusal comes before the losses that it caused.
    ///
    /// Cancel-safe: a report is either appended or still there.
    ///
    /// # Errors
    ///
    /// The producer gave up, or its thread ended: no report will come any more for what is in flight, which
    /// is to be published by a new sink. Reports that came before are handed out first.
    pub async fn reports(&mut self, into: &mut Vec<Report>) -> Result<(), SinkError> {
        let before = into.len();
        let value_bytes = match self.producer.context().inbox.take(into).await {
            Ok(value_bytes) => value_bytes,
            Err(error) => {
                (self.in_flight, self.value_bytes) = (0, 0);
                return Err(error);
            }
        };
        self.in_flight = self.in_flight.saturating_sub(into.len() - before);
        self.value_bytes = self.value_bytes.saturating_sub(value_bytes);
        Ok(())
    }

    /// How many events were taken whose reports have not been taken.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The outage there is: no broker answers, and since when. A lost connection to one broker of several is
    /// none.
    pub fn outage(&self) -> Option<Outage> {
        self.producer.context().outage()
    }

    /// Withdraws what is still queued or on the wire and ends the producer. What was on the wire may have
    /// been stored all the same.
    ///
    /// Returns after a second at the latest; a producer that takes longer, in a name lookup for instance,
    /// ends in the background.
    pub async fn close(self) {
        self.producer.close().await;
    }

    fn not_taken(&self, error: &KafkaError, event: &Event, topic: &str) -> PublishError {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        if fault(code) == Fault::TooLarge {
            let (setting, max_bytes) = ("message.max.bytes", self.limits.record_bytes_max);
            let refusal = Refusal::too_large_to_send(topic, event.size_bytes(), setting, max_bytes);
            return PublishError::Refused(refusal);
        }
        if let Some(error) = self.producer.fatal_error() {
            return self.broken(error);
        }
        let context = self.producer.context();
        match context.failure(code, topic, event.size_bytes(), context.inbox.knows(topic)) {
            Failure::Refused(refusal) => PublishError::Refused(refusal),
            Failure::Lost(error) => PublishError::Broken(error),
        }
    }

    /// The reports that are still to come tell more than the error: which record was refused.
    fn broken(&self, error: SinkError) -> PublishError {
        if self.in_flight > 0 { PublishError::Full } else { PublishError::Broken(error) }
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
    async fn a_producer_whose_thread_has_ended_is_an_error_not_a_wait_for_ever() {
        let mut sink = sink(&[], 10);
        sink.publish(&event(), Token::from_usize(1), None).unwrap();
        sink.producer.stop();
        let mut reports = Vec::new();
        assert_eq!(sink.reports(&mut reports).await.unwrap_err(), SinkErrorKind::Gone.into());
        assert!(reports.is_empty());
        assert!(matches!(
            sink.publish(&event(), Token::from_usize(2), None),
            Err(PublishError::Broken(error)) if error == SinkErrorKind::Gone.into()
        ));
    }

    #[tokio::test]
    async fn no_more_is_in_flight_than_reports_may_wait() {
        let mut sink = sink(&[], 2);
        for number in 0..2 {
            sink.publish(&event(), Token::from_usize(number), None).unwrap();
        }
        assert!(matches!(sink.publish(&event(), Token::from_usize(2), None), Err(PublishError::Full)));
        assert_eq!(sink.in_flight(), 2);
        sink.close().await;
    }

    #[tokio::test]
    async fn a_value_that_no_queue_or_setting_lets_through_is_refused_rather_than_waited_for() {
        let mut event = event();
        event.payload = Some(vec![b'x'; 5000].into());
        for (setting, value) in [("queue.buffering.max.kbytes", "4"), ("message.max.bytes", "4096")] {
            let mut sink = sink(&[(setting, value)], 10);
            match sink.publish(&event, Token::from_usize(1), None) {
                Err(PublishError::Refused(refusal)) => {
                    assert!(refusal.to_string().contains(setting), "{refusal}");
                    assert!(refusal.to_string().contains("4096 bytes"), "{refusal}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
