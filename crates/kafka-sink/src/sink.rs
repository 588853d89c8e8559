//! The producer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use outbox::{Event, Token};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::oneshot;

use crate::context::Context;
use crate::failure::{Failure, Fault, PublishError, Report, SinkError, SinkErrorKind, fault};
use crate::headers::HeaderMaker;
use crate::outage::Outage;
use crate::refusal::Refusal;
use crate::routing::Routing;
use crate::topics::Topics;

/// How long the producer's thread waits for something to do before it looks whether it is to end.
const TURN: Duration = Duration::from_millis(100);

/// How long a broker that is asked whether it is back may take. Reports wait meanwhile, but there are none.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// How long a closing producer is waited for.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Publishes events, and reports what became of each.
///
/// Every event that [`publish`](Self::publish) took gets one report, unless the sink is closed or broken
/// before. The records of one partition are stored in the order in which they were published, retries
/// included (Kafka's idempotent producer, KIP-98); a record that is refused leaves a gap.
///
/// A broker that is away is waited for without end. Dropping a sink withdraws what is still queued or on the
/// wire, in the background; [`close`](Self::close) waits for that.
pub struct Sink {
    routing: Routing,
    topics: Topics,
    headers: HeaderMaker,
    topic_buffer: Vec<u8>,
    key_buffer: Vec<u8>,
    producer: Arc<BaseProducer<Context>>,
    limits: Limits,
    in_flight: usize,
    /// Behind the producer, so that it is dropped after it: the last share of the producer is then its
    /// thread's, where ending it may block.
    stop: Stop,
    ended: oneshot::Receiver<()>,
}

/// Ends the producer's thread when it is dropped.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    reports_max: usize,
    queue_bytes_max: usize,
    record_bytes_max: usize,
}

impl Sink {
    /// Makes a producer and its thread. Does not wait for a broker, nor need one to be there.
    ///
    /// At most `reports_max` records are in flight, so that no more reports than that can wait to be taken.
    ///
    /// # Errors
    ///
    /// librdkafka's, where it takes no such configuration.
    pub fn new(routing: Routing, config: ClientConfig, reports_max: usize) -> Result<Self, SinkError> {
        let not_made = |error: KafkaError| SinkError::from(SinkErrorKind::NotMade(error.to_string()));
        let native = config.create_native_config().map_err(not_made)?;
        let setting = |name: &str| -> Result<usize, SinkError> {
            let value = native.get(name).map_err(not_made)?;
            let error = || SinkErrorKind::NotMade(format!("{name} = {value} is no number")).into();
            value.parse().map_err(|_| error())
        };
        let limits = Limits {
            reports_max,
            queue_bytes_max: setting("queue.buffering.max.kbytes")? * 1024,
            record_bytes_max: setting("message.max.bytes")?,
        };
        let context = Context::new(reports_max, setting("batch.size")?);
        let producer: BaseProducer<Context> = config.create_with_context(context).map_err(not_made)?;
        let producer = Arc::new(producer);
        let stop = Arc::new(AtomicBool::new(false));
        let (end, ended) = oneshot::channel();
        let serve = {
            let (producer, stop) = (Arc::clone(&producer), Arc::clone(&stop));
            move || {
                serve(&producer, &stop);
                // What is left of the producer ends here, so that whoever closes it need not block.
                drop(producer);
                let _ = end.send(());
            }
        };
        let thread = thread::Builder::new().name("kafka-producer".to_owned()).spawn(serve);
        thread.map_err(|error| SinkErrorKind::NotMade(error.to_string()))?;
        Ok(Sink {
            routing,
            topics: Topics::default(),
            headers: HeaderMaker::default(),
            topic_buffer: Vec::new(),
            key_buffer: Vec::new(),
            producer,
            limits,
            in_flight: 0,
            stop: Stop(stop),
            ended,
        })
    }

    /// Hands the event's record to the producer, without waiting for anything. Returns the record's topic.
    ///
    /// The record: the topic and the key as [`Routing`] finds them; the payload's bytes as they are, NULL as a
    /// tombstone; `created_at` as the timestamp, cut to milliseconds, or the producer's clock where it is NULL
    /// or not after 1970-01-01, which Kafka cannot express; the headers `id`, `event_type` and
    /// `aggregate_type`, the latter two left out where they are NULL, then the members of the row's own.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; the event was not taken, and no report will come for it.
    pub fn publish(&mut self, event: &Event, token: Token) -> Result<Arc<str>, PublishError> {
        if self.in_flight >= self.limits.reports_max {
            return Err(PublishError::Full);
        }
        if self.producer.context().inbox.is_broken()
            && let Some(error) = self.producer.context().inbox.broken()
        {
            return Err(PublishError::Broken(error));
        }
        let refused = PublishError::Refused;
        let topic = self.routing.topic(event, &mut self.topics, &mut self.topic_buffer).map_err(refused)?;
        let key = self.routing.key(event, &mut self.key_buffer).map_err(refused)?;
        let headers = self.headers.make(event).map_err(refused)?;
        let record: BaseRecord<'_, [u8], [u8], usize> = BaseRecord {
            topic: &topic,
            partition: None,
            payload: event.payload.as_deref(),
            key,
            timestamp: event.created_at_us.map(|us| us.div_euclid(1000)).filter(|ms| *ms > 0),
            headers: Some(headers),
            delivery_opaque: token.to_usize(),
        };
        match self.producer.send(record) {
            Ok(()) => {
                if self.in_flight == 0 {
                    self.producer.context().topic.get_or_init(|| Arc::clone(&topic));
                }
                self.in_flight += 1;
                Ok(topic)
            }
            Err((error, _)) => Err(self.not_taken(&error, event, &topic)),
        }
    }

    /// Waits for at least one report, and appends all there are to `into`, those of one partition in the
    /// partition's order.
    ///
    /// Cancel-safe: a report is either appended or still there.
    ///
    /// # Errors
    ///
    /// The producer gave up, or its thread ended: no report will come any more for what is in flight, which
    /// is to be published by a new sink. Reports that came before are handed out first.
    pub async fn reports(&mut self, into: &mut Vec<Report>) -> Result<(), SinkError> {
        let before = into.len();
        self.producer.context().inbox.take(into).await?;
        self.in_flight = self.in_flight.saturating_sub(into.len() - before);
        Ok(())
    }

    /// How many events were taken whose reports have not been taken.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The outage there is: no broker answers, and for how long. A lost connection to one broker of several
    /// is none.
    pub fn outage(&self) -> Option<Outage> {
        self.producer.context().outage()
    }

    /// Withdraws what is still queued or on the wire and ends the producer. What was on the wire may have
    /// been stored all the same.
    ///
    /// Returns after a second at the latest; a producer that takes longer, in a name lookup for instance,
    /// ends in the background.
    pub async fn close(self) {
        let Sink { producer, stop, ended, .. } = self;
        drop(producer);
        drop(stop);
        if tokio::time::timeout(CLOSE_WITHIN, ended).await.is_err() {
            tracing::debug!(target: "kafka", "the producer takes its time to end");
        }
    }

    fn not_taken(&self, error: &KafkaError, event: &Event, topic: &str) -> PublishError {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        let payload_bytes = event.payload.as_ref().map_or(0, bytes::Bytes::len);
        match fault(code) {
            // The queue counts values alone, and one above its bound does not fit an empty queue either.
            Fault::Full if payload_bytes > self.limits.queue_bytes_max => {
                PublishError::Refused(Refusal::too_large_to_send(
                    topic,
                    payload_bytes,
                    "queue.buffering.max.kbytes",
                    self.limits.queue_bytes_max,
                ))
            }
            Fault::Full => PublishError::Full,
            Fault::TooLarge => PublishError::Refused(Refusal::too_large_to_send(
                topic,
                event.size_bytes(),
                "message.max.bytes",
                self.limits.record_bytes_max,
            )),
            Fault::Record(_) | Fault::NoTopic | Fault::Companion | Fault::Producer => {
                let context = self.producer.context();
                let is_known = context.inbox.knows(topic);
                match context.failure(code, topic, event.size_bytes(), is_known) {
                    Failure::Refused(refusal) => PublishError::Refused(refusal),
                    Failure::Lost(error) => PublishError::Broken(context.inbox.broken().unwrap_or(error)),
                }
            }
        }
    }
}

/// Takes reports and errors as they come, until it is told to stop.
fn serve(producer: &BaseProducer<Context>, stop: &AtomicBool) {
    let context = producer.context();
    let _sender = context.inbox.sender();
    while !stop.load(Ordering::Relaxed) {
        producer.poll(TURN);
        if context.is_fatal()
            && let Some((code, reason)) = producer.client().fatal_error()
        {
            context.inbox.broke(SinkErrorKind::Fatal { code, reason }.into());
        }
        if context.is_to_ask() {
            // About one topic where one is known: about all of them is much to tell in a large cluster.
            let topic = context.topic.get().map(|topic| &**topic);
            context.asked(producer.client().fetch_metadata(topic, ANSWER_WITHIN).is_ok());
        }
        context.tick();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use outbox::Columns;

    use super::*;
    use crate::client_config;
    use crate::fixture::event;

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
        sink.publish(&event(), Token::from_usize(1)).unwrap();
        sink.stop.0.store(true, Ordering::Relaxed);
        let mut reports = Vec::new();
        assert_eq!(sink.reports(&mut reports).await.unwrap_err(), SinkErrorKind::Gone.into());
        assert!(reports.is_empty());
        assert!(matches!(
            sink.publish(&event(), Token::from_usize(2)),
            Err(PublishError::Broken(error)) if error == SinkErrorKind::Gone.into()
        ));
    }

    #[tokio::test]
    async fn no_more_is_in_flight_than_reports_may_wait() {
        let mut sink = sink(&[], 2);
        for number in 0..2 {
            sink.publish(&event(), Token::from_usize(number)).unwrap();
        }
        assert!(matches!(sink.publish(&event(), Token::from_usize(2)), Err(PublishError::Full)));
        assert_eq!(sink.in_flight(), 2);
        sink.close().await;
    }

    #[tokio::test]
    async fn a_value_that_no_queue_or_setting_lets_through_is_refused_rather_than_waited_for() {
        let mut event = event();
        event.payload = Some(vec![b'x'; 5000].into());
        for (setting, value) in [("queue.buffering.max.kbytes", "4"), ("message.max.bytes", "4096")] {
            let mut sink = sink(&[(setting, value)], 10);
            match sink.publish(&event, Token::from_usize(1)) {
                Err(PublishError::Refused(refusal)) => {
                    assert!(refusal.to_string().contains(setting), "{refusal}");
                    assert!(refusal.to_string().contains("4096 bytes"), "{refusal}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
