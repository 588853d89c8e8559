//! A Kafka for the tests that do not break it, records as Postrider writes them, and a write-back that does
//! as the test says.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use kafka_sink::{
    ChunkOutcome, KafkaLooks, LookError, ReceiptChunk, Receipts, ReceiptsOptions, client_config,
    consumer_config,
};
use outbox::{Receipt, RecordPosition};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use testbed::Kafka;
use tokio::sync::mpsc;
use uuid::Uuid;

/// Generous, for a machine with much else to do.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Long enough for what must not happen to happen, if it does.
pub(crate) const QUIET: Duration = Duration::from_millis(2500);

pub(crate) fn kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(|| Kafka::start().unwrap())
}

/// A name of the test's own.
pub(crate) fn name(kind: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("{kind}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A topic of the test's own.
pub(crate) fn topic(kafka: &Kafka, partitions: i32) -> Arc<str> {
    let name = name("receipts");
    kafka.create_topic(&name, partitions, &[]).unwrap();
    Arc::from(name)
}

pub(crate) fn config(kafka: &Kafka) -> ClientConfig {
    client_config(kafka.brokers(), &BTreeMap::new()).unwrap()
}

pub(crate) fn looks(kafka: &Kafka) -> KafkaLooks {
    KafkaLooks::new(&config(kafka))
}

/// A record with these headers. Returns when it is acknowledged.
pub(crate) fn put_with(kafka: &Kafka, topic: &str, partition: i32, headers: &[(&str, &str)]) {
    let producer: BaseProducer = config(kafka).create().unwrap();
    send(&producer, topic, partition, headers);
    producer.flush(DEADLINE).unwrap();
}

/// `count` records of rows. Returns their ids when they are acknowledged.
pub(crate) fn put(kafka: &Kafka, topic: &str, partition: i32, count: usize) -> Vec<Uuid> {
    static COUNT: AtomicUsize = AtomicUsize::new(1);
    let producer: BaseProducer = config(kafka).create().unwrap();
    let ids: Vec<_> =
        (0..count).map(|_| Uuid::from_u128(COUNT.fetch_add(1, Ordering::Relaxed) as u128)).collect();
    for id in &ids {
        send(&producer, topic, partition, &[("id", &id.to_string()), ("event_type", "order_placed")]);
    }
    producer.flush(DEADLINE).unwrap();
    ids
}

pub(crate) fn send(producer: &BaseProducer, topic: &str, partition: i32, headers: &[(&str, &str)]) {
    let mut owned = OwnedHeaders::new();
    for (key, value) in headers {
        owned = owned.insert(Header { key, value: Some(*value) });
    }
    let record = BaseRecord::<str, str>::to(topic).partition(partition).key("k").payload("{}").headers(owned);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.poll(Duration::ZERO);
}

pub(crate) fn admin(kafka: &Kafka) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", kafka.brokers()).create().unwrap()
}

pub(crate) async fn delete_topic(kafka: &Kafka, topic: &str) {
    let options = AdminOptions::new().operation_timeout(Some(DEADLINE));
    within(admin(kafka).delete_topics(&[topic], &options)).await.unwrap();
}

/// Drops the partition's records before `offset`.
pub(crate) async fn delete_records(kafka: &Kafka, topic: &str, partition: i32, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
    within(admin(kafka).delete_records(&list, &AdminOptions::new())).await.unwrap();
}

/// Commits as a consumer group would.
pub(crate) fn commit(kafka: &Kafka, group: &str, topic: &str, partition: i32, offset: i64) {
    let consumer: BaseConsumer = consumer_config(&config(kafka), group).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
    let deadline = Instant::now() + DEADLINE;
    while let Err(error) = consumer.commit(&list, CommitMode::Sync) {
        assert!(Instant::now() < deadline, "{error}");
    }
}

pub(crate) async fn committed(kafka: &Kafka, group: &str, topic: &Arc<str>, partition: i32) -> Option<i64> {
    told(&looks(kafka), group, &[(Arc::clone(topic), partition)]).await.unwrap()[0]
}

/// The committed offsets, asked until they are told or it is definite that they are not.
pub(crate) async fn told(
    looks: &KafkaLooks,
    group: &str,
    partitions: &[(Arc<str>, i32)],
) -> Result<Vec<Option<i64>>, LookError> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match looks.committed(group, partitions).await {
            // A coordinator that has just been made.
            Err(error) if error.is_transient() && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            told => return told,
        }
    }
}

/// Waits until the group has committed `offset`.
pub(crate) async fn until_committed(
    kafka: &Kafka,
    group: &str,
    topic: &Arc<str>,
    partition: i32,
    offset: i64,
) {
    let looks = looks(kafka);
    let wanted = [(Arc::clone(topic), partition)];
    let deadline = Instant::now() + DEADLINE;
    loop {
        let committed = told(&looks, group, &wanted).await.unwrap()[0];
        if committed == Some(offset) {
            return;
        }
        assert!(Instant::now() < deadline, "{committed:?} instead of {offset}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it took longer than the deadline")
}

/// Receipts and what they come to.
pub(crate) struct Life {
    pub(crate) receipts: Receipts,
    pub(crate) chunks: mpsc::Receiver<ReceiptChunk>,
}

impl Life {
    pub(crate) fn start(kafka: &Kafka, group: &str, follow: &[&str]) -> Self {
        let follow = follow.iter().map(|group| (*group).to_owned()).collect();
        let options = ReceiptsOptions { config: config(kafka), group: group.to_owned(), follow };
        let (sender, chunks) = mpsc::channel(2);
        Life { receipts: Receipts::start(options, sender).unwrap(), chunks }
    }

    pub(crate) fn observe(&mut self, topic: &Arc<str>, partition: i32, offset: i64) {
        self.receipts.observe(&RecordPosition { topic: Arc::clone(topic), partition, offset });
    }

    pub(crate) async fn chunk(&mut self) -> ReceiptChunk {
        within(self.chunks.recv()).await.expect("the worker has ended")
    }

    /// Takes `count` receipts and reports them durable.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<Receipt> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let chunk = self.chunk().await;
            assert!((1..=500).contains(&chunk.receipts.len()), "{}", chunk.receipts.len());
            let completed = chunk.receipts.len() as u64;
            taken.extend(chunk.receipts);
            chunk.done.send(ChunkOutcome { completed, idle: 0 }).unwrap();
        }
        assert_eq!(taken.len(), count);
        taken
    }

    /// Takes the next chunk and reports it durable.
    pub(crate) async fn take_some(&mut self) -> Vec<Receipt> {
        let chunk = self.chunk().await;
        chunk.done.send(ChunkOutcome::default()).unwrap();
        chunk.receipts
    }

    /// Nothing comes.
    pub(crate) async fn rests(&mut self) {
        if let Ok(chunk) = tokio::time::timeout(QUIET, self.chunks.recv()).await {
            panic!("{chunk:?}");
        }
    }
}

pub(crate) fn ids(receipts: &[Receipt]) -> Vec<Uuid> {
    receipts.iter().map(|receipt| receipt.id).collect()
}

pub(crate) fn offsets(receipts: &[Receipt]) -> Vec<i64> {
    receipts.iter().map(|receipt| receipt.at.offset).collect()
}
