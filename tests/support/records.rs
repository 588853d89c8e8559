//! Records on the broker.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use uuid::Uuid;

use crate::wait::eventually;

/// A record as consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers, in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Its timestamp, in milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
}

impl Record {
    /// The row's id, from the header.
    pub fn id(&self) -> Uuid {
        let value = self.header("id").expect("every record has the header 'id'");
        Uuid::try_parse_ascii(value).expect("the header 'id' is a uuid")
    }

    /// The first header of a name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.as_deref())
    }

    /// The value as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.value.as_deref().unwrap_or_default()).expect("the value is text")
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

/// Every record up to the present end of every topic with this prefix.
pub fn read_records(brokers: &str, topic_prefix: &str) -> Vec<Record> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "proof")
        .set("enable.auto.commit", "false")
        .set("fetch.message.max.bytes", "67108864")
        .create()
        .expect("a consumer");
    let mut ends = ends(&consumer, topic_prefix);
    let mut assignment = TopicPartitionList::new();
    for (topic, partition, _) in &ends {
        assignment.add_partition_offset(topic, *partition, Offset::Beginning).expect("a partition");
    }
    ends.retain(|(_, _, end)| *end > 0);
    if ends.is_empty() {
        return Vec::new();
    }
    consumer.assign(&assignment).expect("partitions are assigned");
    let mut records = Vec::new();
    while !ends.is_empty() {
        let record = eventually("the broker gives the next record", || {
            consumer.poll(Duration::from_secs(1)).and_then(Result::ok).map(|message| record(&message))
        });
        ends.retain(|(topic, partition, end)| {
            (topic, partition) != (&record.topic, &record.partition) || record.offset + 1 < *end
        });
        records.push(record);
    }
    records
}

fn ends(consumer: &BaseConsumer, topic_prefix: &str) -> Vec<(String, i32, i64)> {
    let metadata = consumer.fetch_metadata(None, PATIENCE).expect("the topics are listed");
    let mut ends = Vec::new();
    for topic in metadata.topics().iter().filter(|topic| topic.name().starts_with(topic_prefix)) {
        for partition in topic.partitions() {
            let (_, end) = consumer
                .fetch_watermarks(topic.name(), partition.id(), PATIENCE)
                .expect("the end of a partition is read");
            ends.push((topic.name().to_owned(), partition.id(), end));
        }
    }
    ends
}

fn record(message: &impl Message<Headers = rdkafka::message::BorrowedHeaders>) -> Record {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        let header = |header: rdkafka::message::Header<'_, &[u8]>| {
            (header.key.to_owned(), header.value.map(<[u8]>::to_vec))
        };
        headers.iter().map(header).collect()
    });
    Record {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
        timestamp_ms: message.timestamp().to_millis(),
    }
}
