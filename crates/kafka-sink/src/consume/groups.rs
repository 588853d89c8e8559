//! The committed offsets of consumer groups, read without joining them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::consume::consumer::{LoggedConsumer, LoggingContext, consumer_config};
use crate::consume::inspect_error::InspectError;

/// A topic's partition.
pub(crate) type TopicPartition = (Arc<str>, i32);

/// One consumer per group: librdkafka reads the offsets of its own group only.
pub(crate) struct GroupOffsets {
    producer: ClientConfig,
    consumers: HashMap<String, LoggedConsumer>,
}

impl GroupOffsets {
    pub(crate) fn new(producer: ClientConfig) -> Self {
        GroupOffsets { producer, consumers: HashMap::new() }
    }

    /// The offsets that the group has committed, in the order of `partitions`; `None` where it has committed none.
    /// Blocks for `timeout` at most.
    pub(crate) fn committed(
        &mut self,
        group: &str,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Option<i64>>, InspectError> {
        let consumer = match self.consumers.get(group) {
            Some(consumer) => consumer,
            None => {
                let config = consumer_config(&self.producer, group);
                let consumer = config.create_with_context(LoggingContext::default());
                let consumer = consumer.map_err(|error| InspectError::not_created(&error))?;
                self.consumers.entry(group.to_owned()).or_insert(consumer)
            }
        };
        let offsets = committed(consumer, group, partitions, timeout);
        // Drains the errors of connections, one of which may be the cause.
        while consumer.poll(Duration::ZERO).is_some() {}
        offsets.map_err(|error| with_denial(consumer, group, error))
    }
}

/// As [`GroupOffsets::committed`], with a consumer of the group.
pub(crate) fn committed(
    consumer: &LoggedConsumer,
    group: &str,
    partitions: &[TopicPartition],
    timeout: Duration,
) -> Result<Vec<Option<i64>>, InspectError> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let mut request = TopicPartitionList::with_capacity(partitions.len());
    for (topic, partition) in partitions {
        request.add_partition(topic, *partition);
    }
    let answer = consumer.committed_offsets(request, timeout);
    let answer =
        answer.map_err(|error| with_denial(consumer, group, InspectError::of(offsets_of(group), &error)))?;
    consumer.context().clear_denied();
    let mut offsets = HashMap::with_capacity(partitions.len());
    for element in answer.elements() {
        if let Err(error) = element.error() {
            let subject = format!("{} in topic {}", offsets_of(group), element.topic());
            return Err(InspectError::of(subject, &error));
        }
        if let Offset::Offset(offset) = element.offset() {
            offsets.insert((element.topic().to_owned(), element.partition()), offset);
        }
    }
    let offset = |(topic, partition): &TopicPartition| offsets.get(&(topic.to_string(), *partition)).copied();
    Ok(partitions.iter().map(offset).collect())
}

fn offsets_of(group: &str) -> String {
    format!("the committed offsets of group {group}")
}

/// Replaces a timeout by the denial that caused it, if librdkafka has reported one.
fn with_denial(consumer: &LoggedConsumer, group: &str, error: InspectError) -> InspectError {
    match consumer.context().denied() {
        Some(code) if error.is_retryable() => InspectError::of_code(offsets_of(group), code),
        _ => error,
    }
}
