//! A shared Kafka, records like Postrider's, and a receiver of receipts in place of the write-back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use kafka_sink::{
    ChunkOutcome, InspectError, KafkaInspector, ReceiptChunk, Receipts, ReceiptsOptions, client_config,
    consumer_config,
};
use outbox::{Metrics, Receipt, RecordPosition};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use testbed::Kafka;
use tokio::sync::mpsc;
use uuid::Uuid;

/// Generous, for a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// How long to wait for events that must not happen.
pub(crate) const QUIET: Duration = Duration::from_millis(2500);

pub(crate) fn kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(|| Kafka::start().unwrap())
}

/// A unique name.
pub(crate) fn name(kind: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("{kind}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A topic with a unique name.
pub(crate) fn topic(kafka: &Kafka, partitions: i32) -> Arc<str> {
    let name = name("receipts");
    kafka.create_topic(&name, partitions, &[]).unwrap();
    Arc::from(name)
}

pub(crate) fn config(kafka: &Kafka) -> ClientConfig {
    client_config(kafka.brokers(), &BTreeMap::new()).unwrap()
}

pub(crate) fn inspector(kafka: &Kafka) -> KafkaInspector {
    KafkaInspector::new(&config(kafka))
}

/// Publishes a record with these headers and waits for its acknowledgement.
pub(crate) fn put_with(kafka: &Kafka, topic: &str, partition: i32, headers: &[(&str, &str)]) {
    let producer: BaseProducer = config(kafka).create().unwrap();
    send(&producer, topic, partition, headers);
    producer.flush(DEADLINE).unwrap();
}

/// Publishes `count` records of rows, waits for their acknowledgement and returns their ids.
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

/// Deletes the partition's records before `offset`.
pub(crate) async fn delete_records(kafka: &Kafka, topic: &str, partition: i32, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
    within(admin(kafka).delete_records(&list, &AdminOptions::new())).await.unwrap();
}

/// Commits an offset for the group.
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
    committed_offsets(&inspector(kafka), group, &[(Arc::clone(topic), partition)]).await.unwrap()[0]
}

/// The committed offsets, or an error that is not retryable.
pub(crate) async fn committed_offsets(
    inspector: &KafkaInspector,
    group: &str,
    partitions: &[(Arc<str>, i32)],
) -> Result<Vec<Option<i64>>, InspectError> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match inspector.committed(group, partitions).await {
            // The coordinator of a new group.
            Err(error) if error.is_retryable() && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            outcome => return outcome,
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
    let inspector = inspector(kafka);
    let wanted = [(Arc::clone(topic), partition)];
    let deadline = Instant::now() + DEADLINE;
    loop {
        let committed = committed_offsets(&inspector, group, &wanted).await.unwrap()[0];
        if committed == Some(offset) {
            return;
        }
        assert!(Instant::now() < deadline, "{committed:?} instead of {offset}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("no result before the deadline")
}

/// Receipts and the end of their channel.
pub(crate) struct TestReceipts {
    pub(crate) receipts: Receipts,
    pub(crate) chunks: mpsc::Receiver<ReceiptChunk>,
    metrics: Metrics,
}

impl TestReceipts {
    pub(crate) fn start(kafka: &Kafka, group: &str, follow: &[&str]) -> Self {
        let metrics = Metrics::new().unwrap();
        let follow = follow.iter().map(|group| (*group).to_owned()).collect();
        let options = ReceiptsOptions {
            config: config(kafka),
            group: group.to_owned(),
            follow,
            metrics: metrics.clone(),
        };
        let (sender, chunks) = mpsc::channel(2);
        TestReceipts { receipts: Receipts::start(options, sender).unwrap(), chunks, metrics }
    }

    pub(crate) fn observe(&mut self, topic: &Arc<str>, partition: i32, offset: i64) {
        self.receipts.observe(&RecordPosition { topic: Arc::clone(topic), partition, offset });
    }

    /// Receipts without effect, and records without an id.
    pub(crate) fn counts(&self) -> [u64; 2] {
        let Metrics { receipts_without_effect, records_without_id, .. } = &self.metrics;
        [receipts_without_effect, records_without_id].map(|counter| counter.get())
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

    /// Fails if a chunk arrives within a few seconds.
    pub(crate) async fn receives_nothing(&mut self) {
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
