//! The record that the broker loses.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::proof::Place;

const ANSWER: Duration = Duration::from_secs(10);

/// Deletes the record at `place`, as retention would. Kafka deletes from the beginning of a partition, so this
/// is refused where `group` has not consumed everything before it.
pub(crate) async fn delete(brokers: &str, group: &str, place: &Place) -> Result<()> {
    let Place { topic, partition, offset } = place;
    let asked = (brokers.to_owned(), group.to_owned(), place.clone());
    let asking = move || unconsumed_before(&asked.0, &asked.1, &asked.2);
    let unconsumed = tokio::task::spawn_blocking(asking).await??;
    if unconsumed != 0 {
        bail!("{group} has not consumed the {unconsumed} records before {place}, which would be deleted too");
    }

    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, *partition, Offset::Offset(offset + 1))?;
    let options = AdminOptions::new().operation_timeout(Some(ANSWER)).request_timeout(Some(ANSWER));
    let deleted = admin.delete_records(&offsets, &options).await;
    let deleted = deleted.with_context(|| format!("deleting the record at {place}"))?;
    for partition in deleted.elements() {
        partition.error().with_context(|| format!("deleting the record at {place}"))?;
    }
    Ok(())
}

/// How many records before `place` the group has not committed. Blocks.
fn unconsumed_before(brokers: &str, group: &str, place: &Place) -> Result<i64> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", group).create()?;
    let (first, _) = consumer.fetch_watermarks(&place.topic, place.partition, ANSWER)?;
    let mut partition = TopicPartitionList::new();
    partition.add_partition(&place.topic, place.partition);
    let committed = consumer.committed_offsets(partition, ANSWER)?;
    let committed = committed.elements().iter().find_map(|partition| partition.offset().to_raw());
    // A group that has committed nothing yet is told by a negative number.
    Ok(place.offset - committed.unwrap_or(first).max(first))
}
