//! What consumers and administrators do to topics.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::Stage;

const PATIENCE: Duration = Duration::from_secs(30);

/// A group commits that it has consumed all that is in the topic of an aggregate type now.
pub fn consumed(stage: &Stage<'_>, group: &str, aggregate_type: &str) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", stage.kafka().brokers())
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let topic = stage.topic(aggregate_type);
    let metadata = consumer.fetch_metadata(Some(&topic), PATIENCE).expect("the topics are listed");
    let mut offsets = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        let (_, end) = consumer.fetch_watermarks(&topic, partition.id(), PATIENCE).expect("an end");
        offsets.add_partition_offset(&topic, partition.id(), Offset::Offset(end)).expect("a partition");
    }
    consumer.commit(&offsets, CommitMode::Sync).expect("committed");
}

/// Deletes the topic of an aggregate type, with all its records.
pub fn delete_topic(stage: &Stage<'_>, aggregate_type: &str) {
    let topic = stage.topic(aggregate_type);
    let arguments = ["--bootstrap-server", stage.kafka().brokers(), "--delete", "--topic", &topic];
    stage.kafka().tool("org.apache.kafka.tools.TopicCommand", &arguments).expect("the topic is deleted");
}

/// Deletes the records of the first partition of an aggregate type's topic that lie before an offset, as time does.
pub fn delete_records(stage: &Stage<'_>, aggregate_type: &str, before: i64) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let topic = stage.topic(aggregate_type);
    let what = format!(
        "{{\"version\": 1, \"partitions\": [{{\"topic\": \"{topic}\", \"partition\": 0, \"offset\": {before}}}]}}"
    );
    std::fs::write(file.path(), what).expect("written");
    let path = file.path().to_str().expect("a path");
    let arguments = ["--bootstrap-server", stage.kafka().brokers(), "--offset-json-file", path];
    stage
        .kafka()
        .tool("org.apache.kafka.tools.DeleteRecordsCommand", &arguments)
        .expect("records are deleted");
}
