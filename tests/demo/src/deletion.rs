//! The record that the broker loses.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::proof::Place;

const ANSWER: Duration = Duration::from_secs(10);

/// Deletes the record at `place`, as retention would. Kafka deletes from the beginning of a partition, so this
/// is refused where others are before it.
pub(crate) async fn delete(brokers: &str, place: &Place) -> Result<()> {
    let Place { topic, partition, offset } = place;
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let (first, _) = admin.inner().fetch_watermarks(topic, *partition, ANSWER)?;
    if first != *offset {
        bail!("the partition begins at {first}: with the record at {place} others would be deleted");
    }
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, *partition, Offset::Offset(offset + 1))?;
    let options = AdminOptions::new().operation_timeout(Some(ANSWER)).request_timeout(Some(ANSWER));
    let what = || format!("deleting the record at {place}");
    let deleted = admin.delete_records(&offsets, &options).await.with_context(what)?;
    deleted.elements().iter().try_for_each(|partition| partition.error().with_context(what))
}
