//! Records read by their offsets from a real Kafka.

#![allow(missing_docs, reason = "tests are described by their names")]
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in test functions only, not in their helpers")]

use std::sync::OnceLock;
use std::time::Duration;

use kafka_sink::{OffsetContent, PartitionReader, ReadError};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use testbed::Kafka;

const DEADLINE: Duration = Duration::from_secs(120);

fn kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(|| Kafka::start().unwrap())
}

fn config(kafka: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.brokers());
    config
}

fn producer(settings: &[(&str, &str)]) -> BaseProducer {
    let mut config = config(kafka());
    config.set("queue.buffering.max.messages", "1000000");
    // Otherwise a request retried while the topic is being created would be stored behind later ones.
    config.set("enable.idempotence", "true");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config.create().unwrap()
}

fn send(producer: &BaseProducer, topic: &str, id: Option<&str>, payload: Option<&str>) {
    let mut record = BaseRecord::<str, str>::to(topic).key("k").partition(0);
    if let Some(payload) = payload {
        record = record.payload(payload);
    }
    if let Some(id) = id {
        let headers = OwnedHeaders::new().insert(Header { key: "first", value: Some("x") });
        record = record.headers(headers.insert(Header { key: "id", value: Some(id) }));
    }
    producer.send(record).map_err(|(error, _)| error).unwrap();
}

/// A topic with `count` records whose ids and payloads are their offsets.
fn numbered(topic: &str, count: usize) {
    kafka().create_topic(topic, 2, &[]).unwrap();
    let producer = producer(&[("linger.ms", "5")]);
    for number in 0..count {
        send(&producer, topic, Some(&number.to_string()), Some(&number.to_string()));
    }
    producer.flush(DEADLINE).unwrap();
}

fn reader() -> PartitionReader {
    PartitionReader::new(&config(kafka()), "reader").unwrap()
}

/// The content of the offset as text, a record as `id=payload`.
fn at(reader: &mut PartitionReader, topic: &str, partition: i32, offset: i64) -> String {
    let text = |bytes: Option<&[u8]>| {
        bytes.map_or("none".to_owned(), |bytes| String::from_utf8(bytes.to_vec()).unwrap())
    };
    let show = |at: OffsetContent<'_>| match at {
        OffsetContent::Record { id, payload, .. } => format!("{}={}", text(id), text(payload)),
        other => format!("{other:?}"),
    };
    reader.at(topic, partition, offset, show).unwrap()
}

fn admin() -> AdminClient<DefaultClientContext> {
    config(kafka()).create().unwrap()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn reader_finds_records_forward_backward_and_far_ahead() {
    numbered("reader-numbered", 20_000);
    let mut reader = reader();
    let mut read = |offset: i64| {
        assert_eq!(at(&mut reader, "reader-numbered", 0, offset), format!("{offset}={offset}"));
    };
    (0..3000).for_each(&mut read);
    // A few ahead, many ahead, the same offset, and back.
    for offset in [3100, 19_000, 19_000, 19_000, 19_001, 5, 5, 6, 12_000, 11_999, 19_999] {
        read(offset);
    }
    assert_eq!(at(&mut reader, "reader-numbered", 0, 20_000), "BeyondEnd { end: 20000 }");
    assert_eq!(at(&mut reader, "reader-numbered", 1, 0), "BeyondEnd { end: 0 }");
    assert_eq!(at(&mut reader, "reader-numbered", 0, 7), "7=7");
}

#[test]
fn reader_seeks_over_many_records() {
    numbered("reader-starts", 200_000);
    let mut reader = reader();
    for offset in (10_000..200_000).step_by(10_000) {
        assert_eq!(at(&mut reader, "reader-starts", 0, offset), format!("{offset}={offset}"));
    }
}

#[test]
fn reader_distinguishes_missing_topics_and_partitions_and_creates_none() {
    numbered("reader-some", 1);
    let mut reader = reader();
    assert_eq!(at(&mut reader, "reader-none", 0, 0), "NoTopic");
    assert_eq!(at(&mut reader, "no/name of a topic", 0, 0), "NoTopic");
    assert_eq!(at(&mut reader, "reader-some", 2, 0), "NoPartition");
    assert_eq!(at(&mut reader, "reader-some", 0, -1), "BeforeStart { start: 0 }");
    assert_eq!(at(&mut reader, "reader-some", 0, 0), "0=0");
    assert_eq!(at(&mut reader, "reader-none", 0, 0), "NoTopic");
}

#[test]
fn reader_returns_tombstones_and_records_without_an_id() {
    kafka().create_topic("reader-odd", 1, &[]).unwrap();
    let producer = producer(&[]);
    send(&producer, "reader-odd", Some("a"), None);
    send(&producer, "reader-odd", Some("b"), Some(""));
    send(&producer, "reader-odd", None, Some("c"));
    producer.flush(DEADLINE).unwrap();
    let mut reader = reader();
    for (offset, expected) in ["a=none", "b=", "none=c"].into_iter().enumerate() {
        assert_eq!(at(&mut reader, "reader-odd", 0, offset as i64), expected);
    }
}

#[test]
fn reader_finds_no_record_at_the_end_of_a_transaction() {
    kafka().create_topic("reader-transactions", 1, &[]).unwrap();
    let producer = producer(&[("transactional.id", "reader")]);
    producer.init_transactions(DEADLINE).unwrap();
    for (number, commit) in [(0, true), (1, false), (2, true)] {
        producer.begin_transaction().unwrap();
        send(&producer, "reader-transactions", Some(&number.to_string()), Some("x"));
        producer.flush(DEADLINE).unwrap();
        if commit {
            producer.commit_transaction(DEADLINE).unwrap();
        } else {
            producer.abort_transaction(DEADLINE).unwrap();
        }
    }
    let mut reader = reader();
    for (offset, expected) in
        [(0, "0=x"), (1, "NoRecord"), (2, "1=x"), (3, "NoRecord"), (4, "2=x"), (5, "NoRecord")]
    {
        assert_eq!(at(&mut reader, "reader-transactions", 0, offset), expected, "{offset}");
    }
    assert_eq!(at(&mut reader, "reader-transactions", 0, 6), "BeyondEnd { end: 6 }");
    // The last offset first, which no record follows.
    let mut reader = self::reader();
    assert_eq!(at(&mut reader, "reader-transactions", 0, 5), "NoRecord");
}

#[test]
fn reader_reports_deleted_records_before_the_start() {
    numbered("reader-deleted", 30_000);
    let mut reader = reader();
    assert_eq!(at(&mut reader, "reader-deleted", 0, 0), "0=0");
    let mut before = TopicPartitionList::new();
    before.add_partition_offset("reader-deleted", 0, Offset::Offset(20_000)).unwrap();
    run(admin().delete_records(&before, &AdminOptions::new())).unwrap();
    assert_eq!(at(&mut reader, "reader-deleted", 0, 15_000), "BeforeStart { start: 20000 }");
    assert_eq!(at(&mut reader, "reader-deleted", 0, 20_000), "20000=20000");
    let mut reader = self::reader();
    assert_eq!(at(&mut reader, "reader-deleted", 0, 19_999), "BeforeStart { start: 20000 }");
}

#[test]
fn reader_times_out_without_a_broker() {
    let mut config = ClientConfig::new();
    // No server listens on port 1 of the loopback.
    config.set("bootstrap.servers", "127.0.0.1:1");
    let mut reader = PartitionReader::new(&config, "reader").unwrap().with_timeout(Duration::from_secs(1));
    let error = reader.at("reader-away", 0, 0, |_| ()).unwrap_err();
    assert!(matches!(error, ReadError::Timeout { .. }), "{error:?}");
    assert!(error.to_string().contains("has not answered for 1 s"), "{error}");
}

#[test]
fn reader_times_out_during_an_outage_and_reads_after_it() {
    let kafka = Kafka::start().unwrap();
    kafka.create_topic("reader-paused", 1, &[]).unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.brokers());
    let producer: BaseProducer = config.create().unwrap();
    for number in 0..20_000 {
        send(&producer, "reader-paused", Some(&number.to_string()), Some("x"));
    }
    producer.flush(DEADLINE).unwrap();
    let mut reader = PartitionReader::new(&config, "reader").unwrap().with_timeout(Duration::from_secs(3));
    assert_eq!(at(&mut reader, "reader-paused", 0, 0), "0=x");
    kafka.pause().unwrap();
    let error = reader.at("reader-paused", 0, 19_999, |_| ()).unwrap_err();
    assert!(error.to_string().contains("topic reader-paused, partition 0, has not answered"), "{error}");
    kafka.resume().unwrap();
    let mut reader = reader.with_timeout(DEADLINE);
    assert_eq!(at(&mut reader, "reader-paused", 0, 19_999), "19999=x");
}
