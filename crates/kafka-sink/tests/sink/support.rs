//! A shared Kafka, and what every test does with it.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_sink::{DeliveryReport, PartitionOffset, PublishError, Routing, Sink, client_config};
use outbox::{Columns, Event, Token};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::OwnedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use testbed::Kafka;
use uuid::Uuid;

/// Generous, for a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

pub(crate) fn kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(|| Kafka::start().unwrap())
}

/// A topic with a unique name.
pub(crate) fn topic(kafka: &Kafka, partitions: i32, configs: &[(&str, &str)]) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("sink-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    kafka.create_topic(&name, partitions, configs).unwrap();
    name
}

pub(crate) fn sink(kafka: &Kafka, properties: &[(&str, &str)]) -> Sink {
    let (routing, config) = settings(kafka, properties);
    Sink::new(routing, config, 100_000).unwrap()
}

pub(crate) fn singles(kafka: &Kafka, properties: &[(&str, &str)]) -> Sink {
    let (routing, config) = settings(kafka, properties);
    Sink::new_with_singles(routing, config, 20).unwrap()
}

fn settings(kafka: &Kafka, properties: &[(&str, &str)]) -> (Routing, ClientConfig) {
    let properties: BTreeMap<_, _> =
        properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut columns = Columns::default();
    let routing = Routing::compile("outbox.event.{aggregate_type}", "{aggregate_id}", &mut columns).unwrap();
    (routing, client_config(kafka.brokers(), &properties).unwrap())
}

pub(crate) fn event(topic: &str, key: &str, payload: &str) -> Event {
    static COUNT: AtomicUsize = AtomicUsize::new(1);
    Event {
        aggregate_type: Some(Bytes::from("order")),
        aggregate_id: Some(Bytes::copy_from_slice(key.as_bytes())),
        event_type: Some(Bytes::from("order_placed")),
        payload: Some(Bytes::copy_from_slice(payload.as_bytes())),
        topic: Some(Bytes::copy_from_slice(topic.as_bytes())),
        ..Event::new(Uuid::from_u128(COUNT.fetch_add(1, Ordering::Relaxed) as u128))
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("no result before the deadline")
}

/// Publishes the events with their indexes as tokens, and returns their delivery reports in that order.
pub(crate) async fn publish(sink: &mut Sink, events: &[Event]) -> Vec<DeliveryReport> {
    let mut reports = Vec::new();
    for (index, event) in events.iter().enumerate() {
        loop {
            match sink.publish(event, Token::from_usize(index), None) {
                Ok(_) => break,
                Err(PublishError::QueueFull) => within(sink.reports(&mut reports)).await.unwrap(),
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    while reports.len() < events.len() {
        within(sink.reports(&mut reports)).await.unwrap();
    }
    reports.sort_by_key(|report| report.token.to_usize());
    let tokens: Vec<_> = reports.iter().map(|report| report.token.to_usize()).collect();
    assert_eq!(tokens, (0..events.len()).collect::<Vec<_>>());
    reports
}

pub(crate) fn stored_at(report: &DeliveryReport) -> PartitionOffset {
    *report.outcome.as_ref().unwrap_or_else(|failure| panic!("{failure:?}"))
}

/// All records of a topic, by partition and offset.
pub(crate) fn consume(kafka: &Kafka, topic: &str, partitions: i32) -> Vec<OwnedMessage> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka.brokers())
        .set("group.id", "none")
        .set("enable.auto.commit", "false");
    // Reads duplicates and records of aborted transactions, too.
    config.set("isolation.level", "read_uncommitted");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut assignment = TopicPartitionList::new();
    let mut left = 0;
    for partition in 0..partitions {
        let (low, high) = consumer.fetch_watermarks(topic, partition, DEADLINE).unwrap();
        left += high - low;
        assignment.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut messages = Vec::new();
    let deadline = Instant::now() + DEADLINE;
    while left > 0 {
        assert!(Instant::now() < deadline, "{left} records did not come");
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            messages.push(message.unwrap().detach());
            left -= 1;
        }
    }
    use rdkafka::Message as _;
    messages.sort_by_key(|message| (message.partition(), message.offset()));
    messages
}
