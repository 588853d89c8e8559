//! What the broker holds, read by a consumer that shares nothing with the data platform.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::proof::{Place, Record, Sender};

const ANSWER: Duration = Duration::from_secs(10);
const READING: Duration = Duration::from_secs(120);

/// Every record of every topic whose name begins with `prefix`, from the beginning to the end as it is now.
/// Blocks.
pub(crate) fn read_all(brokers: &str, prefix: &str) -> Result<Vec<Record>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        // librdkafka wants a group even where partitions are assigned by hand; nothing is committed to it.
        .set("group.id", "demo-proof")
        .set("enable.auto.commit", "false")
        .create()?;
    let metadata = consumer.fetch_metadata(None, ANSWER).context("asking for the topics")?;

    let mut open: HashMap<(String, i32), i64> = HashMap::new();
    let mut assignment = TopicPartitionList::new();
    for topic in metadata.topics().iter().filter(|topic| topic.name().starts_with(prefix)) {
        for partition in topic.partitions() {
            let (low, high) = consumer
                .fetch_watermarks(topic.name(), partition.id(), ANSWER)
                .with_context(|| format!("asking for the end of {}-{}", topic.name(), partition.id()))?;
            if low < high {
                assignment.add_partition_offset(topic.name(), partition.id(), Offset::Beginning)?;
                open.insert((topic.name().to_owned(), partition.id()), high);
            }
        }
    }
    consumer.assign(&assignment)?;

    let mut records = Vec::new();
    let deadline = Instant::now() + READING;
    while !open.is_empty() {
        if Instant::now() > deadline {
            bail!("{} partitions could not be read to their end within {READING:?}", open.len());
        }
        let Some(message) = consumer.poll(Duration::from_millis(200)) else { continue };
        let message = message.context("reading the topics")?;
        let partition = (message.topic().to_owned(), message.partition());
        let Some(&high) = open.get(&partition) else { continue };
        if message.offset() < high {
            records.push(record(&message));
        }
        if message.offset() + 1 >= high {
            open.remove(&partition);
        }
    }
    Ok(records)
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let header = |name: &str| {
        let header = message.headers()?.iter().find(|header| header.key == name)?;
        Some(String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned())
    };
    Record {
        place: Place {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
        },
        id: header("id").and_then(|id| id.parse().ok()),
        sender: Sender::of(header("postrider-replay").as_deref()),
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().map(<[u8]>::to_vec),
    }
}
